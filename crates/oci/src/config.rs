//! The configuration of an image: what OCI's image specification and Docker write, with fields
//! that this crate does not know carried along.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::{Result, corrupt};

/// The JSON document whose digest is the image's id.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ConfigFile {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    #[serde(default, deserialize_with = "null_default")]
    pub config: ImageConfig,
    #[serde(default)]
    pub rootfs: RootFs,
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a container of the image runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`; names are those of the image's own files.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// A signal's name or number.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `HEALTHCHECK`; the times are nanoseconds, 0 means not given.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// `{}`: Go's empty struct, as in a set.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Empty {}

/// The layers by the digests of their uncompressed archives, lowest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default, deserialize_with = "null_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        RootFs { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

/// One step of how the image came to be.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ConfigFile {
    /// Reads a configuration. Malformed JSON and image layers that are no layers are refused.
    pub fn parse(bytes: &[u8]) -> Result<ConfigFile> {
        let config: ConfigFile = serde_json::from_slice(bytes)
            .map_err(|e| corrupt(format!("malformed image configuration: {e}")))?;
        if !config.rootfs.kind.is_empty() && config.rootfs.kind != "layers" {
            return Err(corrupt(format!("unknown rootfs type {:?}", config.rootfs.kind)));
        }
        Ok(config)
    }

    /// The bytes to be stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always encode")
    }
}

impl ImageConfig {
    /// The value of an environment variable.
    pub fn env_var(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|e| e.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets an environment variable in place, or appends it.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |e: &&mut String| e.split('=').next() == Some(name);
        match self.env.iter_mut().find(same) {
            Some(existing) => *existing = entry,
            None => self.env.push(entry),
        }
    }
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// Go writes `null` for empty lists and maps.
fn null_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_does_not_know() {
        let text = br#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["a"],
            "Labels":null,"ArgsEscaped":true,"Volumes":{"/d":{}}},"rootfs":{"type":"layers",
            "diff_ids":[]},"history":null,"os.version":"1"}"#;
        let config = ConfigFile::parse(text).unwrap();
        assert_eq!(config.config.cmd.as_deref(), Some(&["a".to_owned()][..]));
        let again: Value = serde_json::from_slice(&config.to_bytes()).unwrap();
        assert_eq!(again["config"]["ArgsEscaped"], true);
        assert_eq!(again["os.version"], "1");
        assert!(again["config"]["Volumes"]["/d"].is_object());
        assert!(ConfigFile::parse(b"{\"rootfs\":{\"type\":\"x\"}}").is_err());
    }

    #[test]
    fn environment_is_replaced_in_place() {
        let mut c = ImageConfig { env: vec!["A=1".into(), "AB=2".into()], ..Default::default() };
        c.set_env("A", "3");
        c.set_env("C", "4");
        assert_eq!(c.env, ["A=3", "AB=2", "C=4"]);
        assert_eq!((c.env_var("AB"), c.env_var("B")), (Some("2"), None));
    }
}
