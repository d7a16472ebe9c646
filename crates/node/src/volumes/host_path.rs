//! `hostPath` volumes: the check of their type.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Checks a path against `hostPath.type`, making it where the type says so. The texts are
/// upstream's.
pub(crate) fn check(path: &Path, kind: &str) -> Result<(), String> {
    let shown = path.display();
    let failed = |what: &str| Err(format!("hostPath type check failed: {shown} is not {what}"));
    let meta = fs::metadata(path);
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" if meta.is_err() => fs::create_dir_all(path)
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
            .map_err(|e| e.to_string()),
        "FileOrCreate" if meta.is_err() => fs::File::create_new(path)
            .and_then(|f| f.set_permissions(Permissions::from_mode(0o644)))
            .map_err(|e| e.to_string()),
        _ => {
            let found = meta.ok().map(|m| m.file_type());
            let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(test);
            match kind {
                "Directory" | "DirectoryOrCreate" if !is(fs::FileType::is_dir) => {
                    failed("a directory")
                }
                "File" | "FileOrCreate" if !is(fs::FileType::is_file) => failed("a file"),
                "Socket" if !is(|t| t.is_socket()) => failed("a socket file"),
                "CharDevice" if !is(|t| t.is_char_device()) => failed("a character device"),
                "BlockDevice" if !is(|t| t.is_block_device()) => failed("a block device"),
                "Directory" | "DirectoryOrCreate" | "File" | "FileOrCreate" | "Socket"
                | "CharDevice" | "BlockDevice" => Ok(()),
                other => Err(format!("unknown hostPath type {other:?}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let dir = std::env::temp_dir().join(format!("timonier-hostpath-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        assert!(check(&dir, "Directory").unwrap_err().ends_with("is not a directory"));
        check(&dir, "").unwrap();
        check(&dir, "DirectoryOrCreate").unwrap();
        check(&dir, "Directory").unwrap();
        check(&dir.join("f"), "FileOrCreate").unwrap();
        check(&dir.join("f"), "File").unwrap();
        assert!(check(&dir.join("f"), "Socket").is_err() && check(&dir, "x").is_err());
        check(Path::new("/dev/null"), "CharDevice").unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
