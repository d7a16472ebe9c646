//! From the records of log files to the text that a client sees.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use timonier_meta::Time;

use super::files::rotated;

const CHUNK: usize = 64 << 10;
/// A record is at most 16 KiB of text and its head; a longer one is damaged and passed on as it is.
const MAX_RECORD: usize = 1 << 20;

/// What a client asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    /// Only records from then on.
    pub since: Option<Time>,
    /// Only so many records of the end.
    pub tail: Option<u64>,
    /// Only so many bytes of output.
    pub limit: Option<u64>,
    /// `stdout` or `stderr` only.
    pub stream: Option<String>,
}

/// Reads a log forward, over file after file.
pub struct Reader {
    path: PathBuf,
    /// Rotated files that come before the current one.
    earlier: VecDeque<PathBuf>,
    file: Option<File>,
    /// The file's number, to see when the path names another.
    inode: u64,
    /// The beginning of a record whose end was not read yet.
    rest: Vec<u8>,
    /// How many records a client wants that asked for the end of the log and not for what follows:
    /// records that come meanwhile do not count.
    records_left: Option<u64>,
    formatter: Formatter,
}

impl Reader {
    /// Opens a log where the options say. A log that does not exist is an error.
    pub fn open(path: &Path, options: &Options) -> io::Result<Self> {
        let mut reader = Self {
            path: path.to_path_buf(),
            earlier: rotated(path).into(),
            file: None,
            inode: 0,
            rest: Vec::new(),
            records_left: options.tail.filter(|_| !options.follow),
            formatter: Formatter::new(options.clone()),
        };
        match options.tail {
            None => reader.next_file()?,
            Some(wanted) => reader.seek_tail(wanted)?,
        }
        Ok(reader)
    }

    /// Whether the client has all that it wanted.
    pub fn is_full(&self) -> bool {
        self.formatter.left == Some(0) || self.records_left == Some(0)
    }

    /// The next piece of output; empty when the end is reached for now.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        let mut buffer = vec![0; CHUNK];
        while output.is_empty() && !self.is_full() {
            let Some(file) = &mut self.file else { break };
            let n = file.read(&mut buffer)?;
            if n == 0 {
                if !self.advance()? {
                    break;
                }
                continue;
            }
            self.rest.extend_from_slice(&buffer[..n]);
            self.take_records(&mut output);
        }
        Ok(output)
    }

    fn take_records(&mut self, output: &mut Vec<u8>) {
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|b| *b == b'\n') {
            match &mut self.records_left {
                Some(0) => return,
                Some(left) => *left -= 1,
                None => {}
            }
            self.formatter.record(&self.rest[start..start + length], output);
            start += length + 1;
        }
        self.rest.drain(..start);
        if self.rest.len() > MAX_RECORD {
            let damaged = std::mem::take(&mut self.rest);
            self.formatter.record(&damaged, output);
        }
    }

    /// At the end of a file: goes on with the one that follows it, if there is one.
    fn advance(&mut self) -> io::Result<bool> {
        if !self.earlier.is_empty() {
            self.next_file()?;
            return Ok(true);
        }
        match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.ino() != self.inode => {
                // Several rotations may lie between; those files come first.
                let inode = self.inode;
                let after = rotated(&self.path)
                    .into_iter()
                    .skip_while(|p| std::fs::metadata(p).is_ok_and(|m| m.ino() != inode));
                self.earlier = after.skip(1).collect();
                self.next_file()?;
                Ok(true)
            }
            // Between two steps of a rotation there is no file.
            _ => Ok(false),
        }
    }

    fn next_file(&mut self) -> io::Result<()> {
        let path = self.earlier.pop_front().unwrap_or_else(|| self.path.clone());
        let file = File::open(path)?;
        self.inode = file.metadata()?.ino();
        self.file = Some(file);
        Ok(())
    }

    /// Goes back from the end until enough records lie ahead.
    fn seek_tail(&mut self, wanted: u64) -> io::Result<()> {
        let mut files: Vec<PathBuf> = self.earlier.drain(..).collect();
        files.push(self.path.clone());
        let mut found = 0;
        for (index, path) in files.iter().enumerate().rev() {
            let mut file = File::open(path)?;
            let (count, start) = last_records(&mut file, wanted - found)?;
            found += count;
            if found >= wanted || index == 0 {
                file.seek(SeekFrom::Start(start))?;
                self.inode = file.metadata()?.ino();
                self.file = Some(file);
                // What follows, without the current file, which is always the last.
                let last = files.len() - 1;
                self.earlier = files[(index + 1).min(last)..last].iter().cloned().collect();
                return Ok(());
            }
        }
        Ok(())
    }
}

/// How many of the wanted last records a file has, and where they begin.
fn last_records(file: &mut File, wanted: u64) -> io::Result<(u64, u64)> {
    let end = file.metadata()?.len();
    if wanted == 0 {
        return Ok((0, end));
    }
    let mut buffer = vec![0; CHUNK];
    let (mut position, mut found) = (end, 0);
    while position > 0 {
        let length = position.min(CHUNK as u64);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        let chunk = &mut buffer[..length as usize];
        file.read_exact(chunk)?;
        for (offset, byte) in chunk.iter().enumerate().rev() {
            let at = position + offset as u64;
            // The break that ends the last record begins nothing.
            if *byte == b'\n' && at + 1 != end {
                found += 1;
                if found == wanted {
                    return Ok((found, at + 1));
                }
            }
        }
    }
    Ok((found + u64::from(end > 0), 0))
}

/// Turns records into output.
struct Formatter {
    options: Options,
    left: Option<u64>,
    /// The record before was a part of a line, per stream.
    within_line: [bool; 2],
}

impl Formatter {
    fn new(options: Options) -> Self {
        Self { left: options.limit, options, within_line: [false; 2] }
    }

    fn record(&mut self, record: &[u8], output: &mut Vec<u8>) {
        let start = output.len();
        match Record::parse(record) {
            Some(parsed) => self.parsed(&parsed, output),
            // Something else than our runtime wrote it; better shown than lost.
            None => {
                output.extend_from_slice(record);
                output.push(b'\n');
            }
        }
        if let Some(left) = &mut self.left {
            let new = (output.len() - start) as u64;
            if new > *left {
                output.truncate(start + *left as usize);
            }
            *left = left.saturating_sub(new);
        }
    }

    fn parsed(&mut self, record: &Record, output: &mut Vec<u8>) {
        if self.options.stream.as_deref().is_some_and(|s| s != record.stream) {
            return;
        }
        let early = |since: Time| Time::parse(record.time).is_some_and(|t| t < since);
        if self.options.since.is_some_and(early) {
            return;
        }
        let within = &mut self.within_line[usize::from(record.stream == "stderr")];
        if self.options.timestamps && !*within {
            output.extend_from_slice(record.time.as_bytes());
            output.push(b' ');
        }
        output.extend_from_slice(record.text);
        if !record.partial {
            output.push(b'\n');
        }
        *within = record.partial;
    }
}

struct Record<'a> {
    time: &'a str,
    stream: &'a str,
    partial: bool,
    text: &'a [u8],
}

impl<'a> Record<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut parts = bytes.splitn(4, |b| *b == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = std::str::from_utf8(parts.next()?).ok()?;
        let tags = parts.next()?;
        if !matches!(stream, "stdout" | "stderr") {
            return None;
        }
        let partial = tags.split(|b| *b == b':').next() == Some(b"P");
        Some(Self { time, stream, partial, text: parts.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn line(second: u32, stream: &str, tag: char, text: &str) -> String {
        format!("2026-01-01T00:00:{second:02}.000000000Z {stream} {tag} {text}\n")
    }

    fn sample() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        fs::write(
            dir.path().join("0.log.20260101-000000"),
            line(1, "stdout", 'F', "one") + &line(2, "stderr", 'F', "two"),
        )
        .unwrap();
        let current = line(3, "stdout", 'P', "thr")
            + &line(4, "stdout", 'F', "ee")
            + &line(5, "stdout", 'F', "four");
        fs::write(&path, current).unwrap();
        (dir, path)
    }

    fn read(path: &Path, options: Options) -> String {
        let mut reader = Reader::open(path, &options).unwrap();
        let mut all = Vec::new();
        loop {
            let piece = reader.read().unwrap();
            if piece.is_empty() {
                return String::from_utf8(all).unwrap();
            }
            all.extend(piece);
        }
    }

    #[test]
    fn everything_rotated_files_included() {
        let (_dir, path) = sample();
        assert_eq!(read(&path, Options::default()), "one\ntwo\nthree\nfour\n");
        let options = Options { stream: Some("stderr".into()), ..Options::default() };
        assert_eq!(read(&path, options), "two\n");
    }

    #[test]
    fn tails_reach_over_files() {
        let (_dir, path) = sample();
        let tail = |n| read(&path, Options { tail: Some(n), ..Options::default() });
        assert_eq!(tail(0), "");
        assert_eq!(tail(1), "four\n");
        assert_eq!(tail(2), "ee\nfour\n");
        assert_eq!(tail(4), "two\nthree\nfour\n");
        assert_eq!(tail(5), "one\ntwo\nthree\nfour\n");
        assert_eq!(tail(500), "one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn a_tail_ends_before_what_comes_meanwhile() {
        let (_dir, path) = sample();
        let open = |follow| {
            let options = Options { tail: Some(1), follow, ..Options::default() };
            Reader::open(&path, &options).unwrap()
        };
        let (mut tail, mut follow) = (open(false), open(true));
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        writeln!(file, "2026-01-01T00:00:09Z stdout F five").unwrap();
        assert_eq!(tail.read().unwrap(), b"four\n");
        assert!(tail.is_full());
        assert_eq!(follow.read().unwrap(), b"four\nfive\n");
    }

    #[test]
    fn times_and_limits() {
        let (_dir, path) = sample();
        let since = Time::parse("2026-01-01T00:00:04Z");
        let options = Options { since, timestamps: true, ..Options::default() };
        assert_eq!(
            read(&path, options),
            "2026-01-01T00:00:04.000000000Z ee\n2026-01-01T00:00:05.000000000Z four\n"
        );
        let options = Options { limit: Some(6), ..Options::default() };
        assert_eq!(read(&path, options), "one\ntw");
    }

    #[test]
    fn rotation_while_reading_loses_nothing() {
        let (dir, path) = sample();
        let mut reader = Reader::open(&path, &Options::default()).unwrap();
        let mut drain = || {
            let mut all = Vec::new();
            loop {
                match reader.read().unwrap() {
                    piece if piece.is_empty() => return String::from_utf8(all).unwrap(),
                    piece => all.extend(piece),
                }
            }
        };
        assert!(drain().ends_with("four\n"));
        for (suffix, text) in [("20260101-000001", "five"), ("20260101-000002", "six")] {
            fs::rename(&path, dir.path().join(format!("0.log.{suffix}"))).unwrap();
            fs::write(&path, line(6, "stdout", 'F', text)).unwrap();
        }
        assert_eq!(drain(), "five\nsix\n");
    }

    #[test]
    fn damaged_records_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        fs::write(&path, "nonsense\n").unwrap();
        assert_eq!(read(&path, Options::default()), "nonsense\n");
        assert!(Reader::open(&dir.path().join("none"), &Options::default()).is_err());
    }
}
