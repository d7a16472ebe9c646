//! `RUN --mount=…`.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Key;
use super::copy::{digest_tree, expand_flag};
use super::runner::{MountKind, RunMount};
use super::sink::{Attributes, Sink};
use super::state::State;
use super::tree::Tree;
use super::{Builder, Fault};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::registry::blocking;
use crate::unpack::path;

/// A mount that is ready, and whatever must live as long as it.
pub struct Prepared {
    pub mount: RunMount,
    /// The mount point is to be a directory, else a file.
    pub is_dir: bool,
    /// The lock of a cache that only one step at a time may use.
    pub _lock: Option<File>,
    /// What of it decides the step's result.
    pub digest: String,
    /// A secret that goes into the environment instead.
    pub env: Option<(String, String)>,
}

#[derive(Default)]
struct Spec {
    kind: String,
    target: String,
    source: Option<String>,
    from: Option<String>,
    id: Option<String>,
    env: Option<String>,
    read_only: Option<bool>,
    sharing: String,
    mode: Option<u32>,
    owner: (u32, u32),
    size: Option<u64>,
    required: bool,
}

impl Builder<'_> {
    /// Makes ready what a step wants to be mounted. `None`: an optional secret that is not here.
    pub(super) async fn prepare_mount(
        &mut self,
        state: &State,
        flag: &str,
        stage: usize,
    ) -> Result<Option<Prepared>, Fault> {
        let spec = parse(&expand_flag(state, flag, self.plan.escape)?, &state.working_dir())?;
        match spec.kind.as_str() {
            "bind" => self.bind(spec, stage).await.map(Some),
            "cache" => self.cache(spec).await.map(Some),
            "tmpfs" => Ok(Some(ready(&spec, MountKind::Tmpfs { size: spec.size }, true, false))),
            _ => self.secret(spec),
        }
    }

    /// A copy of the source: the step may write to it, and nothing of that stays.
    async fn bind(&mut self, spec: Spec, stage: usize) -> Result<Prepared, Fault> {
        let tree = match &spec.from {
            Some(from) => self.tree_from(from, stage).await?,
            None => self.context_tree()?,
        };
        let tree = Arc::new(tree);
        let dir = self.operation.fresh("bind");
        let source = spec.source.clone().unwrap_or_else(|| "/".to_owned());
        let (digest, is_dir, host) = blocking(move || copy_tree(&tree, &source, dir)).await?;
        let mut prepared =
            ready(&spec, MountKind::Bind { source: host }, is_dir, spec.read_only.unwrap_or(true));
        prepared.digest = digest.to_string();
        Ok(prepared)
    }

    /// A directory that outlives the build. With `private` whoever comes second gets one that
    /// does not.
    async fn cache(&mut self, spec: Spec) -> Result<Prepared, Fault> {
        let id = spec.id.clone().unwrap_or_else(|| spec.target.clone());
        let name = Digest::of(id.as_bytes());
        let mut dir = self.store.mount_caches().join(name.short());
        make_cache(&dir, &spec)?;
        let file = File::open(&dir).at("open", &dir)?;
        // The collector goes by the time of the last use.
        let _ = file.set_modified(std::time::SystemTime::now());
        let mut lock = None;
        match spec.sharing.as_str() {
            "locked" => {
                let path = dir.clone();
                lock = Some(blocking(move || file.lock().at("lock", &path).map(|()| file)).await?);
            }
            "private" => match file.try_lock() {
                Ok(()) => lock = Some(file),
                Err(_) => {
                    dir = self.operation.fresh("cache");
                    make_cache(&dir, &spec)?;
                }
            },
            _ => {}
        }
        let kind = MountKind::Bind { source: dir };
        let prepared = ready(&spec, kind, true, spec.read_only.unwrap_or(false));
        Ok(Prepared { _lock: lock, ..prepared })
    }

    fn secret(&mut self, mut spec: Spec) -> Result<Option<Prepared>, Fault> {
        use std::os::unix::fs::{PermissionsExt, chown};
        let id = spec
            .id
            .clone()
            .or_else(|| spec.target.rsplit('/').next().map(str::to_owned))
            .unwrap_or_default();
        let Some(source) = self.options.secrets.get(&id) else {
            return match spec.required {
                true => Err(Fault::from(format!("secret {id}: not found"))),
                false => Ok(None),
            };
        };
        let bytes = std::fs::read(source).at("read", source)?;
        if let Some(name) = spec.env.clone() {
            let value = String::from_utf8(bytes)
                .map_err(|_| format!("secret {id} is no text, so it cannot be a variable"))?;
            let mut prepared = ready(&spec, MountKind::Tmpfs { size: None }, true, true);
            prepared.env = Some((name, value));
            return Ok(Some(prepared));
        }
        if spec.target.is_empty() {
            spec.target = format!("/run/secrets/{id}");
        }
        let path = self.operation.fresh("secret");
        std::fs::write(&path, bytes).at("write", &path)?;
        chown(&path, Some(spec.owner.0), Some(spec.owner.1)).at("chown", &path)?;
        let mode = PermissionsExt::from_mode(spec.mode.unwrap_or(0o400));
        std::fs::set_permissions(&path, mode).at("chmod", &path)?;
        Ok(Some(ready(&spec, MountKind::Bind { source: path }, false, true)))
    }
}

fn make_cache(dir: &Path, spec: &Spec) -> Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir).at("create", dir)?;
    chown(dir, Some(spec.owner.0), Some(spec.owner.1)).at("chown", dir)?;
    let mode = PermissionsExt::from_mode(spec.mode.unwrap_or(0o755));
    std::fs::set_permissions(dir, mode).at("chmod", dir)
}

fn ready(spec: &Spec, kind: MountKind, is_dir: bool, read_only: bool) -> Prepared {
    let mount = RunMount { target: spec.target.clone(), kind, read_only };
    Prepared { mount, is_dir, _lock: None, digest: String::new(), env: None }
}

fn copy_tree(tree: &Tree, source: &str, dir: PathBuf) -> Result<(Digest, bool, PathBuf)> {
    let picked = tree
        .select(source)?
        .into_iter()
        .next()
        .ok_or_else(|| Error::NotFound(source.to_owned()))?;
    let mut key = Key::new("bind");
    digest_tree(tree, &picked, &mut key)?;
    std::fs::create_dir(&dir).at("create", &dir)?;
    let root = path::open_root(&dir)?;
    let attributes = Attributes { keep_owner: !tree.is_context, ..Attributes::default() };
    let mut sink = Sink::new(root.as_fd(), attributes);
    let is_dir = path::is_dir(&picked.stat);
    let base = [b"source".to_vec()];
    tree.walk(&picked, &mut |item| sink.put(&base, item))?;
    sink.finish()?;
    Ok((key.finish(), is_dir, dir.join("source")))
}

fn parse(text: &str, cwd: &str) -> Result<Spec, String> {
    let mut spec =
        Spec { kind: "bind".to_owned(), sharing: "shared".to_owned(), ..Spec::default() };
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let needed = || {
            value
                .map(str::to_owned)
                .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))
        };
        let flag = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("invalid value for {key}: {other}")),
        };
        let number = |radix: u32| {
            let bad = || format!("invalid value {:?} for {key}", value.unwrap_or_default());
            u32::from_str_radix(value.unwrap_or_default(), radix).map_err(|_| bad())
        };
        match key.to_ascii_lowercase().as_str() {
            "type" => spec.kind = needed()?.to_ascii_lowercase(),
            "target" | "dst" | "destination" => spec.target = needed()?,
            "source" | "src" => spec.source = Some(needed()?),
            "from" => spec.from = Some(needed()?),
            "id" => spec.id = Some(needed()?),
            "env" => spec.env = Some(needed()?),
            "readonly" | "ro" => spec.read_only = Some(flag()?),
            "readwrite" | "rw" => spec.read_only = Some(!flag()?),
            "required" => spec.required = flag()?,
            "sharing" => spec.sharing = needed()?.to_ascii_lowercase(),
            "mode" => spec.mode = Some(number(8)?),
            "uid" => spec.owner.0 = number(10)?,
            "gid" => spec.owner.1 = number(10)?,
            "size" => spec.size = Some(size(&needed()?)?),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    check(&mut spec, cwd)?;
    Ok(spec)
}

fn check(spec: &mut Spec, cwd: &str) -> Result<(), String> {
    match spec.kind.as_str() {
        "bind" | "cache" | "tmpfs" if spec.target.is_empty() => {
            return Err("--mount needs a target".to_owned());
        }
        "bind" | "cache" | "tmpfs" | "secret" => {}
        "ssh" => return Err("--mount=type=ssh is not supported".to_owned()),
        other => return Err(format!("unsupported mount type {other:?}")),
    }
    if spec.kind == "cache" && (spec.from.is_some() || spec.source.is_some()) {
        return Err("--mount=type=cache with from or source is not supported".to_owned());
    }
    if !matches!(spec.sharing.as_str(), "shared" | "private" | "locked") {
        return Err(format!("unsupported sharing value {:?}", spec.sharing));
    }
    if !spec.target.is_empty() && !spec.target.starts_with('/') {
        spec.target = format!("{}/{}", cwd.trim_end_matches('/'), spec.target);
    }
    Ok(())
}

/// Bytes, with Docker's units.
fn size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let shift = match lower[digits..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err(format!("invalid size {text:?}")),
    };
    let number = lower[..digits].parse::<u64>().ok();
    number.and_then(|n| n.checked_mul(1 << shift)).ok_or_else(|| format!("invalid size {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        let spec = parse("type=cache,target=c,sharing=locked,mode=0700,uid=5,ro", "/w").unwrap();
        assert_eq!((spec.target.as_str(), spec.mode, spec.owner.0), ("/w/c", Some(0o700), 5));
        assert_eq!(spec.read_only, Some(true));
        assert_eq!(parse("type=tmpfs,target=/t,size=2m", "/").unwrap().size, Some(2 << 20));
        for bad in [
            "type=x,target=/a",
            "type=bind",
            "type=ssh",
            "target",
            "target=/a,zz=1",
            "type=cache,target=/a,mode=9",
        ] {
            assert!(parse(bad, "/").is_err(), "{bad}");
        }
    }
}
