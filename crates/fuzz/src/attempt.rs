//! The process of one target.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use crate::{Target, all};

/// The variable that names the target of this process.
pub const TARGET: &str = "TIMONIER_FUZZ_TARGET";
/// The variable with the file that what is about to run is written to.
pub const CURRENT: &str = "TIMONIER_FUZZ_CURRENT";

static CHOSEN: OnceLock<(Target, Option<File>)> = OnceLock::new();

/// Takes the target that the environment names; `None` where it names none.
pub fn begin() -> Option<()> {
    let name = env::var(TARGET).ok()?;
    let target = *all().iter().find(|t| t.name == name)?;
    let current = env::var_os(CURRENT).map(|p| File::create(p).expect("the file can be made"));
    drop(CHOSEN.set((target, current)));
    Some(())
}

/// Runs the target on one input. libFuzzer keeps an input that failed, but for one: where the stack
/// is at its end, its handler does not run any more. So the input is written down before.
pub fn run(input: &[u8]) {
    let (target, current) = CHOSEN.get().expect("libFuzzer calls the beginning first");
    if let Some(file) = current {
        let record = [&(input.len() as u64).to_ne_bytes()[..], input].concat();
        file.write_all_at(&record, 0).expect("the file can be written");
    }
    (target.run)(input);
}

/// The input that was about to run, from the file that [`CURRENT`] named.
pub fn last(file: &Path) -> io::Result<Vec<u8>> {
    let record = std::fs::read(file)?;
    let (length, input) = record.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = u64::from_ne_bytes(*length) as usize;
    Ok(input.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
}
