//! Lifecycle hooks, and the graceful stop of a container.

use std::time::Duration;

use timonier_pod::probe::Handler;
use timonier_pod::{Event, Kill, spec};
use timonier_runtime::Runtime;
use tokio::time::Instant;

use crate::http;
use crate::shared::Shared;
use crate::volumes::Inputs;

/// The least time between the request to stop and the kill (upstream's).
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// The most that an HTTP hook may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(3600);

/// Runs a hook in or against a container. The error says what went wrong.
pub(crate) async fn run(
    runtime: &dyn Runtime,
    id: &str,
    ip: &str,
    handler: &Handler,
) -> Result<(), String> {
    match handler {
        Handler::Exec { command } => {
            let output = runtime.exec_sync(id, command, None).await.map_err(|e| e.to_string())?;
            match output.exit_code {
                0 => Ok(()),
                code => Err(format!(
                    "Exec lifecycle hook ({command:?}) failed - error: command exited with {code}: {}",
                    String::from_utf8_lossy(&output.stderr)
                )),
            }
        }
        Handler::Http { https, host, port, path, headers } => {
            let target = http::Target {
                https: *https,
                host: if host.is_empty() { ip.into() } else { host.clone() },
                port: *port,
                path: path.clone(),
                headers: headers.clone(),
            };
            // Any answer will do, as upstream.
            http::get(&target, "kube-lifecycle/1.35", HTTP_TIMEOUT).await.map(|_| ())
        }
        Handler::Tcp { host, port } => {
            let host = if host.is_empty() { ip } else { host };
            let connect = tokio::net::TcpStream::connect((host, *port));
            match tokio::time::timeout(Duration::from_secs(30), connect).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(e)) => Err(format!("dial tcp {host}:{port}: {e}")),
                Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
            }
        }
        Handler::Sleep { seconds } => {
            tokio::time::sleep(Duration::from_secs((*seconds).max(0) as u64)).await;
            Ok(())
        }
        Handler::Grpc { .. } => Err("invalid handler: a hook cannot be gRPC".into()),
        Handler::Invalid { why } => Err(why.clone()),
    }
}

/// Stops a container within its time: the preStop hook first, then the signal, then the kill.
pub(crate) async fn stop(
    shared: &Shared,
    inputs: &Inputs,
    kill: &Kill,
) -> Result<(), timonier_runtime::Error> {
    let deadline = Instant::now() + Duration::from_secs(kill.grace.max(0) as u64);
    let pod = &inputs.pod;
    let container = spec::container(pod, &kill.name);
    let handler = container
        .filter(|_| kill.hook)
        .and_then(|c| Some((c, Handler::read(c.spec, c.spec.at("lifecycle.preStop"))?)));
    if let Some((c, handler)) = handler {
        let ip = inputs.pod_ips.first().map_or("127.0.0.1", |ip| ip.as_str());
        let hook = run(&*shared.runtime, &kill.id, ip, &handler);
        match tokio::time::timeout_at(deadline, hook).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "preStop hook");
                let event = Event::warning("FailedPreStopHook", "PreStopHook failed");
                shared.recorder.pod(pod, event.about(&c));
            }
            // It had all the time there was.
            Err(_) => {}
        }
    }
    let left = deadline.saturating_duration_since(Instant::now()).max(LEAST_GRACE);
    match shared.runtime.stop_container(&kill.id, left).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
