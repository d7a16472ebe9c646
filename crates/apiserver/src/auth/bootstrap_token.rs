//! Bootstrap tokens: Secrets in `kube-system` with which a new node asks for its certificate
//! (upstream `plugin/pkg/auth/authenticator/token/bootstrap`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use smol_str::SmolStr;
use timonier_meta::Time;
use timonier_meta::gvk::resources::SECRETS;
use timonier_object::Value;
use timonier_policy::{User, groups};

use crate::server::ApiServer;

const NAMESPACE: &str = "kube-system";
const KIND: &str = "bootstrap.kubernetes.io/token";

/// The id and the secret of a text that has the form of such a token: six and sixteen small
/// letters and digits with a dot between.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let fine = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    token.split_once('.').filter(|(id, secret)| fine(id, 6) && fine(secret, 16))
}

/// The user behind a token. The error says what is wrong, for the log.
pub fn authenticate(server: &ApiServer, id: &str, secret: &str) -> Result<User, String> {
    let name = format!("bootstrap-token-{id}");
    let found = server.peek(&SECRETS, NAMESPACE, &name).ok_or("there is no such token")?;
    user(&found, id, secret, server.env.now())
}

fn user(object: &Value, id: &str, secret: &str, now: Time) -> Result<User, String> {
    if object.is_deleting() {
        return Err("the token is being deleted".into());
    }
    if object.at("type").str() != KIND {
        return Err(format!("its Secret is not of type {KIND}"));
    }
    let field = |name: &str| {
        let text = object.at("data").get(name).map_or("", Value::str);
        STANDARD.decode(text).ok().and_then(|b| String::from_utf8(b).ok()).unwrap_or_default()
    };
    if !same(&field("token-secret"), secret) || field("token-id") != id {
        return Err("the secret is wrong".into());
    }
    let expiration = field("expiration");
    if !expiration.is_empty() && Time::parse(&expiration).is_none_or(|end| end <= now) {
        return Err("the token has expired".into());
    }
    if field("usage-bootstrap-authentication") != "true" {
        return Err("the token is not for authentication".into());
    }
    let mut all = vec![SmolStr::new_static(groups::BOOTSTRAPPERS)];
    for group in field("auth-extra-groups").split(',').filter(|g| !g.is_empty()) {
        let rest = group.strip_prefix("system:bootstrappers:").unwrap_or_default();
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b':' || b == b'-';
        if rest.is_empty()
            || rest.len() > 256
            || !rest.bytes().all(fine)
            || rest.ends_with([':', '-'])
        {
            return Err(format!("the group {group:?} cannot be given by a token"));
        }
        all.push(group.into());
    }
    Ok(User::authenticated(format!("system:bootstrap:{id}"), all))
}

/// Compares in a time that does not depend on where the texts differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    fn token(change: (&str, &str)) -> Value {
        let text = |s: &str| STANDARD.encode(s);
        let mut secret = value!({
            "metadata": { "name": "bootstrap-token-abcdef", "namespace": NAMESPACE },
            "type": KIND,
            "data": { "token-id": (text("abcdef")), "token-secret": (text("0123456789abcdef")),
                "expiration": (text("2026-01-01T00:00:00Z")),
                "usage-bootstrap-authentication": (text("true")) } });
        if !change.0.is_empty() {
            secret.entry("data").make_object().insert(change.0, text(change.1).into());
        }
        secret
    }

    #[test]
    fn a_token_names_a_user() {
        let before = Time::parse("2025-12-31T00:00:00Z").unwrap();
        let (id, secret) = parse("abcdef.0123456789abcdef").unwrap();
        let who = user(&token(("auth-extra-groups", "system:bootstrappers:a")), id, secret, before);
        let who = who.unwrap();
        assert_eq!(who.name, "system:bootstrap:abcdef");
        assert_eq!(
            who.groups,
            ["system:bootstrappers", "system:bootstrappers:a", "system:authenticated"]
        );
        for wrong in [
            ("token-secret", "0123456789abcdee"),
            ("token-id", "abcdee"),
            ("usage-bootstrap-authentication", "false"),
            ("expiration", "soon"),
            ("auth-extra-groups", "system:masters"),
            ("auth-extra-groups", "system:bootstrappers:"),
        ] {
            assert!(user(&token(wrong), id, secret, before).is_err(), "{wrong:?}");
        }
        let after = Time::parse("2026-01-01T00:00:00Z").unwrap();
        assert!(user(&token(("", "")), id, secret, after).is_err());
        for text in ["abcdef", "abcde.0123456789abcdef", "abcdef.0123456789abcdeF", "a.b.c"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
