//! Reading and writing tar archives, bounded and without interpretation of names.

pub mod reader;
pub mod writer;

pub use reader::Reader;
pub use writer::Writer;

/// One member of an archive.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The name as it stands in the archive: any bytes, possibly hostile.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permission bits, set-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of data that follow.
    pub size: u64,
    /// Seconds since the epoch, and nanoseconds.
    pub mtime: (i64, u32),
    /// The target of a link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes by name.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    #[default]
    File,
    Directory,
    Symlink,
    Hardlink,
    CharDevice,
    BlockDevice,
    Fifo,
    /// A type flag that means nothing here.
    Other(u8),
}

/// For messages: a name shortened and made printable.
pub fn show(name: &[u8]) -> String {
    let cut = &name[..name.len().min(300)];
    format!("{:?}", String::from_utf8_lossy(cut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn sample() -> Vec<(Entry, Vec<u8>)> {
        let file = |path: &str, data: &[u8]| {
            let (path, size) = (path.as_bytes().to_vec(), data.len() as u64);
            (
                Entry {
                    path,
                    size,
                    mode: 0o4755,
                    uid: 7,
                    gid: 8,
                    mtime: (99, 0),
                    ..Entry::default()
                },
                data.to_vec(),
            )
        };
        let mut all = vec![
            file("a", b"hello"),
            file(&"long/".repeat(60), b""),
            file(&format!("{}x", "long/".repeat(60)), &[1; 513]),
        ];
        all[1].0.kind = Kind::Directory;
        all[0].0.xattrs = vec![("security.capability".into(), vec![1, 0, 10, 61])];
        all[2].0.uid = 3_000_000;
        all[2].0.mtime = (-5, 0);
        let base = Entry { mode: 0o777, ..Entry::default() };
        for (kind, link) in [(Kind::Symlink, "/etc/x"), (Kind::Hardlink, "a"), (Kind::Fifo, "")] {
            let path = format!("{kind:?}").into_bytes();
            all.push((Entry { path, kind, link: link.into(), ..base.clone() }, vec![]));
        }
        let (kind, device) = (Kind::CharDevice, (1, 3));
        all.push((Entry { path: b"null".to_vec(), kind, device, ..base }, vec![]));
        all
    }

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in sample() {
            writer.append(&entry, &mut &data[..]).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = written();
        let mut reader = Reader::new(&bytes[..]);
        for (entry, data) in sample() {
            let mut got = reader.next_entry().unwrap().unwrap();
            if got.kind == Kind::Directory {
                got.path.push(b'/');
                got.path.dedup_by(|a, b| *a == b'/' && *b == b'/');
            }
            assert_eq!(got, entry);
            let mut body = Vec::new();
            reader.read_to_end(&mut body).unwrap();
            assert_eq!(body, data);
        }
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn agrees_with_another_implementation() {
        let bytes = written();
        let mut archive = ::tar::Archive::new(&bytes[..]);
        let names: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path_bytes().into_owned()).collect();
        assert_eq!(names.len(), sample().len());
        assert_eq!(names[2], sample()[2].0.path);
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o640);
        header.set_mtime(5);
        builder.append_data(&mut header, "d/".repeat(80) + "f", &b"abc"[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let mut reader = Reader::new(&bytes[..]);
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!(
            (entry.path.len(), entry.size, entry.mode, entry.mtime),
            (161, 3, 0o640, (5, 0))
        );
    }

    #[test]
    fn cut_and_broken_archives_are_errors_not_panics() {
        let good = written();
        let drain = |bytes: &[u8]| -> crate::Result<()> {
            let mut reader = Reader::new(bytes);
            while reader.next_entry()?.is_some() {}
            Ok(())
        };
        assert!(drain(&good).is_ok());
        assert!(drain(&good[..700]).unwrap_err().to_string().contains("ends too early"));
        let mut seed = 3u64;
        for _ in 0..2000 {
            let mut bytes = good.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = (seed >> 20) as u8;
                if seed >> 62 == 0 {
                    bytes.truncate(at);
                    bytes.push(0);
                }
            }
            let _ = drain(&bytes);
        }
    }
}
