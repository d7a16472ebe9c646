//! Acting as somebody else: `Impersonate-User` and its companions.

use http::{HeaderMap, HeaderValue};
use smol_str::SmolStr;
use timonier_meta::ApiError;
use timonier_policy::{
    Attributes, Authorizer, Decision, ServiceAccountName, User, forbidden, groups,
};

use crate::percent;

/// Gives the user that the request acts as: the headers' one where there are such and `user` may
/// impersonate each part of it, else `user` itself.
pub fn apply(
    authorizer: &dyn Authorizer,
    user: User,
    headers: &HeaderMap,
) -> Result<User, ApiError> {
    let Some(wanted) = requested(headers)? else { return Ok(user) };
    for (resource, subresource, namespace, name) in parts(&wanted) {
        let group =
            if matches!(resource, "uids" | "userextras") { "authentication.k8s.io" } else { "" };
        let attributes = Attributes {
            user: &user,
            verb: "impersonate",
            is_resource: true,
            group,
            version: "v1",
            resource,
            subresource,
            namespace,
            name,
            path: "",
            fields: None,
        };
        if !matches!(authorizer.authorize(&attributes), Decision::Allow(_)) {
            return Err(forbidden(&attributes, ""));
        }
    }
    Ok(complete(wanted))
}

/// The user in the headers, as it stands there.
fn requested(headers: &HeaderMap) -> Result<Option<User>, ApiError> {
    let mut wanted = User::default();
    for (name, field) in
        [("impersonate-user", &mut wanted.name), ("impersonate-uid", &mut wanted.uid)]
    {
        if let Some(value) = headers.get(name) {
            *field = text(name, value)?;
        }
    }
    for group in headers.get_all("impersonate-group") {
        wanted.groups.push(text("impersonate-group", group)?);
    }
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
            let key = percent::decode(key, false).unwrap_or_else(|_| key.to_string());
            let values = wanted.extra.entry(key.to_lowercase().into()).or_default();
            values.push(text(name.as_str(), value)?);
        }
    }
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted == User::default() {
        return Ok(None);
    }
    Err(ApiError::internal("requested impersonation without impersonating a user"))
}

/// A header's text. Clients send names as UTF-8; what is not must not pass for an absent header,
/// for then the request would be carried out as the one who impersonates.
fn text(name: &str, value: &HeaderValue) -> Result<SmolStr, ApiError> {
    std::str::from_utf8(value.as_bytes())
        .map(SmolStr::new)
        .map_err(|_| ApiError::bad_request(format!("the header {name} is not UTF-8")))
}

/// What must be allowed: resource, subresource, namespace, name.
fn parts(wanted: &User) -> Vec<(&'static str, &str, &str, &str)> {
    let mut parts = Vec::new();
    match ServiceAccountName::parse(&wanted.name) {
        Some(account) => parts.push(("serviceaccounts", "", account.namespace, account.name)),
        None => parts.push(("users", "", "", wanted.name.as_str())),
    }
    parts.extend(wanted.groups.iter().map(|g| ("groups", "", "", g.as_str())));
    if !wanted.uid.is_empty() {
        parts.push(("uids", "", "", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        parts.extend(values.iter().map(|v| ("userextras", key.as_str(), "", v.as_str())));
    }
    parts
}

/// Adds the groups that the name implies.
fn complete(mut user: User) -> User {
    let account = ServiceAccountName::parse(&user.name);
    if let Some(account) = account.filter(|_| user.groups.is_empty()) {
        user.groups = vec![
            SmolStr::new_static(groups::SERVICE_ACCOUNTS),
            format!("{}:{}", groups::SERVICE_ACCOUNTS, account.namespace).into(),
        ];
    }
    let proven = if user.name == "system:anonymous" {
        groups::UNAUTHENTICATED
    } else {
        groups::AUTHENTICATED
    };
    let has_either = user.in_group(groups::AUTHENTICATED) || user.in_group(groups::UNAUTHENTICATED);
    if !has_either {
        user.groups.push(SmolStr::new_static(proven));
    }
    user
}

#[cfg(test)]
mod tests {
    use timonier_policy::Builtin;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (k, v) in pairs {
            map.append(*k, v.parse().unwrap());
        }
        map
    }

    #[test]
    fn masters_may_others_may_not() {
        let master = User::authenticated("admin", [SmolStr::new("system:masters")]);
        let asked = headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "dev"),
            ("impersonate-extra-acme.com%2Fproject", "x"),
        ]);
        let jane = apply(&Builtin, master.clone(), &asked).unwrap();
        assert_eq!(
            (&*jane.name, &jane.groups[..]),
            ("jane", &["dev".into(), "system:authenticated".into()][..])
        );
        assert_eq!(jane.extra["acme.com/project"], ["x"]);
        let error = apply(&Builtin, User::authenticated("x", []), &asked).unwrap_err();
        assert_eq!(
            error.message,
            "users \"jane\" is forbidden: User \"x\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
        );
        assert_eq!(apply(&Builtin, master.clone(), &headers(&[])).unwrap(), master);
        assert_eq!(
            apply(&Builtin, master.clone(), &headers(&[("impersonate-group", "a")]))
                .unwrap_err()
                .code,
            500
        );
        let mut sent = headers(&[]);
        sent.insert("impersonate-user", HeaderValue::from_bytes("zoë".as_bytes()).unwrap());
        assert_eq!(apply(&Builtin, master.clone(), &sent).unwrap().name, "zoë");
        for name in ["impersonate-user", "impersonate-group", "impersonate-extra-a"] {
            let mut sent = headers(&[("impersonate-user", "jane")]);
            sent.insert(name, HeaderValue::from_bytes(b"\xff").unwrap());
            assert_eq!(apply(&Builtin, master.clone(), &sent).unwrap_err().code, 400, "{name}");
        }
        let account =
            apply(&Builtin, master, &headers(&[("impersonate-user", "system:serviceaccount:a:b")]))
                .unwrap();
        assert!(
            account.in_group("system:serviceaccounts:a")
                && account.in_group("system:authenticated")
        );
    }
}
