//! Builds images from Dockerfiles.
//!
//! ```text
//! Dockerfile ─parse─► Plan (stages) ─► per stage: base ─► instructions ─► State ─► image
//!                                        RUN, COPY, ADD, WORKDIR make layers (overlay upper
//!                                        directory ─► archive), through the cache
//! ```

pub mod runner;

mod base;
pub(crate) mod cache;
mod commit;
mod copy;
pub(crate) mod dockerfile;
mod finish;
pub(crate) mod ignore;
mod mounts;
mod options;
mod owner;
pub(crate) mod pattern;
mod plan;
mod run;
mod sink;
mod state;
mod tree;
mod url;
mod workdir;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use finish::apply_changes;
pub use options::{BuildEvent, BuildOptions, BuildProgress};
pub use runner::{MountKind, NetworkMode, OutputFn, RunMount, RunStep, Runner};

use cache::CacheEntry;
use dockerfile::{Command, Instruction, expand};
use plan::Plan;
use state::State;

use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::image::Image;
use crate::manifest::{Descriptor, OCI_LAYER_GZIP};
use crate::platform::Platform;
use crate::registry::blocking;
use crate::store::{ImageStore, Operation};

/// What went wrong with an instruction; the builder knows the line.
pub(crate) enum Fault {
    Reason(String),
    Error(Error),
}

impl From<String> for Fault {
    fn from(reason: String) -> Fault {
        Fault::Reason(reason)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Error(error)
    }
}

pub(crate) struct Builder<'a> {
    store: ImageStore,
    operation: Arc<Operation>,
    options: &'a BuildOptions,
    runner: &'a dyn Runner,
    progress: BuildProgress<'a>,
    plan: Plan,
    /// `ARG`s before the first `FROM`, and the platforms.
    globals: BTreeMap<String, String>,
    /// What the stages have come to.
    results: Vec<Option<State>>,
    dockerfile: PathBuf,
    /// The Dockerfile's name for messages.
    file: String,
    step: usize,
    total: usize,
    /// The time for the image, RFC 3339.
    created: String,
}

impl ImageStore {
    /// Builds an image from a Dockerfile. Steps whose inputs are those of an earlier build come
    /// out of the cache. On an error nothing has a name; what was built so far stays cached.
    pub async fn build(
        &self,
        options: &BuildOptions,
        runner: &dyn Runner,
        progress: BuildProgress<'_>,
    ) -> Result<Image> {
        let dockerfile =
            options.dockerfile.clone().unwrap_or_else(|| options.context.join("Dockerfile"));
        let name = dockerfile.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(&dockerfile).at("read", &dockerfile)?;
        let text = String::from_utf8_lossy(&bytes);
        let plan = Plan::new(dockerfile::parse(&text, &name)?, options.target.as_deref(), &name)?;
        let tags = finish::parse_tags(options)?;
        let store = self.clone();
        let operation = Arc::new(blocking(move || store.begin()).await?);
        let mut builder = Builder {
            store: self.clone(),
            operation,
            options,
            runner,
            progress,
            results: vec![None; plan.stages.len()],
            globals: BTreeMap::new(),
            step: 0,
            total: 0,
            created: finish::created(options),
            plan,
            dockerfile,
            file: name,
        };
        builder.set_globals()?;
        builder.build_stages().await?;
        builder.finish(tags).await
    }
}

impl Builder<'_> {
    async fn build_stages(&mut self) -> Result<()> {
        let needed = self.plan.needed();
        let stages = self.plan.stages.clone();
        self.total = needed.iter().map(|i| stages[*i].instructions.len() + 1).sum();
        for index in needed {
            let stage = &stages[index];
            let started = self.begin_step(stage.line, &stage.text);
            let begun = self.begin_stage(index, stage).await;
            let (mut state, triggers) = begun.map_err(|fault| self.error(stage.line, fault))?;
            self.end_step(started, false);
            for trigger in triggers {
                let command = dockerfile::parse_one(&trigger).map_err(|e| {
                    self.error(stage.line, format!("ONBUILD {trigger}: {e}").into())
                })?;
                let text = format!("ONBUILD {trigger}");
                self.total += 1;
                let instruction = Instruction { line: stage.line, text, command };
                self.instruction(&mut state, &instruction, index).await?;
            }
            for instruction in &stage.instructions {
                self.instruction(&mut state, instruction, index).await?;
            }
            self.results[index] = Some(state);
        }
        Ok(())
    }

    async fn instruction(
        &mut self,
        state: &mut State,
        instruction: &Instruction,
        stage: usize,
    ) -> Result<()> {
        let started = self.begin_step(instruction.line, &instruction.text);
        let result = self.execute(state, instruction, stage).await;
        let cached = result.map_err(|fault| self.error(instruction.line, fault))?;
        self.end_step(started, cached);
        Ok(())
    }

    /// Does one instruction; whether it came out of the cache.
    async fn execute(
        &mut self,
        state: &mut State,
        instruction: &Instruction,
        stage: usize,
    ) -> Result<bool, Fault> {
        let escape = self.plan.escape;
        let (entry, cached, text) = match &instruction.command {
            Command::Run(run) => self.run_step(state, run, stage).await?,
            Command::Copy(copy) => self.copy(state, copy, stage).await?,
            Command::Workdir(dir) => match self.workdir(state, dir).await? {
                (Some((entry, cached)), text) => (entry, cached, text),
                (None, text) => {
                    state.note(text, true);
                    return Ok(false);
                }
            },
            Command::Arg(args) => {
                let text = self.declare(state, args)?;
                state.note(text, true);
                return Ok(false);
            }
            other => {
                let text = state.apply(other, escape)?.unwrap_or_default();
                state.note(text, true);
                self.warn_root_user(instruction.line, other, state);
                return Ok(false);
            }
        };
        let digest = entry.blob;
        state.layers.push(Descriptor::new(OCI_LAYER_GZIP, digest, entry.blob_size));
        state.chain.push(entry.chain);
        state.config.rootfs.diff_ids.push(entry.diff_id);
        if !entry.created.is_empty() {
            state.created = entry.created;
        }
        state.note(text, false);
        if state.chain.len() > crate::manifest::LAYER_LIMIT {
            return Err(Fault::from(format!(
                "the image has over {} layers",
                crate::manifest::LAYER_LIMIT
            )));
        }
        Ok(cached)
    }

    /// `ARG` in a stage: given from outside, else its default, else the global one.
    fn declare(
        &mut self,
        state: &mut State,
        args: &[(String, Option<String>)],
    ) -> Result<String, Fault> {
        let mut text = "ARG".to_owned();
        for (name, default) in args {
            let value = match (self.options.build_args.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(state.expand(default, self.plan.escape)?),
                (None, None) => self.globals.get(name).cloned(),
            };
            text.push_str(&format!(" {name}"));
            if let Some(value) = value {
                text.push_str(&format!("={value}"));
                state.args.insert(name.clone(), value);
            }
        }
        Ok(text)
    }

    fn set_globals(&mut self) -> Result<()> {
        let target = self.options.platform.clone().unwrap_or_else(Platform::host);
        for (prefix, platform) in [("BUILD", Platform::host()), ("TARGET", target)] {
            let mut set =
                |name: &str, value: String| self.globals.insert(format!("{prefix}{name}"), value);
            set("PLATFORM", platform.to_string());
            set("OS", platform.os);
            set("ARCH", platform.architecture);
            set("VARIANT", platform.variant);
        }
        for (name, default) in self.plan.globals.clone() {
            let value = match (self.options.build_args.get(&name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let lookup = |name: &str| self.globals.get(name).cloned();
                    let expanded = expand(&default, self.plan.escape, &lookup);
                    Some(expanded.map_err(|e| self.error(1, format!("ARG {name}: {e}").into()))?)
                }
                (None, None) => None,
            };
            if let Some(value) = value {
                self.globals.insert(name, value);
            }
        }
        Ok(())
    }

    fn look_up(&self, key: &Digest) -> Option<CacheEntry> {
        if self.options.no_cache { None } else { self.store.cached(key) }
    }

    fn begin_step(&mut self, line: usize, text: &str) -> Instant {
        self.step += 1;
        let (number, total) = (self.step, self.total);
        self.tell(BuildEvent::Step { number, total, line, text: text.to_owned() });
        Instant::now()
    }

    fn end_step(&mut self, started: Instant, cached: bool) {
        let number = self.step;
        if cached {
            self.tell(BuildEvent::Cached { number });
        }
        let milliseconds = started.elapsed().as_millis() as u64;
        self.tell(BuildEvent::StepDone { number, milliseconds });
    }

    fn tell(&mut self, event: BuildEvent) {
        (self.progress)(event);
    }

    fn error(&self, line: usize, fault: Fault) -> Error {
        let reason = match fault {
            Fault::Reason(reason) => reason,
            Fault::Error(error @ (Error::Build { .. } | Error::Dockerfile { .. })) => return error,
            Fault::Error(error) => error.to_string(),
        };
        Error::Build { file: self.file.clone(), line, reason }
    }
}
