//! kubeconfig files: the cluster's own, and its context in the user's.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timonier_object::{Value, value};

use crate::files;
use crate::pki::{self, KeyPairPem};

/// How long somebody else may hold a kubeconfig's lock file.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries to make it.
const PAUSE: Duration = Duration::from_millis(5);

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

/// Writes a kubeconfig of its own. One that is there already is left alone: a disk may be full.
pub fn write(path: &Path, access: &Access<'_>) -> Result<()> {
    let mut config = empty();
    add(&mut config, access);
    if load(path).is_ok_and(|found| found == config) { Ok(()) } else { save(path, &config) }
}

/// Adds or renews the cluster's context in a kubeconfig and leaves everything else as it is. The
/// context becomes the current one only where there was none. Returns whether it is there now:
/// entries of the same name that lead to something else stay, and nothing is changed.
pub fn merge(path: &Path, access: &Access<'_>) -> Result<bool> {
    exclusively(path, || {
        let mut config = load(path)?;
        if is_foreign(&config, access.name) {
            return Ok(false);
        }
        let before = config.clone();
        add(&mut config, access);
        if config != before {
            save(path, &config)?;
        }
        Ok(true)
    })
}

/// Takes the cluster's context out of a kubeconfig, if it is the one of this authority (PEM).
pub fn remove(path: &Path, name: &str, ca: &str) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    exclusively(path, || {
        let mut config = load(path)?;
        if named(&config, "clusters", name).is_none_or(|c| authority(c) != ca.as_bytes()) {
            return Ok(());
        }
        for list in ["clusters", "contexts", "users"] {
            if let Some(Value::Array(items)) = config.get_mut(list) {
                items.retain(|item| item.at("name").str() != name);
            }
        }
        if config.at("current-context").str() == name {
            config.set("current-context", "");
        }
        save(path, &config)
    })
}

/// The current context of a kubeconfig, empty where there is none.
pub fn current_context(path: &Path) -> Result<String> {
    Ok(load(path)?.at("current-context").str().to_owned())
}

/// Whether entries of this name lead to something that is no cluster of ours.
fn is_foreign(config: &Value, name: &str) -> bool {
    let cluster = named(config, "clusters", name);
    let context = named(config, "contexts", name);
    let other = named(config, "users", name).is_some() || context.is_some();
    match cluster {
        None => other,
        Some(cluster) => {
            // The authority of this cluster, or of an earlier one of the same name.
            !pki::is_authority_of(&authority(cluster), name)
                || context.is_some_and(|c| c.at("context.cluster").str() != name)
        }
    }
}

fn named<'a>(config: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    config.at(list).items().iter().find(|item| item.at("name").str() == name)
}

fn authority(cluster: &Value) -> Vec<u8> {
    STANDARD.decode(cluster.at("cluster.certificate-authority-data").str()).unwrap_or_default()
}

/// Holds the lock file that kubectl makes too, so that no change of somebody else is lost.
fn exclusively<T>(path: &Path, change: impl FnOnce() -> Result<T>) -> Result<T> {
    if let Some(dir) = path.parent().filter(|d| !d.exists()) {
        files::create_private_dir(dir)?;
        owned_as_parent(dir);
    }
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = OpenOptions::new().write(true).create_new(true).mode(0o0).open(&lock) {
        let held = error.kind() == ErrorKind::AlreadyExists;
        if !held || Instant::now() > deadline {
            let lock = Path::new(&lock).display();
            return Err(error).with_context(|| format!("lock {} with {lock}", path.display()));
        }
        std::thread::sleep(PAUSE);
    }
    let result = change();
    let removed = fs::remove_file(&lock);
    let result = result?;
    removed.with_context(|| format!("delete {}", Path::new(&lock).display()))?;
    Ok(result)
}

/// Gives a new file or directory to the owner of the directory it is in: under `sudo` the user's
/// files stay the user's.
fn owned_as_parent(path: &Path) {
    if let Some(owner) = path.parent().and_then(|dir| fs::metadata(dir).ok()) {
        // Only root can, and only root needs to.
        let _ = std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()));
    }
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
    // A link (dotfile managers make them) is followed, not replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = fs::metadata(&target).ok();
    files::write_private(&target, serde_saphyr::to_string(config)?.as_bytes())?;
    match before {
        Some(owner) => {
            drop(std::os::unix::fs::chown(&target, Some(owner.uid()), Some(owner.gid())))
        }
        None => owned_as_parent(&target),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Pki;

    #[test]
    fn the_users_entries_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config");
        let pki = Pki::open(&dir.path().join("pki"), "timonier").unwrap();
        let client = KeyPairPem { certificate: "c".into(), key: "k".into() };
        let access = Access {
            name: "timonier",
            server: "https://127.0.0.1:1",
            ca: pki.ca(),
            client: &client,
        };
        assert!(merge(&path, &access).unwrap());
        assert_eq!(current_context(&path).unwrap(), "timonier");
        let own = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: {server: 'https://x', extra: 1}\nextensions:\n- name: e\n";
        fs::write(&path, own).unwrap();
        assert!(merge(&path, &access).unwrap());
        assert!(merge(&path, &access).unwrap());
        let merged = load(&path).unwrap();
        assert_eq!(merged.at("current-context").str(), "work");
        assert_eq!(merged.at("clusters").items().len(), 2);
        remove(&path, "timonier", "another authority").unwrap();
        assert_eq!(load(&path).unwrap(), merged);
        remove(&path, "timonier", pki.ca()).unwrap();
        let after = load(&path).unwrap();
        let before: Value = serde_saphyr::from_str(own).unwrap();
        for key in ["clusters", "extensions", "current-context"] {
            assert_eq!(after.get(key), before.get(key), "{key}");
        }
        fs::write(&path, "a: [").unwrap();
        assert!(merge(&path, &access).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: [");
        assert!(!dir.path().join("sub/config.lock").exists());
    }

    #[test]
    fn entries_of_the_same_name_that_are_not_ours_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let client = KeyPairPem { certificate: "c".into(), key: "k".into() };
        let pki = Pki::open(&dir.path().join("pki"), "work").unwrap();
        let access =
            Access { name: "work", server: "https://127.0.0.1:1", ca: pki.ca(), client: &client };
        for foreign in [
            "clusters: [{name: work, cluster: {server: 'https://127.0.0.1:6443'}}]\n",
            "contexts: [{name: work, context: {cluster: prod, user: me}}]\n",
            "users: [{name: work, user: {token: t}}]\n",
        ] {
            fs::write(&path, foreign).unwrap();
            assert!(!merge(&path, &access).unwrap(), "{foreign}");
            remove(&path, "work", pki.ca()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
        }
        // What a deleted cluster of the same name left behind is replaced.
        let earlier = Pki::open(&dir.path().join("earlier"), "work").unwrap();
        fs::write(&path, "").unwrap();
        assert!(merge(&path, &Access { ca: earlier.ca(), ..access }).unwrap());
        let access =
            Access { name: "work", server: "https://127.0.0.1:1", ca: pki.ca(), client: &client };
        assert!(merge(&path, &access).unwrap());
        let config = load(&path).unwrap();
        assert_eq!(authority(named(&config, "clusters", "work").unwrap()), pki.ca().as_bytes());
    }

    #[test]
    fn a_lock_of_somebody_else_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let lock = dir.path().join("config.lock");
        fs::write(&lock, "").unwrap();
        let other = std::thread::spawn({
            let lock = lock.clone();
            move || fs::remove_file(lock).unwrap()
        });
        exclusively(&path, || Ok(())).unwrap();
        other.join().unwrap();
        assert!(!lock.exists());
    }
}
