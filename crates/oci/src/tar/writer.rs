//! Writes ustar archives, with pax headers where a field does not fit. The same members give
//! the same bytes.

use std::io::{self, Read, Write};

use super::{Entry, Kind, show};
use crate::error::{IoContext, Result, corrupt};

/// Writes members in order.
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Writer { out }
    }

    /// Writes one member; `data` must give exactly `entry.size` bytes for a file, nothing is
    /// read for the others. Times are cut to seconds.
    pub fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<()> {
        let mut path = entry.path.clone();
        if entry.kind == Kind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        let pax = pax_records(entry, &path, size);
        if !pax.is_empty() {
            let mut name = b"PaxHeaders.0/".to_vec();
            let base = path.split(|b| *b == b'/').rfind(|part| !part.is_empty()).unwrap_or(b"x");
            name.extend(base.iter().take(80));
            let extra = Entry { mode: 0o644, ..Entry::default() };
            let block = header(&extra, &name, b'x', pax.len() as u64);
            self.write(&block)?;
            self.write(&pax)?;
            self.pad(pax.len() as u64)?;
        }
        let block = header(entry, &path, flag(entry.kind)?, size);
        self.write(&block)?;
        if size > 0 {
            let n =
                io::copy(&mut data.take(size), &mut self.out).during(|| "write archive".into())?;
            if n != size {
                return Err(corrupt(format!("{} shrank while it was read", show(&entry.path))));
            }
            self.pad(size)?;
        }
        Ok(())
    }

    /// A file with its content in memory.
    pub fn append_bytes(&mut self, path: &str, mtime: i64, bytes: &[u8]) -> Result<()> {
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            mode: 0o644,
            size: bytes.len() as u64,
            mtime: (mtime, 0),
            ..Entry::default()
        };
        self.append(&entry, &mut &bytes[..])
    }

    /// Writes the end mark and gives back what was written to.
    pub fn finish(mut self) -> Result<W> {
        self.write(&[0; 1024])?;
        self.out.flush().during(|| "write archive".to_owned())?;
        Ok(self.out)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).during(|| "write archive".to_owned())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let n = (512 - size % 512) % 512;
        self.write(&[0; 512][..n as usize])
    }
}

fn flag(kind: Kind) -> Result<u8> {
    Ok(match kind {
        Kind::File => b'0',
        Kind::Hardlink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
        Kind::Other(other) => return Err(corrupt(format!("tar type {other} cannot be written"))),
    })
}

const OCTAL_7: u64 = 0o7_777_777;
const OCTAL_11: u64 = 0o77_777_777_777;

fn pax_records(entry: &Entry, path: &[u8], size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if path.len() > 100 {
        record(&mut out, "path", path);
    }
    if entry.link.len() > 100 {
        record(&mut out, "linkpath", &entry.link);
    }
    if size > OCTAL_11 {
        record(&mut out, "size", size.to_string().as_bytes());
    }
    for (key, id) in [("uid", entry.uid), ("gid", entry.gid)] {
        if u64::from(id) > OCTAL_7 {
            record(&mut out, key, id.to_string().as_bytes());
        }
    }
    if !(0..=OCTAL_11 as i64).contains(&entry.mtime.0) {
        record(&mut out, "mtime", entry.mtime.0.to_string().as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&mut out, &format!("SCHILY.xattr.{name}"), value);
    }
    out
}

/// The length at the front counts its own digits.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn header(entry: &Entry, path: &[u8], flag: u8, size: u64) -> [u8; 512] {
    let mut block = [0u8; 512];
    let mut text = |at: usize, limit: usize, bytes: &[u8]| {
        let n = bytes.len().min(limit);
        block[at..at + n].copy_from_slice(&bytes[..n]);
    };
    text(0, 100, path);
    text(157, 100, &entry.link);
    text(257, 8, b"ustar\x0000");
    text(100, 8, octal(u64::from(entry.mode & 0o7777), 7).as_bytes());
    text(108, 8, octal(fit(u64::from(entry.uid), OCTAL_7), 7).as_bytes());
    text(116, 8, octal(fit(u64::from(entry.gid), OCTAL_7), 7).as_bytes());
    text(124, 12, octal(fit(size, OCTAL_11), 11).as_bytes());
    let mtime = u64::try_from(entry.mtime.0).map_or(0, |t| fit(t, OCTAL_11));
    text(136, 12, octal(mtime, 11).as_bytes());
    text(329, 8, octal(u64::from(entry.device.0), 7).as_bytes());
    text(337, 8, octal(u64::from(entry.device.1), 7).as_bytes());
    text(156, 1, &[flag]);
    text(148, 8, b"        ");
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..154].copy_from_slice(octal(sum, 6).as_bytes());
    block[154] = 0;
    block
}

/// What does not fit is in the pax header.
fn fit(value: u64, limit: u64) -> u64 {
    if value > limit { 0 } else { value }
}

fn octal(value: u64, digits: usize) -> String {
    format!("{value:0digits$o}")
}
