//! The headers by which a server behind learns who asks.

use http::{HeaderMap, HeaderName, HeaderValue};
use timonier_policy::User;

const PREFIX: &str = "x-remote-";
const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");

/// Puts the user in the headers, and drops what the client said of users itself.
pub fn set(headers: &mut HeaderMap, user: &User) {
    let theirs: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in theirs {
        headers.remove(name);
    }
    let mut add = |name: HeaderName, text: &str| {
        // What is no header cannot be told; upstream's request would fail.
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUP, group);
    }
    for (key, values) in &user.extra {
        let name = format!("{PREFIX}extra-{}", escape(key));
        let Ok(name) = HeaderName::try_from(name) else { continue };
        for value in values {
            add(name.clone(), value);
        }
    }
}

/// The key as a part of a header's name: what may not stand there is written `%XX`.
fn escape(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.to_ascii_lowercase().bytes() {
        let legal = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if legal {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use smol_str::SmolStr;

    use super::*;

    #[test]
    fn the_user_is_told_and_nobody_elses_word_counts() {
        let mut user = User::authenticated("jane", [SmolStr::new("dev")]);
        user.uid = "u1".into();
        user.extra.insert("Example.com/Key".into(), vec!["a".into(), "b".into()]);
        let mut headers = HeaderMap::new();
        for name in ["x-remote-user", "x-remote-group", "x-remote-extra-x", "accept"] {
            headers.append(name, "mallory".parse().unwrap());
        }
        set(&mut headers, &user);
        assert_eq!(headers["x-remote-user"], "jane");
        assert_eq!(headers["x-remote-uid"], "u1");
        let groups: Vec<_> = headers.get_all("x-remote-group").iter().collect();
        assert_eq!(groups, ["dev", "system:authenticated"]);
        let extra: Vec<_> = headers.get_all("x-remote-extra-example.com%2Fkey").iter().collect();
        assert_eq!(extra, ["a", "b"]);
        assert!(!headers.contains_key("x-remote-extra-x") && headers.contains_key("accept"));
    }
}
