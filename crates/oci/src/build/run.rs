//! `RUN`.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::cache::{CacheEntry, Key};
use super::copy::{expand_flag, mount};
use super::dockerfile::{Form, Run, lines};
use super::mounts::Prepared;
use super::owner::find_user;
use super::runner::{NetworkMode, RunMount, RunStep};
use super::sink::{Attributes, Sink, make_dirs};
use super::state::{DEFAULT_PATH, State};
use super::{BuildEvent, Builder, Fault};
use crate::error::{IoContext, Result};
use crate::registry::blocking;
use crate::store::NewLayer;
use crate::unpack::path;
use crate::users::Identity;

/// Arguments that every command sees without `ARG`, and that no cache looks at.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What runners put in place in every container; where an image lacks them the mount points
/// must not stay behind.
const RUNNER_PLACES: [&str; 6] =
    ["/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname"];

/// A heredoc with a `#!` line becomes this file while it runs.
const SCRIPT: &str = "/.timonier-heredoc";

impl Builder<'_> {
    /// Runs a command; the result is the new layer and the text for the history.
    pub(super) async fn run_step(
        &mut self,
        state: &State,
        run: &Run,
        stage: usize,
    ) -> Result<(CacheEntry, bool, String), Fault> {
        let (argv, script) = command_line(state, run, self.plan.escape);
        let mut prepared = Vec::new();
        for flag in &run.mounts {
            prepared.extend(self.prepare_mount(state, flag, stage).await?);
        }
        let network = match &run.network {
            None => self.options.network,
            Some(flag) => network(&expand_flag(state, flag, self.plan.escape)?)?,
        };
        let given: Vec<String> = state.args.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let text = match given.len() {
            0 => format!("RUN {}", argv.join(" ")),
            n => format!("RUN |{n} {} {}", given.join(" "), argv.join(" ")),
        };
        let mut key =
            Key::new("run").with(state.chain.last().map_or("", |c| c.as_str()).as_bytes());
        let config = &state.config.config;
        key.add(format!("{argv:?} {script:?} {:?} {given:?}", config.env).as_bytes());
        key.add(format!("{:?} {:?} {network:?}", config.working_dir, config.user).as_bytes());
        key.add(format!("{:?} {:?}", run.mounts, self.options.source_date_epoch).as_bytes());
        prepared.iter().for_each(|p| key.add(p.digest.as_bytes()));
        let key = key.finish();
        if let Some(entry) = self.look_up(&key) {
            return Ok((entry, true, text));
        }
        let entry = self.run_fresh(state, argv, script, prepared, network).await?;
        self.store.remember(&self.operation, &key, &entry)?;
        Ok((entry, false, text))
    }

    async fn run_fresh(
        &mut self,
        state: &State,
        argv: Vec<String>,
        script: Option<String>,
        prepared: Vec<Prepared>,
        network: NetworkMode,
    ) -> Result<CacheEntry, Fault> {
        let (store, operation, state2) =
            (self.store.clone(), self.operation.clone(), state.clone());
        let points: Vec<(String, bool)> = prepared
            .iter()
            .filter(|p| p.env.is_none())
            .map(|p| (p.mount.target.clone(), p.is_dir))
            .collect();
        let has_script = script.is_some();
        let (layer, user, stubs) = blocking(move || {
            let (root, layer) = mount(&store, &operation, &state2.chain)?;
            let user = find_user(root.as_fd(), &state2.config.config.user)?;
            let stubs = make_ready(root.as_fd(), &state2, &points, script.as_deref(), &user)?;
            drop(root);
            // A volatile overlay leaves a mark that forbids mounting it again.
            let work = layer.work();
            std::fs::remove_dir_all(&work).at("remove", &work)?;
            std::fs::create_dir(&work).at("create", &work)?;
            Ok((layer, user, stubs))
        })
        .await?;
        let step = RunStep {
            lower_dirs: self.store.lower_dirs(&state.chain),
            upper_dir: layer.diff(),
            work_dir: layer.work(),
            env: self.environment(state, &user, &prepared),
            cwd: state.working_dir(),
            user,
            network,
            mounts: mounts(&prepared),
            stdin: None,
            argv: argv.clone(),
        };
        let progress = &mut *self.progress;
        let mut output = |stderr: bool, bytes: &[u8]| {
            progress(BuildEvent::Output { stderr, bytes: bytes.to_vec() });
        };
        let code = self.runner.run(step, &mut output).await?;
        drop(prepared);
        if code != 0 {
            let line = argv.join(" ");
            return Err(Fault::from(format!(
                "process {line:?} did not complete successfully: exit code: {code}"
            )));
        }
        let (store, operation) = (self.store.clone(), self.operation.clone());
        let (chain, latest) = (state.chain.clone(), self.options.source_date_epoch);
        let created = self.created.clone();
        let entry = blocking(move || {
            clean_up(&layer, &store.lower_dirs(&chain), stubs, has_script)?;
            store.commit_layer(&operation, layer, &chain, latest, &created)
        });
        Ok(entry.await?)
    }

    fn environment(&self, state: &State, user: &Identity, prepared: &[Prepared]) -> Vec<String> {
        let config = &state.config.config;
        let mut env = config.env.clone();
        let mut add = |name: &str, value: &str| {
            if !env.iter().any(|e| e.split('=').next() == Some(name)) {
                env.push(format!("{name}={value}"));
            }
        };
        state.args.iter().for_each(|(name, value)| add(name, value));
        for name in PROXIES {
            if let Some(value) = self.options.build_args.get(name) {
                add(name, value);
            }
        }
        prepared.iter().filter_map(|p| p.env.as_ref()).for_each(|(name, value)| add(name, value));
        add("PATH", DEFAULT_PATH);
        add("HOME", &user.home);
        env
    }
}

fn mounts(prepared: &[Prepared]) -> Vec<RunMount> {
    prepared.iter().filter(|p| p.env.is_none()).map(|p| p.mount.clone()).collect()
}

/// The command line, and the content of the script file if there is one.
fn command_line(state: &State, run: &Run, escape: char) -> (Vec<String>, Option<String>) {
    let (Form::Shell(text), Some(first)) = (&run.form, run.heredocs.first()) else {
        return (state.argv(&run.form), None);
    };
    if run.heredocs.len() == 1 && lines::opening(text, escape).is_some_and(|h| h.word == first.word)
    {
        if first.content.starts_with("#!") {
            return (vec![SCRIPT.to_owned()], Some(first.content.clone()));
        }
        return (state.argv(&Form::Shell(first.content.clone())), None);
    }
    // The shell reads the others itself.
    let mut full = text.clone();
    for heredoc in &run.heredocs {
        full.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
    }
    (state.argv(&Form::Shell(full)), None)
}

fn network(text: &str) -> Result<NetworkMode, String> {
    match text {
        "default" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(format!("unsupported network mode {other:?}")),
    }
}

/// Makes the working directory, mount points and script. The result is what must go afterwards
/// if nothing was put there.
fn make_ready(
    root: BorrowedFd<'_>,
    state: &State,
    points: &[(String, bool)],
    script: Option<&str>,
    user: &Identity,
) -> Result<BTreeSet<Vec<Vec<u8>>>> {
    let mut stubs = BTreeSet::new();
    let places =
        RUNNER_PLACES.iter().map(|p| p.to_string()).chain(points.iter().map(|(p, _)| p.clone()));
    for place in places {
        let parts = path::clean(place.as_bytes())?;
        for n in 1..=parts.len() {
            if path::open_in(root, &parts[..n], rustix::fs::OFlags::PATH).is_err() {
                stubs.insert(parts[..n].to_vec());
            }
        }
    }
    let mut sink = Sink::new(root, Attributes::default());
    for (target, is_dir) in points {
        let parts = path::clean(target.as_bytes())?;
        if *is_dir {
            sink.directory(&parts)?;
        } else if path::open_in(root, &parts, rustix::fs::OFlags::PATH).is_err() {
            sink.put_data(&parts, 0o644, None, &mut std::io::empty())?;
        }
    }
    make_dirs(root, &path::clean(state.working_dir().as_bytes())?, (0, 0))?;
    if let Some(script) = script {
        let owner = Some((user.uid, user.gid));
        let mut sink = Sink::new(root, Attributes { owner, ..Attributes::default() });
        sink.put_data(&path::clean(SCRIPT.as_bytes())?, 0o500, None, &mut script.as_bytes())?;
    }
    Ok(stubs)
}

/// Takes mount points that were made only for the command out of the layer again.
fn clean_up(
    layer: &NewLayer,
    lowers: &[PathBuf],
    stubs: BTreeSet<Vec<Vec<u8>>>,
    script: bool,
) -> Result<()> {
    let upper = layer.diff();
    let root = path::open_root(&upper)?;
    if script {
        path::remove_tree(root.as_fd(), SCRIPT.trim_start_matches('/').as_bytes())?;
    }
    // Longer paths come after shorter ones in order.
    for stub in stubs.iter().rev() {
        let full = real(&upper, stub);
        // The runner may have taken it away itself.
        if let Ok(meta) = full.symlink_metadata() {
            let empty_dir = meta.is_dir() && full.read_dir().is_ok_and(|mut d| d.next().is_none());
            if empty_dir {
                std::fs::remove_dir(&full).at("remove", &full)?;
            } else if meta.is_file() && meta.len() == 0 {
                std::fs::remove_file(&full).at("remove", &full)?;
            }
        }
        if let Some((_, parent)) = stub.split_last()
            && !parent.is_empty()
        {
            drop_if_unchanged(&upper, parent, lowers)?;
        }
    }
    Ok(())
}

/// A directory that is in the layer only because a mount point was made in it.
fn drop_if_unchanged(upper: &Path, parts: &[Vec<u8>], lowers: &[PathBuf]) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let full = real(upper, parts);
    let Ok(meta) = full.symlink_metadata() else { return Ok(()) };
    if !meta.is_dir() || full.read_dir().is_ok_and(|mut d| d.next().is_some()) {
        return Ok(());
    }
    let mut value = [0; 4];
    let opaque = rustix::fs::getxattr(&full, crate::unpack::OPAQUE, &mut value[..]).is_ok();
    let below = lowers.iter().find_map(|l| real(l, parts).symlink_metadata().ok());
    let same = below.is_some_and(|b| {
        b.is_dir() && (b.mode(), b.uid(), b.gid()) == (meta.mode(), meta.uid(), meta.gid())
    });
    if same && !opaque {
        std::fs::remove_dir(&full).at("remove", &full)?;
    }
    Ok(())
}

fn real(base: &Path, parts: &[Vec<u8>]) -> PathBuf {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    parts.iter().fold(base.to_owned(), |path, part| path.join(OsStr::from_bytes(part)))
}
