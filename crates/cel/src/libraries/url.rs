//! URLs, read as Go's `url.ParseRequestURI` does: absolute, or a path that begins with a slash.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;

use super::Opaque;
use crate::error::EvalError;
use crate::functions::convert::quoted;
use crate::functions::{Function, Out, function};
use crate::value::Val;

/// The parts of a URL.
#[derive(Debug)]
pub struct Url {
    pub text: SmolStr,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(crate) const FUNCTIONS: &[Function] = &[
    function("isURL", &["s:b"], |args, _| match args {
        [Val::Str(s)] => Ok(parse(s).is_ok().into()),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("url", &["s:U"], |args, _| match args {
        [Val::Str(s)] => match parse(s) {
            Ok(url) => Ok(Val::Opaque(Opaque::Url(Arc::new(url)))),
            Err(why) => {
                Err(EvalError::new(format!("URL parse error during conversion from string: {why}")))
            }
        },
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("getScheme", &[".U:s"], |args, _| with(args, |u| u.scheme.as_str().into())),
    function("getHost", &[".U:s"], |args, _| with(args, |u| u.host.as_str().into())),
    function("getHostname", &[".U:s"], |args, _| with(args, |u| host_and_port(&u.host).0.into())),
    function("getPort", &[".U:s"], |args, _| with(args, |u| host_and_port(&u.host).1.into())),
    function("getEscapedPath", &[".U:s"], |args, _| with(args, |u| u.path.as_str().into())),
    function("getQuery", &[".U:{s[s]}"], |args, _| with(args, |u| query(&u.query))),
];

fn with<'a>(args: &[Val<'a>], run: fn(&Url) -> Val<'a>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Url(url))] => Ok(run(url)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// Reads a URL; the errors are Go's.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let error = |why: String| Err(format!("parse {}: {why}", quoted(text)));
    if text.is_empty() {
        return error("empty url".into());
    }
    if text.chars().any(|c| c < ' ' || c == '\u{7f}') {
        return error("net/url: invalid control character in URL".into());
    }
    let (scheme, rest) = match scheme(text) {
        Ok(parts) => parts,
        Err(why) => return error(why.into()),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if scheme.is_empty() && !rest.starts_with('/') || !scheme.is_empty() && !rest.starts_with('/') {
        return error("invalid URI for request".into());
    }
    let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if let Some(bad) = bad_escape(path).or_else(|| bad_escape(host).filter(|_| !host.contains('[')))
    {
        return error(format!("invalid URL escape {}", quoted(bad)));
    }
    if let Some(c) = host.chars().find(|c| " \"<>\\^`{|}".contains(*c)) {
        return error(format!("invalid character {} in host name", quoted(&String::from(c))));
    }
    let after = host.rfind(']').map_or(host, |end| &host[end + 1..]);
    if host.starts_with('[') && !host.contains(']') {
        return error("missing ']' in host".into());
    }
    if let Some((_, port)) = after.rsplit_once(':')
        && !port.bytes().all(|c| c.is_ascii_digit())
    {
        return error(format!("invalid port {} after host", quoted(&format!(":{port}"))));
    }
    Ok(Url {
        text: text.into(),
        scheme: scheme.to_ascii_lowercase(),
        host: host.into(),
        path: escape_path(path),
        query: query.into(),
    })
}

/// The scheme before a colon, and the rest.
fn scheme(text: &str) -> Result<(&str, &str), &'static str> {
    for (i, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            ':' if i == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((&text[..i], &text[i + 1..])),
            _ => return Ok(("", text)),
        }
    }
    Ok(("", text))
}

fn bad_escape(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let hex = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_hexdigit);
    let at = (0..bytes.len()).find(|&i| bytes[i] == b'%' && !(hex(i + 1) && hex(i + 2)))?;
    let mut end = (at + 3).min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    text.get(at..end)
}

/// The path with what a path cannot hold escaped.
fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for b in path.bytes() {
        let plain = b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*%[]".contains(&b);
        if plain {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn host_and_port(host: &str) -> (&str, &str) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    (name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name), port)
}

fn query<'a>(text: &str) -> Val<'a> {
    let mut all: BTreeMap<String, Vec<Val<'a>>> = BTreeMap::new();
    for pair in text.split('&').filter(|p| !p.is_empty() && !p.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescape(key), unescape(value)) {
            all.entry(key).or_default().push(value.into());
        }
    }
    Val::map(all.into_iter().map(|(k, v)| (k, Val::list(v))))
}

fn unescape(text: &str) -> Option<String> {
    if bad_escape(text).is_some() {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
                out.push(digit(bytes.next()?) << 4 | digit(bytes.next()?));
            }
            b => out.push(b),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = parse("https://user@[::1]:80/a b/%2F?x=1&x=2&y=%20").unwrap();
        assert_eq!((url.scheme.as_str(), url.host.as_str()), ("https", "[::1]:80"));
        assert_eq!(host_and_port(&url.host), ("::1", "80"));
        assert_eq!((url.path.as_str(), url.query.as_str()), ("/a%20b/%2F", "x=1&x=2&y=%20"));
        for good in ["/a", "https://example.com", "https://a:1/", "http://[::1]/", "x:/y"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "a/b",
            ":x",
            "https://a:b/",
            "../relative",
            "https://a/%zz",
            "http://a b/",
            "\n",
            "/%é",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
