//! The end of a build: configuration, manifest, names, warnings.

use std::collections::BTreeSet;

use timonier_meta::Time;

use super::dockerfile::{Command, parse_one};
use super::state::State;
use super::{BuildEvent, BuildOptions, Builder};
use crate::config::ConfigFile;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::manifest::{Descriptor, Manifest, OCI_CONFIG};
use crate::reference::Reference;
use crate::registry::blocking;
use crate::store::NewImage;

pub(super) fn parse_tags(options: &BuildOptions) -> Result<Vec<Reference>> {
    let mut tags = Vec::new();
    for tag in &options.tags {
        let reference = Reference::parse(tag)?;
        if reference.digest().is_some() {
            return Err(Error::Invalid(format!("cannot tag with a digest: {tag}")));
        }
        tags.push(reference);
    }
    Ok(tags)
}

/// The time that the image says it was made at.
pub(super) fn created(options: &BuildOptions) -> String {
    match options.source_date_epoch {
        Some(seconds) => Time::from_unix(seconds).rfc3339(),
        None => options.now.rfc3339(),
    }
}

impl Builder<'_> {
    pub(super) async fn finish(mut self, tags: Vec<Reference>) -> Result<Image> {
        let target = self.plan.target;
        let mut state = self.results[target].take().expect("the target was built");
        self.warn_unused_arguments();
        let line = self.plan.stages[target].line;
        if is_root(&state.config.config.user) {
            let text = "the image runs as root: add a USER instruction".to_owned();
            self.tell(BuildEvent::Warning { line, text });
        }
        state.config.created = Some(state.created.clone());
        state.config.config.labels.extend(self.options.labels.clone());
        let config = state.config.to_bytes();
        let manifest = Manifest::new(Descriptor::of(OCI_CONFIG, &config), state.layers).to_bytes();
        let names: Vec<String> = tags.iter().map(Reference::to_string).collect();
        let (store, operation) = (self.store.clone(), self.operation.clone());
        let now = (self.options.now != Time::default()).then_some(self.options.now);
        let image = blocking(move || {
            store.put_bytes(&operation, &config)?;
            let new = NewImage { manifest: &manifest, tags: &tags, repo_digests: &[], now };
            store.register(&operation, &new)
        })
        .await?;
        for name in names {
            self.tell(BuildEvent::Tagged { name });
        }
        Ok(image)
    }

    pub(super) fn warn_root_user(&mut self, line: usize, command: &Command, state: &State) {
        if matches!(command, Command::User(_)) && is_root(&state.config.config.user) {
            let text = "USER switches to root: switch back before the end of the stage".to_owned();
            self.tell(BuildEvent::Warning { line, text });
        }
    }

    fn warn_unused_arguments(&mut self) {
        let mut declared: BTreeSet<String> =
            self.plan.globals.iter().map(|(n, _)| n.clone()).collect();
        for instruction in self.plan.stages.iter().flat_map(|s| &s.instructions) {
            if let Command::Arg(args) = &instruction.command {
                declared.extend(args.iter().map(|(n, _)| n.clone()));
            }
        }
        let proxy = |name: &str| name.to_ascii_uppercase().ends_with("_PROXY");
        let unused: Vec<&str> = self
            .options
            .build_args
            .keys()
            .map(String::as_str)
            .filter(|n| !declared.contains(*n) && !proxy(n))
            .collect();
        if !unused.is_empty() {
            let text = format!("build arguments that no ARG declares: {}", unused.join(", "));
            self.tell(BuildEvent::Warning { line: 1, text });
        }
    }
}

fn is_root(user: &str) -> bool {
    matches!(user.split(':').next(), None | Some("" | "root" | "0"))
}

/// Applies instructions that change only the configuration, as `docker import --change` does.
pub(crate) fn apply_changes(config: &mut ConfigFile, changes: &[String]) -> Result<()> {
    let mut state = State { config: std::mem::take(config), ..State::default() };
    for change in changes {
        let bad = |reason: String| Error::Invalid(format!("change {change:?}: {reason}"));
        let command = parse_one(change).map_err(bad)?;
        if let Command::Workdir(dir) = &command {
            state.config.config.working_dir = state.expand(dir, '\\').map_err(bad)?;
            continue;
        }
        if state.apply(&command, '\\').map_err(bad)?.is_none() {
            return Err(bad("it is not a valid change command".to_owned()));
        }
    }
    *config = state.config;
    Ok(())
}
