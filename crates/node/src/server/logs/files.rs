//! A log is its current file and the rotated ones before it: `0.log.<time>`, then `0.log`.

use std::fs;
use std::path::{Path, PathBuf};

/// Rotated files of a log, the oldest first. Their suffix is a time, so that names sort by age.
pub fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            let suffix =
                p.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix(&prefix));
            suffix.is_some_and(|s| s.starts_with(|c: char| c.is_ascii_digit()))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_first_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["0.log", "0.log.20260102-000000", "0.log.20260101-000000", "0.log.tmp", "1.log"]
        {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let names: Vec<_> = rotated(&dir.path().join("0.log"))
            .iter()
            .map(|p| p.file_name().unwrap().to_str().unwrap().to_string())
            .collect();
        assert_eq!(names, ["0.log.20260101-000000", "0.log.20260102-000000"]);
    }
}
