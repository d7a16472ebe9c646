//! The machine that is measured on.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::figure::Samples;

/// How often the disk is asked to be durable.
const SYNCS: usize = 100;

/// What a reader must know to compare figures.
pub struct Machine {
    /// Seconds since 1970.
    pub time: u64,
    pub cores: usize,
    pub processor: String,
    pub memory_mib: u64,
    pub kernel: String,
    /// Processes that wanted to run in the minute before, on average.
    pub load: f64,
    /// A block of 4 KiB written and made durable, seconds.
    pub sync: Samples,
}

impl Machine {
    /// Looks at the machine, and at the disk that holds `dir`.
    pub fn read(dir: &Path) -> Result<Machine> {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib =
            field(&memory, "MemTotal:").and_then(|m| m.split(' ').next()?.parse::<u64>().ok());
        Ok(Machine {
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: field(&info, "model name").unwrap_or("unknown").to_owned(),
            memory_mib: kib.unwrap_or(0) / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            load: load(),
            sync: sync(dir)?,
        })
    }
}

/// The load average of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|l| l.parse().ok()).unwrap_or(f64::NAN)
}

/// Makes the directory and locks it; it is this run's own until the value is dropped.
pub fn take_directory(dir: &Path) -> Result<Flock<File>> {
    let open = fs::create_dir_all(dir).and_then(|()| File::open(dir));
    let file = open.with_context(|| format!("make {}", dir.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err(_) => bail!("another measurement runs in {}", dir.display()),
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|l| l.starts_with(name))?;
    Some(line[name.len()..].trim_matches([' ', '\t', ':']))
}

fn sync(dir: &Path) -> Result<Samples> {
    let path = dir.join("sync");
    let measure = || -> std::io::Result<Vec<f64>> {
        let mut file = File::create(&path)?;
        (0..SYNCS)
            .map(|_| {
                let start = Instant::now();
                file.write_all(&[1; 4096])?;
                file.sync_data()?;
                Ok(start.elapsed().as_secs_f64())
            })
            .collect()
    };
    let times = measure();
    let _ = fs::remove_file(&path);
    let times = times.with_context(|| format!("write to {}", path.display()))?;
    Samples::new(times).context("no samples")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(field("a\t: b c\nd: 5 kB\n", "a"), Some("b c"));
        assert_eq!(field("a\t: b\nd: 5 kB\n", "d:"), Some("5 kB"));
        assert_eq!(field("a: b\n", "x"), None);
    }
}
