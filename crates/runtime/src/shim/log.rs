//! Container logs in the CRI format: `<time> <stdout|stderr> <F|P> <text>`.
//!
//! `F` ends a line, `P` is a part of one that goes on in the next record of the same stream.

use std::fs::{File, create_dir_all};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longer lines are cut into parts, as containerd does by default.
const MAX_LINE: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One container's log file.
pub struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
    /// Begun lines of stdout and stderr.
    partial: [Vec<u8>; 2],
}

impl Log {
    /// Opens (or creates) the file; `None` throws everything away.
    pub fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let mut log = Self { path, file: None, partial: [Vec::new(), Vec::new()] };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the path anew, after somebody renamed the file.
    pub fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(dir) = path.parent() {
            create_dir_all(dir)?;
        }
        self.file = Some(File::options().append(true).create(true).mode(0o640).open(path)?);
        Ok(())
    }

    /// Takes output as it comes. A full disk loses lines, never the container.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now: SystemTime) {
        let Some(file) = &mut self.file else { return };
        let mut records = Vec::with_capacity(bytes.len() + 64);
        let head = head(stream, now);
        let partial = &mut self.partial[stream as usize];
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            partial.extend_from_slice(piece);
            while partial.len() > MAX_LINE && partial.last() != Some(&b'\n')
                || partial.len() > MAX_LINE + 1
            {
                let rest = partial.split_off(MAX_LINE);
                record(&mut records, &head, b'P', partial);
                *partial = rest;
            }
            if partial.last() == Some(&b'\n') {
                partial.pop();
                record(&mut records, &head, b'F', partial);
                partial.clear();
            }
        }
        let _ = file.write_all(&records);
    }

    /// Writes out what has no end of line; the streams are over.
    pub fn finish(&mut self, now: SystemTime) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let partial = std::mem::take(&mut self.partial[stream as usize]);
            if let (Some(file), false) = (&mut self.file, partial.is_empty()) {
                let mut records = Vec::new();
                record(&mut records, &head(stream, now), b'P', &partial);
                let _ = file.write_all(&records);
            }
        }
    }
}

fn head(stream: Stream, now: SystemTime) -> String {
    let name = if stream == Stream::Stdout { "stdout" } else { "stderr" };
    format!("{} {name} ", timestamp(now))
}

fn record(into: &mut Vec<u8>, head: &str, tag: u8, text: &[u8]) {
    into.extend_from_slice(head.as_bytes());
    into.extend_from_slice(&[tag, b' ']);
    into.extend_from_slice(text);
    into.push(b'\n');
}

/// RFC 3339 in UTC with nanoseconds.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    // Days to a civil date, counting years from March so that the leap day comes last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_nanos()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, 5)
    }

    fn lines(writes: &[(Stream, &[u8])]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/0.log");
        let mut log = Log::open(Some(path.clone())).unwrap();
        for (stream, bytes) in writes {
            log.write(*stream, bytes, at(0));
        }
        log.finish(at(0));
        let text = std::fs::read_to_string(path).unwrap();
        let head = "1970-01-01T00:00:00.000000005Z ";
        text.lines().map(|l| l.strip_prefix(head).unwrap().to_string()).collect()
    }

    #[test]
    fn lines_are_joined_over_writes_and_streams_kept_apart() {
        assert_eq!(
            lines(&[
                (Stream::Stdout, b"one\ntw"),
                (Stream::Stderr, b"oops\n"),
                (Stream::Stdout, b"o\n\nend")
            ]),
            ["stdout F one", "stderr F oops", "stdout F two", "stdout F ", "stdout P end"]
        );
    }

    #[test]
    fn long_lines_are_cut_into_parts() {
        let long = [vec![b'x'; MAX_LINE + 3], b"\n".to_vec()].concat();
        let got = lines(&[(Stream::Stdout, &long)]);
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].len(), "stdout P ".len() + MAX_LINE);
        assert_eq!(got[1], "stdout F xxx");
        let exact = [vec![b'y'; MAX_LINE], b"\n".to_vec()].concat();
        assert_eq!(lines(&[(Stream::Stdout, &exact)]).len(), 1);
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(at(951_782_400)), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(timestamp(at(1_795_293_296)), "2026-11-21T20:34:56.000000005Z");
    }
}
