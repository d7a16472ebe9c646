//! The embedded engine: one redb file in a directory that one process holds.
//!
//! Layout: `store.redb` with the items and the revision, `lock` held for as long as the store is
//! open. The lock is a file of its own, because the database is closed and opened again after the
//! disk was full, and nobody may slip in between.

use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use smol_str::SmolStr;

use crate::backend::{Backend, Change, Failure, Loaded, Record};
use crate::{Error, Store};

/// Key to create revision, modification revision, expiry (each u64, little endian) and raw value.
const ITEMS: TableDefinition<&str, &[u8]> = TableDefinition::new("items");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
const FORMAT: &str = "format";
const FORMAT_VERSION: u64 = 1;
const HEADER: usize = 24;

/// The page cache. Small, because every item is in memory anyway.
const CACHE: usize = 8 << 20;

/// Opens the storage under a database, at the start and again after the disk was full.
pub type OpenStorage = Box<dyn FnMut() -> io::Result<Box<dyn StorageBackend>> + Send>;

/// A redb database as the durable half of a store.
pub struct DiskBackend {
    open: OpenStorage,
    /// Where it is, for messages.
    at: String,
    database: Option<Open>,
    /// The last revision that is certainly durable.
    revision: u64,
    _lock: Option<File>,
}

struct Open {
    database: Database,
    health: Arc<Health>,
}

impl DiskBackend {
    /// Opens or makes the database of a directory; makes the directory.
    ///
    /// # Errors
    /// [`Error::InUse`] where a process has the directory open.
    pub fn directory(path: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| open_error(path.display(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = take_lock(path)?;
        let file = path.join("store.redb");
        if !file.try_exists().map_err(failed)? {
            create(path, &file)?;
        }
        let at = path.display().to_string();
        let open: OpenStorage = Box::new(move || {
            let file = OpenOptions::new().read(true).write(true).open(&file)?;
            Ok(Box::new(PlainFile(file)) as Box<dyn StorageBackend>)
        });
        Ok(DiskBackend { open, at, database: None, revision: 0, _lock: Some(lock) })
    }

    /// A database on any storage, such as a simulated disk.
    pub fn storage(open: OpenStorage) -> Self {
        DiskBackend { open, at: "storage".into(), database: None, revision: 0, _lock: None }
    }

    fn open(&mut self) -> Result<&Database, Refusal> {
        if self.database.is_none() {
            let health = Arc::new(Health::default());
            let opened = (self.open)()
                .map_err(|error| health.note(error))
                .map_err(redb::Error::from)
                .and_then(|storage| open_database(Watched { storage, health: health.clone() }));
            let database = opened.map_err(|error| health.judge(&error))?;
            self.database = Some(Open { database, health });
        }
        match &self.database {
            Some(open) => Ok(&open.database),
            None => Err(Refusal { full: false, why: "the database is closed".into() }),
        }
    }

    /// The database, opened again if the disk was full before.
    fn ready(&mut self) -> Result<(), Refusal> {
        if self.database.is_some() {
            return Ok(());
        }
        let expected = self.revision;
        let found = revision_of(self.open()?).map_err(|error| self.judge(&error))?;
        if found != expected {
            let why = format!("the disk is at revision {found}, not {expected}");
            return Err(Refusal { full: false, why });
        }
        Ok(())
    }

    fn judge(&self, error: &redb::Error) -> Refusal {
        match &self.database {
            Some(open) => open.health.judge(error),
            None => Refusal { full: false, why: error.to_string() },
        }
    }

    fn try_commit(&mut self, revision: u64, changes: &[Change]) -> Result<Vec<Bytes>, Refusal> {
        self.ready()?;
        let outcome = write(self.open()?, revision, changes);
        outcome.map_err(|error| self.judge(&error))
    }
}

impl Backend for DiskBackend {
    fn load(&mut self) -> Result<Loaded, Error> {
        let at = self.at.clone();
        let database = self.open().map_err(|refusal| open_error(&at, refusal.why))?;
        let loaded = read_all(database).map_err(|error| open_error(&at, error))?;
        self.revision = loaded.revision;
        Ok(loaded)
    }

    fn commit(&mut self, revision: u64, changes: &[Change]) -> Result<Vec<Bytes>, Failure> {
        match self.try_commit(revision, changes) {
            Ok(removed) => {
                self.revision = revision;
                Ok(removed)
            }
            Err(refusal) => {
                // redb takes nothing more after an error; a new start shows what is on the disk.
                self.database = None;
                Err(match refusal.full {
                    true => Failure::Full(refusal.why),
                    false => Failure::Broken(refusal.why),
                })
            }
        }
    }
}

fn open_database(storage: Watched) -> Result<Database, redb::Error> {
    let database = Database::builder().set_cache_size(CACHE).create_with_backend(storage)?;
    let reading = database.begin_read()?;
    let format = match reading.open_table(META) {
        Ok(meta) => meta.get(FORMAT)?.map(|v| v.value()),
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    drop(reading);
    match format {
        Some(FORMAT_VERSION) => Ok(database),
        Some(other) => Err(redb::Error::Corrupted(format!(
            "format {other} is of a newer version, this one knows {FORMAT_VERSION}"
        ))),
        None => {
            initialise(&database)?;
            Ok(database)
        }
    }
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(ITEMS)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, FORMAT_VERSION)?;
        meta.insert(REVISION, Store::FIRST_REVISION)?;
    }
    Ok(transaction.commit()?)
}

fn revision_of(database: &Database) -> Result<u64, redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    Ok(meta.get(REVISION)?.map_or(Store::FIRST_REVISION, |v| v.value()))
}

fn read_all(database: &Database) -> Result<Loaded, redb::Error> {
    let items = database.begin_read()?.open_table(ITEMS)?;
    let mut records = Vec::new();
    for entry in items.iter()? {
        let (key, value) = entry?;
        let record = decode(value.value())
            .ok_or_else(|| redb::Error::Corrupted(format!("the item {}", key.value())))?;
        records.push((SmolStr::new(key.value()), record));
    }
    Ok(Loaded { revision: revision_of(database)?, records })
}

fn write(
    database: &Database,
    revision: u64,
    changes: &[Change],
) -> Result<Vec<Bytes>, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    let mut removed = Vec::new();
    {
        let mut items = transaction.open_table(ITEMS)?;
        for Change { key, record } in changes {
            match record {
                Some(record) => {
                    let mut place =
                        items.insert_reserve(key.as_str(), HEADER + record.value.len())?;
                    encode(record, place.as_mut());
                }
                None => {
                    let former = items.remove(key.as_str())?;
                    let record = former.and_then(|value| decode(value.value()));
                    let missing = || redb::Error::Corrupted(format!("the item {key} is gone"));
                    removed.push(record.ok_or_else(missing)?.value);
                }
            }
        }
        transaction.open_table(META)?.insert(REVISION, revision)?;
    }
    transaction.commit()?;
    Ok(removed)
}

fn encode(record: &Record, place: &mut [u8]) {
    place[..8].copy_from_slice(&record.create_revision.to_le_bytes());
    place[8..16].copy_from_slice(&record.mod_revision.to_le_bytes());
    place[16..24].copy_from_slice(&record.expires.to_le_bytes());
    place[HEADER..].copy_from_slice(&record.value);
}

fn decode(bytes: &[u8]) -> Option<Record> {
    let (header, value) = bytes.split_at_checked(HEADER)?;
    let number = |i: usize| header[i..i + 8].try_into().ok().map(u64::from_le_bytes);
    Some(Record {
        value: Bytes::copy_from_slice(value),
        create_revision: number(0)?,
        mod_revision: number(8)?,
        expires: number(16)?,
    })
}

/// What the storage has reported, because redb's errors do not say whether a write or a sync
/// failed.
#[derive(Debug, Default)]
struct Health {
    full: AtomicBool,
    broken: AtomicBool,
}

struct Refusal {
    full: bool,
    why: String,
}

impl Health {
    /// Remembers an error of a read or a write.
    fn note(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => &self.full,
            _ => &self.broken,
        }
        .store(true, Ordering::Relaxed);
        error
    }

    fn judge(&self, error: &redb::Error) -> Refusal {
        let full = self.full.load(Ordering::Relaxed) && !self.broken.load(Ordering::Relaxed);
        Refusal { full, why: error.to_string() }
    }
}

/// A storage that remembers its errors, and does nothing more after a failed sync: what is on the
/// disk is unknown then, and a second sync would report success.
#[derive(Debug)]
struct Watched {
    storage: Box<dyn StorageBackend>,
    health: Arc<Health>,
}

impl Watched {
    fn check(&self) -> io::Result<()> {
        match self.health.broken.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the disk failed before")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.storage.len().map_err(|e| self.health.note(e))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.storage.read(offset, out).map_err(|e| self.health.note(e))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.storage.set_len(len).map_err(|e| self.health.note(e))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        // Even for want of room: some of the data may be lost already.
        self.storage.sync_data().inspect_err(|_| self.health.broken.store(true, Ordering::Relaxed))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.storage.write(offset, data).map_err(|e| self.health.note(e))
    }

    fn close(&self) -> io::Result<()> {
        self.storage.close()
    }
}

#[derive(Debug)]
struct PlainFile(File);

impl StorageBackend for PlainFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// Makes an empty database under another name first: a crash in the middle leaves no half file
/// behind that a later start would have to understand.
fn create(directory: &Path, file: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| open_error(directory.display(), error);
    let draft = directory.join("store.redb.new");
    let new = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    let copy = new.try_clone().map_err(failed)?;
    let storage = Watched { storage: Box::new(PlainFile(new)), health: Arc::default() };
    let database = open_database(storage).map_err(|e| open_error(directory.display(), e))?;
    drop(database);
    copy.sync_all().map_err(failed)?;
    fs::rename(&draft, file).map_err(failed)?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed)
}

/// Locks the directory and writes down who has it.
fn take_lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join("lock");
    let failed = |error: io::Error| open_error(directory.display(), error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::InUse { path: directory.into(), owner: owner(&mut file) });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // The process id is a help for the message only, so a full disk may do without it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match text.trim() {
        id if read.is_ok() && !id.is_empty() => format!("process {id}"),
        _ => "another process".into(),
    }
}

fn open_error(at: impl Display, reason: impl Display) -> Error {
    Error::Open { at: at.to_string(), reason: reason.to_string() }
}
