//! What a registry demands before it answers, and how to get it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Auth;
use crate::error::{Error, Result};

/// A `WWW-Authenticate` header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

/// Reads the challenges of one header; those of unknown schemes are left out.
pub fn challenges(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        let scheme = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let (mut realm, mut service, mut scope) = (String::new(), String::new(), String::new());
        while let Some((key, value, after)) = parameter(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = value,
                "service" => service = value,
                "scope" => scope = value,
                _ => {}
            }
            rest = after;
        }
        match scheme.as_str() {
            "basic" => found.push(Challenge::Basic),
            "bearer" => found.push(Challenge::Bearer { realm, service, scope }),
            _ => {}
        }
        rest = rest.trim_start_matches([',', ' ']);
    }
    found
}

/// `key=value` or `key="value"`, with the comma after it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([',', ' ']);
    let equals = text.find('=')?;
    let key = text[..equals].trim();
    if key.is_empty() || key.contains([' ', ',', '"']) {
        return None;
    }
    let after = &text[equals + 1..];
    let Some(quoted) = after.strip_prefix('"') else {
        let end = after.find([',', ' ']).unwrap_or(after.len());
        return Some((key, after[..end].to_owned(), &after[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((i, c)) = characters.next() {
        match c {
            '"' => return Some((key, value, &quoted[i + 1..])),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    None
}

pub fn basic(auth: &Auth) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", auth.username, auth.password)))
}

/// The query of a token request.
pub fn query(realm: &str, service: &str, scope: &str) -> String {
    let mut url = realm.to_owned();
    for (key, value) in [("service", service), ("scope", scope)] {
        for value in value.split(' ').filter(|v| !v.is_empty()) {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{key}={}", escape(value)));
        }
    }
    url
}

/// The form of an OAuth token request with a refresh token.
pub fn refresh_form(service: &str, scope: &str, token: &str) -> String {
    format!(
        "grant_type=refresh_token&client_id=timonier&service={}&scope={}&refresh_token={}",
        escape(service),
        escape(scope),
        escape(token)
    )
}

/// The token in a token server's answer.
pub fn parse_token(bytes: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
    }
    let answer: Answer = serde_json::from_slice(bytes)
        .map_err(|e| Error::Registry(format!("the token server's answer is malformed: {e}")))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err(Error::Registry("the token server sent no token".to_owned()));
    }
    Ok(token)
}

/// Percent-encoding for queries and forms.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_challenges() {
        let header = r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#;
        let [Challenge::Bearer { realm, service, scope }] = &challenges(header)[..] else {
            panic!("one bearer challenge expected");
        };
        assert_eq!(
            query(realm, service, scope),
            "https://auth.example/token?service=r.example&scope=repository:a/b:pull,push"
        );
        assert_eq!(challenges("Basic realm=\"x, y\""), [Challenge::Basic]);
        let both = challenges("Negotiate, Basic realm=x, Bearer realm=\"http://t\"");
        assert_eq!(both.len(), 2);
        for odd in
            ["", ",,,", "Bearer", "Bearer realm=\"", "=", "Bearer =x", "\"\"\"", "Basic a=\"\\"]
        {
            let _ = challenges(odd);
        }
    }

    #[test]
    fn reads_tokens() {
        assert_eq!(parse_token(br#"{"access_token":"a"}"#).unwrap(), "a");
        assert!(parse_token(b"{}").is_err() && parse_token(b"<html>").is_err());
    }
}
