//! What a request wants, and whether it may.

use alloc::format;
use alloc::string::String;

use timonier_meta::{ApiError, GroupResource, Selector};

use crate::User;

/// What an authorizer decides on, as upstream's `authorizer.Attributes`. For a request to a
/// resource `path` is ignored; for any other only `verb` (the HTTP method in lower case) and
/// `path` count.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    pub user: &'a User,
    pub verb: &'a str,
    pub is_resource: bool,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: &'a str,
    /// What a list, a watch or a deletion of a collection is limited to, where that is known.
    pub fields: Option<&'a Selector>,
}

impl<'a> Attributes<'a> {
    /// The attributes of a request to a path that is no resource.
    pub fn of_path(user: &'a User, verb: &'a str, path: &'a str) -> Self {
        Attributes {
            user,
            verb,
            is_resource: false,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path,
            fields: None,
        }
    }
}

/// What an authorizer says, with its reason (may be empty).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    Allow(String),
    /// Refused, whatever another authorizer says.
    Deny(String),
    NoOpinion(String),
}

/// Decides on requests.
pub trait Authorizer: Send + Sync {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;
}

/// The 403 that upstream's `responsewriters.Forbidden` answers.
pub fn forbidden(a: &Attributes<'_>, reason: &str) -> ApiError {
    let mut why = escape(&message(a));
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    let resource = GroupResource { group: a.group.into(), resource: a.resource.into() };
    ApiError::forbidden(&resource, a.name, &why)
}

fn message(a: &Attributes<'_>) -> String {
    let user = &a.user.name;
    let verb = a.verb;
    if !a.is_resource {
        return format!("User {user:?} cannot {verb} path {:?}", a.path);
    }
    let resource = if a.subresource.is_empty() {
        String::from(a.resource)
    } else {
        format!("{}/{}", a.resource, a.subresource)
    };
    let group = a.group;
    if a.namespace.is_empty() {
        format!(
            "User {user:?} cannot {verb} resource {resource:?} in API group {group:?} at the cluster scope"
        )
    } else {
        format!(
            "User {user:?} cannot {verb} resource {resource:?} in API group {group:?} in the namespace {:?}",
            a.namespace
        )
    }
}

/// The text may be shown by a browser.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_upstreams() {
        let user = User::authenticated("x", []);
        let mut a = Attributes {
            user: &user,
            verb: "list",
            is_resource: true,
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "",
            namespace: "default",
            name: "",
            path: "",
            fields: None,
        };
        let text = |a: &Attributes<'_>| forbidden(a, "").message;
        assert_eq!(
            text(&a),
            "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        );
        a = Attributes { namespace: "", group: "apps", subresource: "status", name: "n", ..a };
        assert_eq!(
            text(&a),
            "pods.apps \"n\" is forbidden: User \"x\" cannot list resource \"pods/status\" in API group \"apps\" at the cluster scope"
        );
        let path = Attributes::of_path(&user, "get", "/<metrics>");
        assert_eq!(text(&path), "forbidden: User \"x\" cannot get path \"/&lt;metrics&gt;\"");
    }
}
