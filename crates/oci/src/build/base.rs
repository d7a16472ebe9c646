//! `FROM`: where a stage begins; also what `--from` names.

use super::dockerfile::expand;
use super::plan::Stage;
use super::state::{DEFAULT_PATH, State};
use super::{BuildEvent, Builder, Fault};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::manifest::{Descriptor, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD};
use crate::options::PullOptions;
use crate::platform::Platform;
use crate::reference::Reference;

impl Builder<'_> {
    /// The state at the beginning of a stage, and the triggers of its base image.
    pub(super) async fn begin_stage(
        &mut self,
        index: usize,
        stage: &Stage,
    ) -> Result<(State, Vec<String>), Fault> {
        let escape = self.plan.escape;
        let globals = self.globals.clone();
        let lookup = |name: &str| globals.get(name).cloned();
        let image = expand(&stage.image, escape, &lookup)?;
        if image.is_empty() {
            return Err(Fault::from(format!("base name ({}) should not be blank", stage.image)));
        }
        let platform = match &stage.platform {
            Some(text) => Some(Platform::parse(&expand(text, escape, &lookup)?)?),
            None => self.options.platform.clone(),
        };
        if image == "scratch" {
            let mut state = scratch(&platform.unwrap_or_else(Platform::host));
            state.created = self.created.clone();
            return Ok((state, Vec::new()));
        }
        if let Some(earlier) = self.plan.base_stage(&image, index) {
            let mut state = self.results[earlier].clone().expect("earlier stages are built first");
            state.args.clear();
            state.cmd_set = false;
            let triggers = std::mem::take(&mut state.config.config.on_build);
            return Ok((state, triggers));
        }
        self.warn_untagged(stage.line, &image)?;
        let base = self.fetch(&image, platform.as_ref()).await?;
        let mut state = self.state_of(&base)?;
        let triggers = std::mem::take(&mut state.config.config.on_build);
        Ok((state, triggers))
    }

    /// An image by name: the local one, else pulled.
    pub(super) async fn fetch(
        &mut self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<Image, Fault> {
        // An id names something local.
        let reference = Reference::parse(name);
        if !self.options.pull || reference.is_err() {
            match self.store.resolve(name) {
                Ok(image) if platform.is_none_or(|p| image.platform().serves(p).is_some()) => {
                    return Ok(image);
                }
                Ok(_) => {}
                Err(Error::NotFound(_)) if reference.is_ok() => {}
                Err(e) => return Err(e.into()),
            }
        }
        let options = PullOptions {
            registry: self.options.registry.clone(),
            platform: platform.cloned(),
            progress: None,
        };
        let text = format!("pulling {name}\n").into_bytes();
        self.tell(BuildEvent::Output { stderr: true, bytes: text });
        let pulled = self.store.pull(name, &options).await;
        Ok(pulled.map_err(|e| format!("{name} is not here, and cannot be pulled: {e}"))?)
    }

    pub(super) fn state_of(&self, image: &Image) -> Result<State, Fault> {
        let (_, manifest) = self.store.manifest(&image.digest)?;
        // What is only configured is as old as its base, so that it is the same image each time.
        let created = match &image.config.created {
            Some(created) if self.options.source_date_epoch.is_none() => created.clone(),
            _ => self.created.clone(),
        };
        Ok(State {
            created,
            config: image.config.clone(),
            chain: self.store.chain_of(&image.id)?,
            layers: manifest.layers.into_iter().map(as_oci).collect(),
            ..State::default()
        })
    }

    fn warn_untagged(&mut self, line: usize, image: &str) -> Result<(), Fault> {
        let Ok(reference) = Reference::parse_untagged(image) else { return Ok(()) };
        let text = match (reference.tag(), reference.digest()) {
            (None, None) => format!(
                "base image {image} has no tag: what :latest means changes, name a version or a digest"
            ),
            (Some("latest"), None) => {
                format!("base image {image}: what latest means changes, name a version or a digest")
            }
            _ => return Ok(()),
        };
        self.tell(BuildEvent::Warning { line, text });
        Ok(())
    }
}

fn scratch(platform: &Platform) -> State {
    let mut state = State::default();
    state.config.os = platform.os.clone();
    state.config.architecture = platform.architecture.clone();
    state.config.variant = platform.variant.clone();
    state.config.config.set_env("PATH", DEFAULT_PATH);
    state
}

/// The new manifest is OCI's, whatever the base's was.
fn as_oci(layer: Descriptor) -> Descriptor {
    let media_type = match layer.media_type.as_str() {
        t if t.ends_with("gzip") => OCI_LAYER_GZIP,
        t if t.ends_with("zstd") => OCI_LAYER_ZSTD,
        _ => OCI_LAYER,
    };
    Descriptor::new(media_type, layer.digest, layer.size)
}
