//! `COPY` and `ADD`.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::FileType;

use super::cache::{CacheEntry, Key};
use super::dockerfile::{Copy, expand, expand::expand_heredoc, lines};
use super::owner::{FoundOwner, find_owner};
use super::sink::{Attributes, Sink};
use super::state::State;
use super::tree::{Picked, Tree};
use super::url::Download;
use super::{Builder, Fault};
use crate::digest::{Digest, Hashing};
use crate::error::{Error, IoContext, Result};
use crate::overlay::{self, Upper};
use crate::registry::blocking;
use crate::store::{ImageStore, Operation};
use crate::tar::Reader;
use crate::unpack::{self, compression, path};

/// Everything that a copy needs, apart from the image it goes into.
struct Job {
    sources: Vec<Source>,
    /// Absolute; the slash at its end says that it is a directory.
    dest: String,
    chown: Option<String>,
    mode: Option<u32>,
    tree: Arc<Tree>,
    add: bool,
    chain: Vec<Digest>,
    latest: Option<i64>,
    created: String,
}

enum Source {
    Tree(Picked),
    Heredoc { name: String, content: String },
    Url(Download),
}

impl Builder<'_> {
    /// Copies; the result is the new layer and the text for the history.
    pub(super) async fn copy(
        &mut self,
        state: &State,
        copy: &Copy,
        stage: usize,
    ) -> Result<(CacheEntry, bool, String), Fault> {
        let tree = Arc::new(match &copy.from {
            Some(from) => self.tree_from(&state.expand(from, self.plan.escape)?, stage).await?,
            None => self.context_tree()?,
        });
        let job = self.job(state, copy, tree).await?;
        let keyword = if copy.add { "ADD" } else { "COPY" };
        let (job, digest) = blocking(move || {
            let digest = job.digest()?;
            Ok((job, digest))
        })
        .await?;
        let text = format!("{keyword} {} {}", copy.sources.join(" "), job.dest);
        let key = Key::new("copy")
            .with(state.chain.last().map_or("", |c| c.as_str()).as_bytes())
            .with(digest.as_str().as_bytes())
            .with(format!("{:?}", self.options.source_date_epoch).as_bytes())
            .finish();
        if let Some(entry) = self.look_up(&key) {
            return Ok((entry, true, text));
        }
        let (store, operation) = (self.store.clone(), self.operation.clone());
        let entry = blocking(move || {
            let entry = job.run(&store, &operation)?;
            store.remember(&operation, &key, &entry)?;
            Ok(entry)
        })
        .await?;
        Ok((entry, false, text))
    }

    async fn job(&mut self, state: &State, copy: &Copy, tree: Arc<Tree>) -> Result<Job, Fault> {
        let escape = self.plan.escape;
        let word = |text: &str| state.expand(text, escape);
        let flag =
            |flag: &Option<String>| flag.as_deref().map(|f| state.expand(f, escape)).transpose();
        let mut sources = Vec::new();
        for raw in &copy.sources {
            let heredoc = lines::opening(raw, escape)
                .and_then(|_| copy.heredocs.iter().find(|h| h.word == *raw));
            if let Some(heredoc) = heredoc {
                let content = match heredoc.expand {
                    true => expand_heredoc(&heredoc.content, escape, &|name| state.lookup(name))?,
                    false => heredoc.content.clone(),
                };
                sources.push(Source::Heredoc { name: heredoc.name.clone(), content });
                continue;
            }
            let source = word(raw)?;
            if copy.add && (source.starts_with("http://") || source.starts_with("https://")) {
                sources.push(Source::Url(self.download(&source).await?));
                continue;
            }
            if copy.add && (source.starts_with("git@") || source.ends_with(".git")) {
                return Err(Fault::from(
                    "ADD from Git repositories is not supported: check out first".to_owned(),
                ));
            }
            sources.extend(tree.select(&source)?.into_iter().map(Source::Tree));
        }
        if let Some(checksum) = flag(&copy.checksum)? {
            check_sum(&sources, &checksum)?;
        }
        let mut dest = word(&copy.dest)?;
        if !dest.starts_with('/') {
            dest = format!("{}/{dest}", state.working_dir());
        }
        if dest.ends_with("/.") || dest.ends_with("/..") {
            dest.push('/');
        }
        if sources.len() > 1 && copy.sources.len() > 1 && !dest.ends_with('/') {
            let keyword = if copy.add { "ADD" } else { "COPY" };
            return Err(Fault::from(format!(
                "When using {keyword} with more than one source file, the destination must be a directory and end with a /"
            )));
        }
        Ok(Job {
            sources,
            dest,
            chown: flag(&copy.chown)?,
            mode: flag(&copy.chmod)?.map(|m| parse_mode(&m)).transpose()?,
            tree,
            add: copy.add,
            chain: state.chain.clone(),
            latest: self.options.source_date_epoch,
            created: self.created.clone(),
        })
    }

    /// The files of another stage or image, as one tree.
    pub(super) async fn tree_from(&mut self, from: &str, stage: usize) -> Result<Tree, Fault> {
        let chain = match self.plan.find(from, stage) {
            Some(earlier) => self.results[earlier].as_ref().map(|s| s.chain.clone()),
            None => None,
        };
        let chain = match chain {
            Some(chain) => chain,
            None if from == "scratch" => Vec::new(),
            None => {
                let platform = self.options.platform.clone();
                let image = self.fetch(from, platform.as_ref()).await?;
                self.store.chain_of(&image.id)?
            }
        };
        let (store, operation) = (self.store.clone(), self.operation.clone());
        let root = blocking(move || mount(&store, &operation, &chain).map(|(fd, _)| fd)).await?;
        Ok(Tree { root, ignore: Default::default(), is_context: false })
    }

    pub(super) fn context_tree(&self) -> Result<Tree, Fault> {
        Ok(Tree::context(&self.options.context, &self.dockerfile)?)
    }
}

/// A chain of layers with a fresh upper directory, as one tree.
pub(super) fn mount(
    store: &ImageStore,
    operation: &Operation,
    chain: &[Digest],
) -> Result<(OwnedFd, crate::store::NewLayer)> {
    let layer = store.layer_on(operation, chain)?;
    let upper = Upper { upper: &layer.diff(), work: &layer.work() };
    let fd = overlay::mount(&store.lower_dirs(chain), upper)?;
    Ok((fd, layer))
}

impl Job {
    /// What decides the result, besides the image it goes into. Times do not.
    fn digest(&self) -> Result<Digest> {
        let mut key = Key::new("sources");
        key.add(self.dest.as_bytes());
        key.add(format!("{:?} {:?} {}", self.chown, self.mode, self.add).as_bytes());
        for source in &self.sources {
            match source {
                Source::Heredoc { name, content } => {
                    key.add(format!("heredoc {name}").as_bytes());
                    key.add(content.as_bytes());
                }
                Source::Url(download) => {
                    key.add(format!("url {} {}", download.name, download.digest).as_bytes());
                }
                Source::Tree(picked) => digest_tree(&self.tree, picked, &mut key)?,
            }
        }
        Ok(key.finish())
    }

    fn run(self, store: &ImageStore, operation: &Operation) -> Result<CacheEntry> {
        let (root, layer) = mount(store, operation, &self.chain)?;
        let owner = match &self.chown {
            Some(spec) => Some(find_owner(root.as_fd(), spec)?),
            None => None,
        };
        self.write(root.as_fd(), owner)?;
        drop(root);
        store.commit_layer(operation, layer, &self.chain, self.latest, &self.created)
    }

    fn write(&self, root: std::os::fd::BorrowedFd<'_>, owner: Option<FoundOwner>) -> Result<()> {
        let attributes = Attributes { owner, mode: self.mode, keep_owner: !self.tree.is_context };
        let mut sink = Sink::new(root, attributes);
        let dest = path::clean(self.dest.as_bytes())?;
        let into_dir = self.dest.ends_with('/')
            || self.sources.len() > 1
            || path::open_in(root, &dest, path::WALK).is_ok();
        for source in &self.sources {
            let place = |name: &[u8]| match into_dir {
                true => [&dest[..], &[name.to_vec()]].concat(),
                false => dest.clone(),
            };
            match source {
                Source::Heredoc { name, content } => {
                    sink.put_data(&place(name.as_bytes()), 0o644, None, &mut content.as_bytes())?;
                }
                Source::Url(download) => {
                    let mut file =
                        std::fs::File::open(&download.path).at("open", &download.path)?;
                    sink.put_data(
                        &place(download.name.as_bytes()),
                        0o600,
                        download.modified,
                        &mut file,
                    )?;
                }
                Source::Tree(picked) if path::is_dir(&picked.stat) => {
                    self.tree.walk(picked, &mut |item| sink.put(&dest, item))?;
                }
                Source::Tree(picked) => {
                    if self.add && self.extract(picked, &dest, &mut sink, owner)? {
                        continue;
                    }
                    let name = picked.parts.last().cloned().unwrap_or_default();
                    let to = place(&name);
                    self.tree.walk(picked, &mut |item| sink.put(&to, item))?;
                }
            }
        }
        sink.finish()
    }

    /// `ADD` unpacks local archives. Returns whether the source was one.
    fn extract(
        &self,
        picked: &Picked,
        dest: &[Vec<u8>],
        sink: &mut Sink<'_>,
        owner: Option<FoundOwner>,
    ) -> Result<bool> {
        if FileType::from_raw_mode(picked.stat.st_mode) != FileType::RegularFile
            || !self.is_archive(picked)?
        {
            return Ok(false);
        }
        let dir = sink.directory(dest)?;
        let file = std::fs::File::from(self.tree.open(picked)?);
        let (_, plain) = compression::decode(std::io::BufReader::with_capacity(1 << 17, file))?;
        unpack::unpack(plain, dir.as_fd(), &unpack::Options { owner, ..Default::default() })?;
        Ok(true)
    }

    /// Whether a file begins as an archive does, compressed or not.
    fn is_archive(&self, picked: &Picked) -> Result<bool> {
        let mut file = std::fs::File::from(self.tree.open(picked)?);
        let mut head = [0; 512];
        let n = file.read(&mut head).during(|| "read source".to_owned())?;
        let known = compression::detect(&head[..n])? != compression::Compression::None;
        if !known && (n < 512 || &head[257..262] != b"ustar") {
            return Ok(false);
        }
        let file = std::fs::File::from(self.tree.open(picked)?);
        let (_, plain) = compression::decode(file)?;
        Ok(matches!(Reader::new(plain).next_entry(), Ok(Some(_))))
    }
}

/// Adds names, types, modes, owners and contents to a key.
pub(super) fn digest_tree(tree: &Tree, picked: &Picked, key: &mut Key) -> Result<()> {
    key.add(&path::join(&picked.parts));
    tree.walk(picked, &mut |item| {
        key.add(&path::join(item.rel));
        let stat = &item.stat;
        let owner = if tree.is_context { (0, 0) } else { (stat.st_uid, stat.st_gid) };
        key.add(format!("{:o} {owner:?}", stat.st_mode).as_bytes());
        match item.kind() {
            FileType::RegularFile => {
                let mut content = Hashing::new(item.open()?);
                std::io::copy(&mut content, &mut std::io::sink())
                    .during(|| "read source".to_owned())?;
                key.add(content.finish().1.as_str().as_bytes());
            }
            FileType::Symlink => key.add(&item.link()?),
            FileType::CharacterDevice | FileType::BlockDevice => {
                key.add(stat.st_rdev.to_string().as_bytes());
            }
            _ => {}
        }
        Ok(())
    })
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let bad = || {
        format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        )
    };
    u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(bad)
}

fn check_sum(sources: &[Source], wanted: &str) -> Result<(), Fault> {
    let [Source::Url(download)] = sources else {
        return Err(Fault::from("checksum can't be specified for non-HTTP sources".to_owned()));
    };
    let wanted = Digest::parse(wanted)?;
    if wanted != download.digest {
        return Err(Fault::from(Error::Corrupt(format!(
            "digest mismatch {}: {wanted} was wanted",
            download.digest
        ))));
    }
    Ok(())
}

/// Replaces variables as the flags of `RUN` and `COPY` do.
pub(super) fn expand_flag(state: &State, text: &str, escape: char) -> Result<String, String> {
    expand(text, escape, &|name| state.lookup(name))
}
