//! The log files of containers: rotation by size, removal.

use std::fs;
use std::path::{Path, PathBuf};

use timonier_meta::Time;

/// Removes a run's log with its rotated files.
pub(crate) fn remove(log: &Path) {
    for path in rotated(log).into_iter().chain([log.to_path_buf()]) {
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "removing a log");
        }
    }
}

/// Renames a log that is too large, and removes the oldest of too many. Gives whether the log is
/// to be opened anew.
pub(crate) fn rotate(log: &Path, max_bytes: u64, max_files: u32, now: Time) -> bool {
    let too_large = fs::metadata(log).is_ok_and(|m| m.len() > max_bytes);
    if !too_large {
        return false;
    }
    let mut old = rotated(log);
    // The new name and the present file count too.
    let keep = (max_files as usize).saturating_sub(2);
    while old.len() > keep {
        let oldest = old.remove(0);
        if fs::remove_file(&oldest).is_err() {
            break;
        }
    }
    let (y, mo, d, h, mi, s) = now.civil();
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{y:04}{mo:02}{d:02}-{h:02}{mi:02}{s:02}"));
    fs::rename(log, PathBuf::from(name)).is_ok()
}

/// The rotated files of a log, oldest first.
fn rotated(log: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else { return Vec::new() };
    let prefix = format!("{}.", name.to_string_lossy());
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut out: Vec<PathBuf> = entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
        .map(|e| e.path())
        .collect();
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_rotate_and_go() {
        let dir = std::env::temp_dir().join(format!("timonier-logs-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let log = dir.join("0.log");
        for i in 0..6 {
            fs::write(&log, "0123456789").unwrap();
            assert!(!rotate(&log, 10, 3, Time::from_unix(i)));
            assert!(rotate(&log, 9, 3, Time::from_unix(i)));
        }
        let names: Vec<_> = rotated(&log);
        assert_eq!(names.len(), 2);
        assert!(names[1].to_string_lossy().ends_with("0.log.19700101-000005"));
        fs::write(&log, "").unwrap();
        remove(&log);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
