//! Credentials, and where Docker keeps them.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::reference::Reference;

/// Credentials for one registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Auth {
    pub username: String,
    pub password: String,
    /// A refresh token, exchanged for access tokens at the token server.
    pub identity_token: String,
    /// An access token, sent as it is.
    pub registry_token: String,
}

/// Secrets stay out of logs.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Credentials by registry: `~/.docker/config.json`, or the contents of a Secret of type
/// `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg`.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    entries: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl DockerConfig {
    /// Reads either form of the file.
    pub fn parse(bytes: &[u8]) -> Result<DockerConfig> {
        #[derive(Deserialize)]
        struct File {
            auths: Option<BTreeMap<String, Entry>>,
        }
        let bad =
            |e: serde_json::Error| Error::Invalid(format!("malformed registry credentials: {e}"));
        let file: File = serde_json::from_slice(bytes).map_err(bad)?;
        let entries = match file.auths {
            Some(entries) => entries,
            // The old form has the registries at the top; a config.json without credentials
            // has other things there.
            None => serde_json::from_slice(bytes).unwrap_or_default(),
        };
        let mut config = DockerConfig::default();
        for (registry, entry) in entries {
            config.entries.insert(registry_key(&registry), entry.into_auth()?);
        }
        Ok(config)
    }

    /// Adds the entries of another file; they win.
    pub fn merge(&mut self, other: DockerConfig) {
        self.entries.extend(other.entries);
    }

    /// The credentials for an image: the entry with the longest matching path, as the kubelet
    /// does (`host/team` before `host`; a `*` stands for one part of a host name).
    pub fn lookup(&self, reference: &Reference) -> Option<&Auth> {
        let name = reference.name();
        self.entries
            .iter()
            .filter(|(pattern, _)| matches(pattern, &name))
            .max_by_key(|(pattern, _)| pattern.len())
            .map(|(_, auth)| auth)
    }
}

impl Entry {
    fn into_auth(self) -> Result<Auth> {
        let mut auth = Auth {
            username: self.username,
            password: self.password,
            identity_token: self.identitytoken,
            registry_token: self.registrytoken,
        };
        if !self.auth.is_empty() && auth.username.is_empty() {
            let bad = || Error::Invalid("malformed registry credentials: auth field".to_owned());
            let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| bad())?;
            let text = String::from_utf8(bytes).map_err(|_| bad())?;
            let (user, password) = text.split_once(':').ok_or_else(bad)?;
            auth.username = user.to_owned();
            auth.password = password.trim_matches('\0').to_owned();
        }
        Ok(auth)
    }
}

/// `https://index.docker.io/v1/` and the like become `docker.io`.
fn registry_key(text: &str) -> String {
    let bare = text.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    match bare {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let (pattern_host, pattern_path) = pattern.split_once('/').unwrap_or((pattern, ""));
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    let path_fits = pattern_path.is_empty()
        || path == pattern_path
        || path.strip_prefix(pattern_path).is_some_and(|rest| rest.starts_with('/'));
    let (a, b): (Vec<_>, Vec<_>) = (pattern_host.split('.').collect(), host.split('.').collect());
    path_fits && a.len() == b.len() && a.iter().zip(&b).all(|(p, h)| *p == "*" || p == h)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_entry() {
        let text = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpiOmM="},
            "quay.io":{"username":"q","password":"1"},"quay.io/team":{"username":"t"},
            "*.corp.example":{"identitytoken":"i"}}}"#;
        let config = DockerConfig::parse(text).unwrap();
        let user = |name: &str| {
            config.lookup(&Reference::parse(name).unwrap()).map(|a| a.username.clone())
        };
        assert_eq!(user("nginx").as_deref(), Some("a"));
        assert_eq!(user("quay.io/x/y").as_deref(), Some("q"));
        assert_eq!(user("quay.io/team/y").as_deref(), Some("t"));
        assert_eq!(user("quay.io/teams/y").as_deref(), Some("q"));
        assert_eq!(user("r.corp.example/y").as_deref(), Some(""));
        assert_eq!(user("ghcr.io/y"), None);
        let old = DockerConfig::parse(br#"{"ghcr.io":{"auth":"YTpi"}}"#).unwrap();
        assert_eq!(old.lookup(&Reference::parse("ghcr.io/y").unwrap()).unwrap().password, "b");
        assert!(DockerConfig::parse(br#"{"credsStore":"x"}"#).unwrap().entries.is_empty());
        assert!(!format!("{config:?}").contains("\"b:c\""));
    }
}
