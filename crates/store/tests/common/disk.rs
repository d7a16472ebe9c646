//! A simulated disk under redb. What was not synced when the power goes is, sector by sector, in
//! any state it had since the last sync: not written, written once, written in part.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use timonier_store::{DiskBackend, Location, StorageBackend};

use super::Random;

const SECTOR: usize = 512;
/// The unit in which the file system gives out room.
const BLOCK: usize = 4096;

#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What a read gives.
    now: Vec<u8>,
    /// What is on the disk for certain.
    durable: Vec<u8>,
    unsynced: Vec<Op>,
    syncs: u64,
    /// The power goes at this sync.
    crash_at: Option<u64>,
    /// Blocks that may be in use.
    capacity: Option<usize>,
    used: BTreeSet<usize>,
    fail_write: bool,
    fail_sync: bool,
    opened: u64,
}

enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Disk {
    /// A disk that holds this image.
    pub fn with(image: Vec<u8>) -> Self {
        let disk = Disk::default();
        let used = (0..image.len().div_ceil(BLOCK)).collect();
        *disk.0.lock().unwrap() =
            State { now: image.clone(), durable: image, used, ..State::default() };
        disk
    }

    pub fn location(&self) -> Location {
        let disk = self.clone();
        Location::Backend(Box::new(DiskBackend::storage(Box::new(move || {
            disk.0.lock().unwrap().opened += 1;
            Ok(Box::new(Handle(disk.clone())) as Box<dyn StorageBackend>)
        }))))
    }

    pub fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    pub fn times_opened(&self) -> u64 {
        self.0.lock().unwrap().opened
    }

    /// The power goes at the n-th sync from now, before it does anything.
    pub fn crash_in(&self, n: u64) {
        let mut state = self.0.lock().unwrap();
        state.crash_at = Some(state.syncs + n);
    }

    /// No block is given out any more, or as many as are asked for.
    pub fn set_full(&self, full: bool) {
        let mut state = self.0.lock().unwrap();
        state.capacity = full.then_some(state.used.len());
    }

    pub fn fail_writes(&self, fail: bool) {
        self.0.lock().unwrap().fail_write = fail;
    }

    pub fn fail_syncs(&self, fail: bool) {
        self.0.lock().unwrap().fail_sync = fail;
    }

    /// What is found on the disk after the power went.
    pub fn image_after_crash(&self, random: &mut Random) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let ops = &state.unsynced;
        let mut image = state.durable.clone();
        let longest = ops.iter().map(Op::end).max().unwrap_or(0).max(image.len());
        let length = surviving_length(ops, image.len(), random);
        image.resize(longest, 0);
        // The writes of each sector, in order; the disk has taken some first part of them.
        let mut sectors: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, op) in ops.iter().enumerate() {
            if let Op::Write(at, data) = op {
                for sector in at / SECTOR..(at + data.len()).div_ceil(SECTOR) {
                    sectors.entry(sector).or_default().push(i);
                }
            }
        }
        for (sector, writes) in sectors {
            let taken = random.below(writes.len() as u64 + 1) as usize;
            for i in &writes[..taken] {
                ops[*i].apply_to_sector(&mut image, sector);
            }
        }
        image.resize(length, 0);
        image
    }
}

/// The length after some first part of the changes of length.
fn surviving_length(ops: &[Op], durable: usize, random: &mut Random) -> usize {
    let mut lengths = vec![durable];
    for op in ops {
        let last = lengths[lengths.len() - 1];
        match op {
            Op::SetLen(n) => lengths.push(*n),
            Op::Write(..) => lengths.push(last.max(op.end())),
        }
    }
    lengths[random.below(lengths.len() as u64) as usize]
}

impl Op {
    fn end(&self) -> usize {
        match self {
            Op::Write(at, data) => at + data.len(),
            Op::SetLen(n) => *n,
        }
    }

    fn apply_to_sector(&self, image: &mut [u8], sector: usize) {
        let Op::Write(at, data) = self else { return };
        let from = (sector * SECTOR).max(*at);
        let to = ((sector + 1) * SECTOR).min(at + data.len());
        image[from..to].copy_from_slice(&data[from - at..to - at]);
    }
}

struct Handle(Disk);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("simulated disk")
    }
}

impl State {
    /// Whether the power is still on.
    fn powered(&self) -> io::Result<()> {
        match self.crash_at.is_some_and(|at| self.syncs >= at) {
            true => Err(io::Error::other("no power")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.0.lock().unwrap();
        let from = offset as usize;
        let part = state.now.get(from..from + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.powered()?;
        state.now.resize(len as usize, 0);
        state.used.retain(|block| block * BLOCK < len as usize);
        state.unsynced.push(Op::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.powered()?;
        state.syncs += 1;
        state.powered()?;
        if state.fail_sync {
            return Err(io::Error::other("simulated sync failure"));
        }
        state.durable = state.now.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.powered()?;
        if state.fail_write {
            return Err(io::Error::other("simulated write failure"));
        }
        let from = offset as usize;
        for block in from / BLOCK..(from + data.len()).div_ceil(BLOCK) {
            if state.capacity.is_some_and(|c| state.used.len() >= c) && !state.used.contains(&block)
            {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            state.used.insert(block);
        }
        let end = from + data.len();
        if state.now.len() < end {
            state.now.resize(end, 0);
        }
        state.now[from..end].copy_from_slice(data);
        state.unsynced.push(Op::Write(from, data.to_vec()));
        Ok(())
    }
}
