//! kubeconfig files: the cluster's own, and its context in the user's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timonier_object::{Value, value};

use crate::files;
use crate::pki::KeyPairPem;

/// What a kubeconfig needs to know.
pub struct Access<'a> {
    /// The name of the context, the cluster and the user.
    pub name: &'a str,
    /// Such as `https://127.0.0.1:6443`.
    pub server: &'a str,
    /// PEM.
    pub ca: &'a str,
    pub client: &'a KeyPairPem,
}

impl Access<'_> {
    fn cluster(&self) -> Value {
        let ca = STANDARD.encode(self.ca);
        value!({ "name": (self.name), "cluster": {
            "certificate-authority-data": ca, "server": (self.server) } })
    }

    fn context(&self) -> Value {
        value!({ "name": (self.name), "context": { "cluster": (self.name), "user": (self.name) } })
    }

    fn user(&self) -> Value {
        let certificate = STANDARD.encode(&self.client.certificate);
        let key = STANDARD.encode(&self.client.key);
        value!({ "name": (self.name), "user": {
            "client-certificate-data": certificate, "client-key-data": key } })
    }
}

/// Writes a kubeconfig of its own.
pub fn write(path: &Path, access: &Access<'_>) -> Result<()> {
    let mut config = empty();
    add(&mut config, access);
    save(path, &config)
}

/// Adds or renews the cluster's context in the user's kubeconfig and leaves everything else as it
/// is. The context becomes the current one only where there was none. Returns whether it is the
/// current one now.
pub fn merge(path: &Path, access: &Access<'_>) -> Result<bool> {
    let mut config = load(path)?;
    add(&mut config, access);
    save(path, &config)?;
    Ok(config.at("current-context").str() == access.name)
}

/// Takes the cluster's context out of the user's kubeconfig.
pub fn remove(path: &Path, name: &str) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut config = load(path)?;
    let before = config.clone();
    for list in ["clusters", "contexts", "users"] {
        if let Some(Value::Array(items)) = config.get_mut(list) {
            items.retain(|item| item.at("name").str() != name);
        }
    }
    if config.at("current-context").str() == name {
        config.set("current-context", "");
    }
    if config == before { Ok(()) } else { save(path, &config) }
}

/// The current context of a kubeconfig, empty where there is none.
pub fn current_context(path: &Path) -> Result<String> {
    Ok(load(path)?.at("current-context").str().to_owned())
}

/// The user's kubeconfig: the first file of `$KUBECONFIG`, else `~/.kube/config`.
pub fn user_path() -> Option<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG") {
        let first = std::env::split_paths(&list).find(|p| !p.as_os_str().is_empty());
        if first.is_some() {
            return first;
        }
    }
    std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"))
}

fn empty() -> Value {
    value!({ "apiVersion": "v1", "kind": "Config", "clusters": [], "contexts": [], "users": [],
             "current-context": "", "preferences": {} })
}

fn load(path: &Path) -> Result<Value> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(empty()),
        Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
    };
    if text.trim().is_empty() {
        return Ok(empty());
    }
    let config: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is not valid YAML; it is left as it is", path.display()))?;
    if config.as_object().is_none() {
        bail!("{} is not a kubeconfig; it is left as it is", path.display());
    }
    Ok(config)
}

fn add(config: &mut Value, access: &Access<'_>) {
    for (list, item) in
        [("clusters", access.cluster()), ("contexts", access.context()), ("users", access.user())]
    {
        let items = config.entry(list).make_array();
        match items.iter_mut().find(|i| i.at("name").str() == access.name) {
            Some(old) => *old = item,
            None => items.push(item),
        }
    }
    if config.at("current-context").str().is_empty() {
        config.set("current-context", access.name);
    }
}

fn save(path: &Path, config: &Value) -> Result<()> {
    if let Some(dir) = path.parent().filter(|d| !d.exists()) {
        files::create_private_dir(dir)?;
    }
    // A link (dotfile managers make them) is followed, not replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    files::write_private(&target, serde_saphyr::to_string(config)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_entries_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config");
        let client = KeyPairPem { certificate: "c".into(), key: "k".into() };
        let access =
            Access { name: "timonier", server: "https://127.0.0.1:1", ca: "ca", client: &client };
        assert!(merge(&path, &access).unwrap());
        let own = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: {server: 'https://x', extra: 1}\nextensions:\n- name: e\n";
        fs::write(&path, own).unwrap();
        assert!(!merge(&path, &access).unwrap());
        assert!(!merge(&path, &access).unwrap());
        let merged = load(&path).unwrap();
        assert_eq!(merged.at("current-context").str(), "work");
        assert_eq!(merged.at("clusters").items().len(), 2);
        remove(&path, "timonier").unwrap();
        let after = load(&path).unwrap();
        let before: Value = serde_saphyr::from_str(own).unwrap();
        for key in ["clusters", "extensions", "current-context"] {
            assert_eq!(after.get(key), before.get(key), "{key}");
        }
        fs::write(&path, "a: [").unwrap();
        assert!(merge(&path, &access).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: [");
    }
}
