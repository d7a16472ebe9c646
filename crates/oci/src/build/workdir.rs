//! `WORKDIR`: it also makes the directory.

use std::os::fd::AsFd;

use super::cache::{CacheEntry, Key};
use super::copy::mount;
use super::sink::make_dirs;
use super::state::State;
use super::{Builder, Fault};
use crate::registry::blocking;
use crate::unpack::path;

impl Builder<'_> {
    /// Sets the working directory; a layer if it had to be made, and whether that was cached.
    pub(super) async fn workdir(
        &mut self,
        state: &mut State,
        dir: &str,
    ) -> Result<(Option<(CacheEntry, bool)>, String), Fault> {
        let dir = state.expand(dir, self.plan.escape)?;
        if dir.is_empty() {
            return Err(Fault::from("WORKDIR must not be empty".to_owned()));
        }
        let joined =
            if dir.starts_with('/') { dir } else { format!("{}/{dir}", state.working_dir()) };
        let parts = clean(&joined);
        let full = format!(
            "/{}",
            parts.iter().map(|p| String::from_utf8_lossy(p)).collect::<Vec<_>>().join("/")
        );
        state.config.config.working_dir = full.clone();
        let text = format!("WORKDIR {full}");
        let key = Key::new("workdir")
            .with(state.chain.last().map_or("", |c| c.as_str()).as_bytes())
            .with(full.as_bytes())
            .with(format!("{:?}", self.options.source_date_epoch).as_bytes())
            .finish();
        if let Some(entry) = self.look_up(&key) {
            return Ok((Some((entry, true)), text));
        }
        let (store, operation) = (self.store.clone(), self.operation.clone());
        let (chain, latest) = (state.chain.clone(), self.options.source_date_epoch);
        let created = self.created.clone();
        let entry = blocking(move || {
            let (root, layer) = mount(&store, &operation, &chain)?;
            if path::open_in(root.as_fd(), &parts, path::WALK).is_ok() {
                return Ok(None);
            }
            make_dirs(root.as_fd(), &parts, (0, 0))?;
            drop(root);
            let entry = store.commit_layer(&operation, layer, &chain, latest, &created)?;
            store.remember(&operation, &key, &entry)?;
            Ok(Some(entry))
        })
        .await?;
        Ok((entry.map(|e| (e, false)), text))
    }
}

/// `..` of the root is the root.
fn clean(dir: &str) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in dir.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.as_bytes().to_vec()),
        }
    }
    parts
}
