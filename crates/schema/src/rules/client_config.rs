//! Where a webhook is: `clientConfig` of admission and conversion.

use alloc::format;

use timonier_meta::names;

use super::at::{At, Errors};

/// Checks that one of URL and Service is stated, and that one.
pub fn check(e: &mut Errors, at: &At<'_>) {
    let (url, service) = (at.get("url"), at.get("service"));
    if url.is_set() == service.is_set() {
        at.required(e, "exactly one of url or service is required");
    } else if url.is_set() {
        check_url(e, &url);
    } else {
        check_service(e, &service);
    }
}

fn check_url(e: &mut Errors, at: &At<'_>) {
    const FORM: &str = "; desired format: https://host[/path]";
    let text = at.str();
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let authority = match scheme {
        "" => "",
        _ => rest.split('/').next().unwrap_or(""),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        at.bad(e, format!("{scheme:?}"), why);
    }
    if host.is_empty() {
        at.bad(e, "\"\"", format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        at.bad(e, format!("{user:?}"), "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        at.bad(e, format!("{fragment:?}"), "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        at.bad(e, format!("{query:?}"), "query parameters are not permitted in the URL");
    }
}

fn check_service(e: &mut Errors, at: &At<'_>) {
    // Upstream hands name and namespace over in the wrong order; the errors are as its.
    for (missing, told) in [("namespace", "name"), ("name", "namespace")] {
        if at.get(missing).is_empty() {
            at.get(told).required(e, "");
        }
    }
    let port = at.get("port");
    if !(1..=65535).contains(&port.int()) {
        port.bad_int(e, "port is not valid: must be between 1 and 65535, inclusive");
    }
    let path = at.get("path");
    let text = path.str();
    if matches!(text, "" | "/") {
        return;
    }
    if text == "//" {
        return path.bad_str(e, "segment[0] may not be empty");
    }
    if !text.starts_with('/') {
        path.bad_str(e, "must start with a '/'");
    }
    // As upstream, the first character goes whatever it is.
    let mut rest = text.chars();
    rest.next();
    let rest = rest.as_str();
    for (i, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            path.bad_str(e, format!("segment[{i}] may not be empty"));
            continue;
        }
        for why in names::dns1123_subdomain(segment) {
            path.bad_str(e, format!("segment[{i}]: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use timonier_object::{Value, value};

    use super::*;

    fn texts(config: Value) -> Vec<alloc::string::String> {
        let mut e = Errors::new();
        check(&mut e, &At::new(&config, "c"));
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn wrong_places_are_named() {
        let service = |path: &str| value!({ "service": { "namespace": "a", "name": "b", "port": 443, "path": path } });
        for good in [
            value!({ "url": "https://a.b:1/c" }),
            service("/a/b.c/"),
            service("/"),
            value!({ "service": { "namespace": "a", "name": "b", "port": 1 } }),
        ] {
            assert_eq!(texts(good), [""; 0]);
        }
        let form = "; desired format: https://host[/path]";
        for (bad, text) in [
            (value!({}), "c: Required value: exactly one of url or service is required".into()),
            (value!({ "url": "http://a" }), format!("c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme{form}")),
            (value!({ "url": "https:///x" }), format!("c.url: Invalid value: \"\": host must be specified{form}")),
            (value!({ "url": "https://u@h/" }), "c.url: Invalid value: \"u\": user information is not permitted in the URL".into()),
            (value!({ "url": "https://h/#f" }), "c.url: Invalid value: \"f\": fragments are not permitted in the URL".into()),
            (value!({ "url": "https://h/?q=1" }), "c.url: Invalid value: \"q=1\": query parameters are not permitted in the URL".into()),
            (service("//"), "c.service.path: Invalid value: \"//\": segment[0] may not be empty".into()),
            (service("/a//b"), "c.service.path: Invalid value: \"/a//b\": segment[1] may not be empty".into()),
            (value!({ "service": { "name": "b", "port": 443 } }), "c.service.name: Required value".into()),
            (value!({ "service": { "namespace": "a", "name": "b", "port": 0 } }), "c.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive".into()),
        ] {
            assert_eq!(texts(bad), [text]);
        }
    }
}
