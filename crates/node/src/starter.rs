//! The start of one container: image, configuration, creation, start, hook.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use smol_str::SmolStr;
use timonier_client::Client;
use timonier_meta::gvk::resources;
use timonier_oci::{
    Auth, DockerConfig, Error as ImageError, Image, PullOptions, Reference, RegistryOptions,
};
use timonier_pod::image::{Need, need, pull_policy};
use timonier_pod::{Event, StartError, sources, spec};
use tokio_util::sync::CancellationToken;

use crate::container::{self, Parts, Refused};
use crate::hooks;
use crate::shared::{HeldImage, Shared};
use crate::volumes::Inputs;
use crate::worker::volumes::{blocking, gather_objects};

/// What is to be started.
pub(crate) struct Start {
    pub shared: Arc<Shared>,
    pub inputs: Inputs,
    pub name: SmolStr,
    pub attempt: u32,
    pub sandbox: String,
    pub target: Option<String>,
    pub cancel: CancellationToken,
}

/// Starts a container; tells its Events on the way.
pub(crate) async fn start(mut s: Start) -> Result<(), StartError> {
    let pod = s.inputs.pod.clone();
    let Some(c) = spec::container(&pod, &s.name) else { return Err(StartError::Cancelled) };
    let tell = |event: Event| s.shared.recorder.pod(&pod, event.about(&c));
    let fail = |reason: &str, message: String| {
        tell(Event::warning("Failed", format!("Error: {message}")));
        StartError::Other { reason: reason.into(), message }
    };
    let held = image(&s, &c, &tell).await?;
    if s.cancel.is_cancelled() {
        return Err(StartError::Cancelled);
    }
    let shared = s.shared.clone();
    gather_objects(&shared, &mut s.inputs)
        .await
        .map_err(|e| fail("CreateContainerConfigError", e))?;
    let services = shared.services.variables(&pod).await;
    let services = services.map_err(|e| fail("CreateContainerConfigError", e))?;
    let config =
        config(&s, held.image.clone(), services).await.map_err(|e| fail(e.reason, e.message))?;
    let log_dir = config.log_path.as_ref().and_then(|p| p.parent());
    if let Some(dir) = log_dir
        && let Err(e) = tokio::fs::create_dir_all(dir).await
    {
        return Err(fail("CreateContainerError", format!("{}: {e}", dir.display())));
    }
    if config.argv.is_empty() {
        let why = "failed to generate container spec: no command specified";
        return Err(fail("CreateContainerError", why.into()));
    }
    let runtime = &shared.runtime;
    let id = runtime
        .create_container(&s.sandbox, config)
        .await
        .map_err(|e| fail("CreateContainerError", e.to_string()))?;
    held.belongs_to(&id);
    drop(held);
    tell(Event::normal("Created", "Container created"));
    runtime.start_container(&id).await.map_err(|e| fail("RunContainerError", e.to_string()))?;
    tell(Event::normal("Started", "Container started"));
    post_start(&s, &c, &id, &tell).await
}

async fn config(
    s: &Start,
    image: Image,
    services: BTreeMap<String, String>,
) -> Result<timonier_runtime::ContainerConfig, Refused> {
    let (shared, inputs) = (s.shared.clone(), s.inputs.clone());
    let (name, attempt, target) = (s.name.clone(), s.attempt, s.target.clone());
    blocking(move || {
        let pod = inputs.pod.clone();
        let container =
            spec::container(&pod, &name).ok_or_else(|| Refused::from("the container is gone"))?;
        container::config(&Parts {
            shared: &shared,
            inputs: &inputs,
            container,
            attempt,
            image: &image,
            services: &services,
            target,
        })
    })
    .await
}

/// Runs the postStart hook. A container whose hook fails is stopped.
async fn post_start(
    s: &Start,
    c: &spec::ContainerSpec<'_>,
    id: &str,
    tell: &impl Fn(Event),
) -> Result<(), StartError> {
    let Some(handler) =
        timonier_pod::probe::Handler::read(c.spec, c.spec.at("lifecycle.postStart"))
    else {
        return Ok(());
    };
    // The worker may show the container as running meanwhile.
    s.shared.nudge(&s.sandbox);
    let ip = s.inputs.pod_ips.first().map_or("127.0.0.1", |ip| ip.as_str());
    let hook = hooks::run(&*s.shared.runtime, id, ip, &handler);
    let result = tokio::select! {
        result = hook => result,
        () = s.cancel.cancelled() => return Err(StartError::Cancelled),
    };
    let Err(message) = result else { return Ok(()) };
    tell(Event::warning("FailedPostStartHook", "PostStartHook failed"));
    tell(Event::normal("Killing", "FailedPostStartHook"));
    let grace = timonier_pod::grace_period(&s.inputs.pod).max(2);
    let grace = std::time::Duration::from_secs(grace as u64);
    if let Err(error) = s.shared.runtime.stop_container(id, grace).await {
        tracing::warn!(%error, "stopping a container whose hook failed");
    }
    Err(StartError::Other { reason: "PostStartHookError".into(), message })
}

/// Notes that the run uses an image.
fn hold(s: &Start, image: Image) -> HeldImage {
    let run = format!("{}/{}", s.name, s.attempt);
    HeldImage::new(&s.shared, s.inputs.pod.uid(), run, image)
}

/// The image of a container, pulled where the policy says so.
async fn image(
    s: &Start,
    c: &spec::ContainerSpec<'_>,
    tell: &impl Fn(Event),
) -> Result<HeldImage, StartError> {
    let name = c.spec.at("image").str();
    let not_collecting = s.shared.collecting.read().await;
    let found = s.shared.images.resolve(name).await.map(|image| hold(s, image));
    drop(not_collecting);
    let here = match found {
        Ok(image) => Some(image),
        Err(ImageError::NotFound(_)) => None,
        Err(error @ ImageError::InvalidReference { .. }) => {
            let message = format!("Failed to apply default image tag {name:?}: {error}");
            tell(Event::warning("InspectFailed", message.clone()));
            tell(Event::warning("Failed", "Error: InvalidImageName"));
            return Err(StartError::Other { reason: "InvalidImageName".into(), message });
        }
        Err(error) => {
            let message = format!("Failed to inspect image {name:?}: {error}");
            tell(Event::warning("InspectFailed", message.clone()));
            tell(Event::warning("Failed", "Error: ImageInspectError"));
            return Err(StartError::Other { reason: "ImageInspectError".into(), message });
        }
    };
    match (need(pull_policy(c.spec), here.is_some()), here) {
        (Need::Use, Some(image)) => {
            tell(Event::normal(
                "Pulled",
                format!(
                    "Container image {name:?} already present on machine and can be accessed by the pod"
                ),
            ));
            Ok(image)
        }
        (Need::Refuse, _) => {
            let message =
                format!("Container image {name:?} is not present with pull policy of Never");
            tell(Event::warning("ErrImageNeverPull", message.clone()));
            tell(Event::warning("Failed", "Error: ErrImageNeverPull"));
            Err(StartError::Other { reason: "ErrImageNeverPull".into(), message })
        }
        // What was pulled just now is too young to be collected.
        _ => pull(s, name, tell).await.map(|image| hold(s, image)),
    }
}

async fn pull(s: &Start, name: &str, tell: &impl Fn(Event)) -> Result<Image, StartError> {
    tell(Event::normal("Pulling", format!("Pulling image {name:?}")));
    let began = Instant::now();
    let work = async {
        let mut last = None;
        for auth in credentials(s, name).await {
            let registry = RegistryOptions {
                auth,
                insecure: s.shared.config.insecure_registries.clone(),
                ..RegistryOptions::default()
            };
            let options = PullOptions { registry, ..PullOptions::default() };
            match s.shared.images.pull(name, options).await {
                Ok(image) => return Ok(image),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is always one attempt"))
    };
    let result = tokio::select! {
        result = work => result,
        () = s.cancel.cancelled() => return Err(StartError::Cancelled),
    };
    match result {
        Ok(image) => {
            let took = began.elapsed().as_micros() as i64 / 1_000 * 1_000;
            let took = timonier_pod::backoff::go_duration(timonier_meta::Duration(took));
            tell(Event::normal(
                "Pulled",
                format!(
                    "Successfully pulled image {name:?} in {took} ({took} including waiting). Image size: {} bytes.",
                    image.size
                ),
            ));
            Ok(image)
        }
        Err(error) => {
            let message = error.to_string();
            tell(Event::warning("Failed", format!("Failed to pull image {name:?}: {message}")));
            tell(Event::warning("Failed", "Error: ErrImagePull"));
            Err(StartError::Pull { reason: "ErrImagePull".into(), message })
        }
    }
}

/// The credentials to try, in order; the last attempt is without any.
async fn credentials(s: &Start, image: &str) -> Vec<Option<Auth>> {
    let mut out = Vec::new();
    let pod = &s.inputs.pod;
    let Ok(reference) = Reference::parse(image) else { return vec![None] };
    for secret in pod.at("spec.imagePullSecrets").items() {
        let name = secret.at("name").str();
        match pull_secret(&s.shared.client, pod.namespace(), name).await {
            Ok(config) => out.extend(config.lookup(&reference).cloned().map(Some)),
            Err(error) => {
                let text = format!(
                    "Unable to retrieve some image pull secrets ({name}); attempting to pull the image may not succeed."
                );
                tracing::debug!(%error, name, "image pull secret");
                s.shared.recorder.pod(pod, Event::warning("FailedToRetrieveImagePullSecret", text));
            }
        }
    }
    out.push(None);
    out
}

async fn pull_secret(
    client: &Arc<dyn Client>,
    namespace: &str,
    name: &str,
) -> Result<DockerConfig, String> {
    let secret = client.get(&resources::SECRETS, namespace, name).await;
    let secret = secret.map_err(|e| e.message)?;
    let contents = sources::contents(sources::Kind::Secret, &secret);
    let known = [".dockerconfigjson", ".dockercfg"];
    let found = contents.iter().find(|(key, _)| known.contains(key));
    let (_, bytes) = found.ok_or_else(|| "no registry configuration in it".to_string())?;
    DockerConfig::parse(bytes).map_err(|e| e.to_string())
}
