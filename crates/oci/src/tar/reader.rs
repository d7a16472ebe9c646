//! Reads ustar, pax and GNU archives, member by member.

use std::io::{self, Read};

use super::{Entry, Kind, show};
use crate::error::{Error, IoContext, Result, corrupt};

const BLOCK: usize = 512;
/// Long names and pax headers may have this many bytes, as Go's reader allows.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// Reads the members of an archive in order. Reading from it gives the current member's data.
pub struct Reader<R> {
    inner: R,
    /// Bytes of data that the current member has left.
    left: u64,
    padding: u64,
    /// How much of the archive was read.
    position: u64,
}

/// What extension headers said about the member that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl<R: Read> Reader<R> {
    pub fn new(inner: R) -> Self {
        Reader { inner, left: 0, padding: 0, position: 0 }
    }

    /// The next member; `None` after the end mark or at a clean end of the input.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        let mut extended = 0;
        loop {
            self.skip(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else {
                if extended > 0 {
                    return Err(corrupt("tar archive: an extension header without a member"));
                }
                return Ok(None);
            };
            let flag = header[156];
            let size = number(&header[124..136], "size")?;
            if matches!(flag, b'x' | b'g' | b'L' | b'K' | b'X') {
                extended += 1;
                if extended > 16 {
                    return Err(corrupt("tar archive: too many extension headers for one member"));
                }
                let data = self.extension(size)?;
                match flag {
                    b'x' | b'X' => extensions.read_pax(&data)?,
                    b'L' => extensions.path = Some(until_nul(&data).to_vec()),
                    b'K' => extensions.link = Some(until_nul(&data).to_vec()),
                    // Global headers hold remarks, such as git's commit id.
                    _ => {}
                }
                continue;
            }
            let entry = entry(&header, size, extensions)?;
            self.left = entry.size;
            self.padding = padding(entry.size);
            return Ok(Some(entry));
        }
    }

    /// The reader behind; what follows the end mark is still in it.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let n = self.fill(&mut block)?;
        if n == 0 || (n == BLOCK && block.iter().all(|b| *b == 0)) {
            return Ok(None);
        }
        if n < BLOCK {
            return Err(self.cut());
        }
        let stored = number(&block[148..156], "checksum")?;
        let sum = |signed: bool| -> i64 {
            let value = |b: u8| if signed { i64::from(b as i8) } else { i64::from(b) };
            let fields = block.iter().enumerate();
            fields.map(|(i, b)| if (148..156).contains(&i) { 32 } else { value(*b) }).sum()
        };
        if sum(false) != stored as i64 && sum(true) != stored as i64 {
            return Err(corrupt(format!(
                "tar archive: bad header checksum at byte {}",
                self.position - 512
            )));
        }
        Ok(Some(block))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_LIMIT {
            return Err(Error::TooLarge(format!(
                "tar archive: an extension header of {size} bytes"
            )));
        }
        let mut data = vec![0; size as usize];
        if self.fill(&mut data)? < data.len() {
            return Err(self.cut());
        }
        self.padding = padding(size);
        Ok(data)
    }

    fn skip(&mut self, mut n: u64) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        while n > 0 {
            let want = n.min(buffer.len() as u64) as usize;
            if self.fill(&mut buffer[..want])? < want {
                return Err(self.cut());
            }
            n -= want as u64;
        }
        Ok(())
    }

    /// Reads until the buffer is full or the input ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut n = 0;
        while n < buffer.len() {
            match self.inner.read(&mut buffer[n..]) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).during(|| "read archive".to_owned()),
            }
        }
        self.position += n as u64;
        Ok(n)
    }

    fn cut(&self) -> Error {
        corrupt(format!("tar archive ends too early, after {} bytes", self.position))
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = self.left.min(buffer.len() as u64) as usize;
        if want == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..want])?;
        if n == 0 {
            return Err(self.cut().into());
        }
        self.left -= n as u64;
        self.position += n as u64;
        Ok(n)
    }
}

fn entry(header: &[u8; BLOCK], size: u64, extensions: Extensions) -> Result<Entry> {
    let mut path = until_nul(&header[..100]).to_vec();
    let posix = &header[257..263] == b"ustar\0";
    let prefix = until_nul(&header[345..500]);
    if posix && !prefix.is_empty() {
        path = [prefix, b"/", &path].concat();
    }
    let path = extensions.path.unwrap_or(path);
    let kind = match header[156] {
        0 | b'0' | b'7' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::Hardlink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => {
            return Err(corrupt(format!(
                "tar archive: {}: sparse members are not supported",
                show(&path)
            )));
        }
        other => Kind::Other(other),
    };
    let id = |range: std::ops::Range<usize>, given: Option<u32>, what: &str| match given {
        Some(id) => Ok(id),
        None => u32::try_from(number(&header[range], what)?)
            .map_err(|_| corrupt(format!("tar archive: {}: {what} out of range", show(&path)))),
    };
    let device = |range: std::ops::Range<usize>| -> Result<u32> {
        Ok(u32::try_from(number(&header[range], "device number")?).unwrap_or(u32::MAX))
    };
    let special = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    let mtime = match extensions.mtime {
        Some(t) => t,
        None => (signed_number(&header[136..148], "mtime")?, 0),
    };
    let size = extensions.size.unwrap_or(size);
    Ok(Entry {
        kind,
        mode: (number(&header[100..108], "mode")? & 0o7777) as u32,
        uid: id(108..116, extensions.uid, "uid")?,
        gid: id(116..124, extensions.gid, "gid")?,
        // Some writers give links the size of their target; no data follows.
        size: if matches!(kind, Kind::File | Kind::Other(_)) { size } else { 0 },
        mtime,
        link: extensions.link.unwrap_or_else(|| until_nul(&header[157..257]).to_vec()),
        device: if special { (device(329..337)?, device(337..345)?) } else { (0, 0) },
        xattrs: extensions.xattrs,
        path,
    })
}

impl Extensions {
    /// Records of the form `<length> <key>=<value>\n`.
    fn read_pax(&mut self, mut data: &[u8]) -> Result<()> {
        let bad = || corrupt("tar archive: malformed pax header");
        while !data.is_empty() && data[0] != 0 {
            let space = data.iter().take(12).position(|b| *b == b' ').ok_or_else(bad)?;
            let length: usize = std::str::from_utf8(&data[..space])
                .ok()
                .and_then(|n| n.parse().ok())
                .ok_or_else(bad)?;
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &data[space + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            let key = std::str::from_utf8(&record[..equals]).map_err(|_| bad())?;
            self.set(key, &record[equals + 1..])?;
            data = &data[length..];
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let bad = || corrupt(format!("tar archive: malformed pax record {key:?}"));
        let text = || std::str::from_utf8(value).map_err(|_| bad());
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            self.xattrs.push((name.to_owned(), value.to_vec()));
            return Ok(());
        }
        if key.starts_with("GNU.sparse.") {
            return Err(corrupt("tar archive: sparse members are not supported"));
        }
        // An empty value takes the record back.
        let present = !value.is_empty();
        match key {
            "path" => self.path = present.then(|| value.to_vec()),
            "linkpath" => self.link = present.then(|| value.to_vec()),
            "size" if present => self.size = Some(text()?.parse().map_err(|_| bad())?),
            "uid" if present => self.uid = Some(text()?.parse().map_err(|_| bad())?),
            "gid" if present => self.gid = Some(text()?.parse().map_err(|_| bad())?),
            "mtime" if present => self.mtime = Some(decimal_time(text()?).ok_or_else(bad)?),
            _ => {}
        }
        Ok(())
    }
}

/// Seconds with an optional fraction.
fn decimal_time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    match (whole.starts_with('-'), nanos) {
        (true, n) if n > 0 => Some((seconds.checked_sub(1)?, 1_000_000_000 - n)),
        _ => Some((seconds, nanos)),
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn number(field: &[u8], what: &str) -> Result<u64> {
    u64::try_from(signed_number(field, what)?)
        .map_err(|_| corrupt(format!("tar archive: negative {what}")))
}

/// Octal digits, or GNU's base-256 form where the first bit is set.
fn signed_number(field: &[u8], what: &str) -> Result<i64> {
    let bad = || corrupt(format!("tar archive: malformed {what} in a header"));
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { i128::from(field[0]) - 256 } else { i128::from(field[0] & 0x7f) };
        let value = field[1..].iter().fold(first, |n, b| (n << 8) | i128::from(*b));
        return i64::try_from(value).map_err(|_| bad());
    }
    let text = until_nul(field);
    let digits = text.trim_ascii();
    let mut value = 0i64;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return Err(bad());
        }
        value = value
            .checked_mul(8)
            .and_then(|v| v.checked_add(i64::from(digit - b'0')))
            .ok_or_else(bad)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_forms() {
        assert_eq!(number(b"0000644\0", "x").unwrap(), 0o644);
        assert_eq!(number(b"   644 \0", "x").unwrap(), 0o644);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0], "x").unwrap(), 256);
        assert_eq!(signed_number(&[0xff; 12], "x").unwrap(), -1);
        assert!(number(b"00009\0", "x").is_err());
        assert!(number(&[0xff; 12], "x").is_err());
        assert!(number(&[0xbf; 12], "x").is_err());
    }

    #[test]
    fn fractions_of_seconds() {
        assert_eq!(decimal_time("12.5"), Some((12, 500_000_000)));
        assert_eq!(decimal_time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(decimal_time("1.x"), None);
    }
}
