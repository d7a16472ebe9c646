//! What a URL asks for, as upstream's `RequestInfoFactory` reads it.

use http::{Method, Uri};
use smol_str::SmolStr;
use timonier_meta::{ApiError, Selector, names};
use timonier_policy::{Attributes, User};

use crate::percent;
use crate::query::Query;

/// The parts of a request's URL. For anything but a resource only `verb` (the method in lower
/// case) and `path` are set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestInfo {
    pub is_resource: bool,
    /// The path, percent-decoded.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; empty
    /// for a method without meaning.
    pub verb: &'static str,
    pub group: SmolStr,
    pub version: SmolStr,
    pub namespace: SmolStr,
    pub resource: SmolStr,
    pub subresource: SmolStr,
    pub name: SmolStr,
    /// What follows the subresource, for the proxies: decoded, without a leading slash.
    pub rest: String,
    /// The same as it was sent, with the slash.
    pub raw_rest: String,
    /// The name came out of a field selector, for authorization only.
    pub name_from_selector: bool,
    /// The field selector of a collection; empty where there is none, or none that can be read.
    pub fields: Selector,
}

impl RequestInfo {
    /// Reads a method and URL. Fails with 400 on broken escapes and on a `watch` prefix without a
    /// resource.
    pub fn parse(method: &Method, uri: &Uri, query: &Query) -> Result<Self, ApiError> {
        let path = percent::decode(uri.path(), false).map_err(ApiError::bad_request)?;
        let mut info = RequestInfo { verb: method_in_lower_case(method), ..Self::default() };
        let trimmed = path.trim_matches('/');
        let parts: Vec<&str> =
            if trimmed.is_empty() { Vec::new() } else { trimmed.split('/').collect() };
        if let Some(parts) = info.group_and_version(&parts) {
            let behind = info.resource_parts(method, parts, query)?;
            info.raw_rest = raw_rest(uri.path(), trimmed.split('/').count() - behind).into();
        }
        info.path = path;
        Ok(info)
    }

    /// Takes prefix, group and version off the path; `None` where it is no resource's.
    fn group_and_version<'a>(&mut self, parts: &'a [&'a str]) -> Option<&'a [&'a str]> {
        if parts.len() < 3 {
            return None;
        }
        let rest = match parts[0] {
            "api" => &parts[1..],
            "apis" if parts.len() > 3 => {
                self.group = parts[1].into();
                &parts[2..]
            }
            _ => return None,
        };
        self.is_resource = true;
        self.version = rest[0].into();
        Some(&rest[1..])
    }

    /// Reads resource, name and subresource; gives how many parts follow them.
    fn resource_parts(
        &mut self,
        method: &Method,
        mut parts: &[&str],
        query: &Query,
    ) -> Result<usize, ApiError> {
        let watch_prefix = parts[0] == "watch";
        if watch_prefix {
            if parts.len() < 2 {
                return Err(ApiError::bad_request(
                    "unable to determine kind and namespace from url",
                ));
            }
            parts = &parts[1..];
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            self.namespace = parts[1].into();
            let of_the_namespace =
                parts.get(2).is_some_and(|p| matches!(*p, "status" | "finalize"));
            if parts.len() > 2 && !of_the_namespace {
                parts = &parts[2..];
            }
        }
        self.resource = parts[0].into();
        self.name = parts.get(1).copied().unwrap_or_default().into();
        self.subresource = parts.get(2).copied().unwrap_or_default().into();
        self.rest = parts.get(3..).unwrap_or_default().join("/");
        self.verb = if watch_prefix { "watch" } else { self.resource_verb(method, query) };
        if matches!(self.verb, "list" | "watch" | "deletecollection") {
            self.selector(query);
        }
        Ok(parts.len().saturating_sub(3))
    }

    fn resource_verb(&self, method: &Method, query: &Query) -> &'static str {
        match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD if !self.name.is_empty() => "get",
            Method::GET | Method::HEAD if query.bool("watch") => "watch",
            Method::GET | Method::HEAD => "list",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if self.name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ => "",
        }
    }

    /// Reads the field selector, on which it may depend whether the request is allowed. One for one
    /// name counts as that name.
    fn selector(&mut self, query: &Query) {
        let Some(text) = query.get("fieldSelector") else { return };
        let Ok(selector) = Selector::parse_fields(text) else { return };
        if let Some(name) = selector.exact("metadata.name")
            && self.name.is_empty()
            && names::path_segment(name).is_empty()
        {
            self.name = name.into();
            self.name_from_selector = true;
        }
        self.fields = selector;
    }

    /// The name in the path; empty where there is none.
    pub fn path_name(&self) -> &str {
        if self.name_from_selector { "" } else { &self.name }
    }

    /// What the authorizer decides on.
    pub fn attributes<'a>(&'a self, user: &'a User) -> Attributes<'a> {
        Attributes {
            user,
            verb: self.verb,
            is_resource: self.is_resource,
            group: &self.group,
            version: &self.version,
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            path: &self.path,
            fields: Some(&self.fields),
        }
    }
}

/// What follows so many segments of a path that is not decoded yet, where an encoded slash ends a
/// segment like a plain one.
fn raw_rest(path: &str, segments: usize) -> &str {
    let slash = |at: usize| match path.as_bytes().get(at..) {
        Some([b'/', ..]) => 1,
        Some([b'%', b'2', b'f' | b'F', ..]) => 3,
        _ => 0,
    };
    let mut at = 0;
    while slash(at) > 0 {
        at += slash(at);
    }
    for segment in 0..segments {
        if segment > 0 {
            at += slash(at);
        }
        while at < path.len() && slash(at) == 0 {
            at += 1;
        }
    }
    path.get(at..).unwrap_or_default()
}

fn method_in_lower_case(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str) -> RequestInfo {
        let uri: Uri = uri.parse().unwrap();
        let query = Query::parse(uri.query().unwrap_or("")).unwrap();
        RequestInfo::parse(&method.parse().unwrap(), &uri, &query).unwrap()
    }

    #[test]
    fn reads_urls_as_upstream() {
        // method, URL, verb, group, namespace, resource, subresource, name
        let table = [
            ("GET", "/api/v1/pods", "list", "", "", "pods", "", ""),
            ("GET", "/api/v1/namespaces", "list", "", "", "namespaces", "", ""),
            ("GET", "/api/v1/namespaces/a", "get", "", "a", "namespaces", "", "a"),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                "update",
                "",
                "a",
                "namespaces",
                "finalize",
                "a",
            ),
            ("GET", "/api/v1/namespaces/a/pods?watch=1", "watch", "", "a", "pods", "", ""),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch", "", "a", "pods", "", ""),
            (
                "GET",
                "/api/v1/watch/pods?fieldSelector=metadata.name%3Dx",
                "watch",
                "",
                "",
                "pods",
                "",
                "x",
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods/p/exec?command=ls",
                "create",
                "",
                "a",
                "pods",
                "exec",
                "p",
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection",
                "apps",
                "a",
                "deployments",
                "",
                "",
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "patch",
                "apps",
                "a",
                "deployments",
                "scale",
                "d",
            ),
            ("GET", "/api/v1/nodes/n/proxy/a/b%20c", "get", "", "", "nodes", "proxy", "n"),
        ];
        for (method, uri, verb, group, namespace, resource, subresource, name) in table {
            let i = parse(method, uri);
            assert!(i.is_resource, "{uri}");
            assert_eq!(
                (i.verb, &*i.group, &*i.namespace, &*i.resource, &*i.subresource, &*i.name),
                (verb, group, namespace, resource, subresource, name),
                "{uri}"
            );
        }
        assert_eq!(parse("GET", "/api/v1/nodes/n/proxy/a/b%20c").rest, "a/b c");
        for (path, rest) in [
            ("/api/v1/nodes/n/proxy", ""),
            ("/api/v1/nodes/n/proxy/", "/"),
            ("/api/v1/nodes/n/proxy/a%20b/c%2Fd/", "/a%20b/c%2Fd/"),
            ("//api/v1/nodes/n/proxy//a", "//a"),
            ("/api/v1/namespaces/x/services/https%3aweb%3a443/proxy/y", "/y"),
            ("/api/v1/namespaces/web/services/web/proxy/web/proxy/", "/web/proxy/"),
            ("/api/v1/namespaces/proxy/pods/proxy/proxy/proxy/proxy", "/proxy/proxy"),
            ("/api/v1/namespaces/x/pods/p%2Fproxy/%C3%A9", "/%C3%A9"),
        ] {
            assert_eq!(parse("GET", path).raw_rest, rest, "{path}");
        }
    }

    #[test]
    fn other_paths_are_no_resources() {
        for uri in [
            "/",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/openapi/v3/x/y",
            "/a/b/c/d",
        ] {
            let i = parse("GET", uri);
            assert!(!i.is_resource && i.verb == "get" && i.resource.is_empty(), "{uri}");
        }
    }
}
