//! Log rotation: a log that has grown too large is renamed, and the runtime opens a new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use timonier_meta::{Environment, Time};
use timonier_runtime::Runtime;

use super::files::rotated;
use crate::server::lookup::Lookup;

/// How often sizes are looked at, as upstream: one `stat` per container.
const PERIOD: Duration = Duration::from_secs(10);

/// When to rotate, and how many files to keep, the current one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_bytes: u64,
    pub max_files: u32,
}

impl Default for Limits {
    /// Upstream's `containerLogMaxSize` and `containerLogMaxFiles`.
    fn default() -> Self {
        Self { max_bytes: 10 << 20, max_files: 5 }
    }
}

/// Rotates until it is dropped.
pub async fn rotate_for_ever(
    lookup: Arc<dyn Lookup>,
    runtime: Arc<dyn Runtime>,
    limits: Limits,
    env: Arc<dyn Environment>,
) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        timer.tick().await;
        for pod in lookup.pods() {
            for container in pod.containers {
                let path = container.log_path;
                if let Err(error) = rotate(&runtime, &container.id, &path, limits, env.now()).await
                {
                    tracing::warn!(%error, path = %path.display(), "rotate a log");
                }
            }
        }
    }
}

async fn rotate(
    runtime: &Arc<dyn Runtime>,
    id: &str,
    path: &Path,
    limits: Limits,
    now: Time,
) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() >= limits.max_bytes => {}
        _ => return Ok(()),
    }
    let new = rename(path, now)?;
    if let Err(error) = runtime.reopen_log(id).await {
        // The container goes on writing to the file that it has: it must keep its name.
        fs::rename(&new, path)?;
        return Err(io::Error::other(error));
    }
    clean(path, limits.max_files)
}

fn rename(path: &Path, now: Time) -> io::Result<PathBuf> {
    let digits: String = now.rfc3339().chars().filter(char::is_ascii_digit).collect();
    let (date, time) = digits.split_at(8.min(digits.len()));
    let time = &time[..6.min(time.len())];
    let new = PathBuf::from(format!("{}.{date}-{time}", path.display()));
    // A second rotation within one second waits for the next round.
    if new.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "rotated a moment ago"));
    }
    fs::rename(path, &new)?;
    Ok(new)
}

/// Removes the oldest files.
fn clean(path: &Path, max_files: u32) -> io::Result<()> {
    let files = rotated(path);
    let keep = max_files.saturating_sub(1) as usize;
    for old in &files[..files.len().saturating_sub(keep)] {
        fs::remove_file(old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_time_and_old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        for second in 1..=6 {
            fs::write(&path, second.to_string()).unwrap();
            let now = Time::parse(&format!("2026-11-21T20:34:0{second}Z")).unwrap();
            rename(&path, now).unwrap();
            clean(&path, 5).unwrap();
        }
        let names: Vec<_> =
            rotated(&path).iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        let expected = [3, 4, 5, 6].map(|s| format!("0.log.20261121-20340{s}"));
        assert_eq!(names, expected.map(std::ffi::OsString::from));
        fs::write(&path, "").unwrap();
        assert!(rename(&path, Time::parse("2026-11-21T20:34:06Z").unwrap()).is_err());
    }
}
