//! Pods: logs, exec, attach, port-forward through the kubelet, and HTTP straight to the pod.

use std::sync::Arc;

use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::Empty;
use timonier_meta::{ApiError, FieldError, FieldPath, GroupVersionKind};
use timonier_object::Value;

use super::{kubelet, upgrade};
use crate::call::Call;
use crate::http::respond::Body;
use crate::percent;
use crate::query::Query;

fn find(call: &Call<'_>) -> Result<Arc<Value>, ApiError> {
    let name = call.info.path_name();
    call.server
        .peek(&timonier_meta::gvk::resources::PODS, call.namespace(), name)
        .ok_or_else(|| call.not_found(name))
}

/// The names of the containers in a list of the specification.
fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    pod.at(list).items().iter().map(|c| c.at("name").str()).collect()
}

/// The container that is meant: the named one, or the only one.
fn container(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let containers = names(pod, "spec.containers");
    let init = names(pod, "spec.initContainers");
    let ephemeral = names(pod, "spec.ephemeralContainers");
    if !asked.is_empty() {
        let known = [&containers, &init, &ephemeral].iter().any(|l| l.contains(&asked));
        return if known {
            Ok(asked.to_string())
        } else {
            let text = format!("container {asked} is not valid for pod {}", pod.name());
            Err(ApiError::bad_request(text))
        };
    }
    if let [only] = containers[..] {
        return Ok(only.to_string());
    }
    let mut text = format!(
        "a container name must be specified for pod {}, choose one of: [{}]",
        pod.name(),
        containers.join(" ")
    );
    if !init.is_empty() {
        text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    if !ephemeral.is_empty() {
        text.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
    }
    Err(ApiError::bad_request(text))
}

fn node_of(pod: &Value) -> Result<&str, ApiError> {
    match pod.at("spec.nodeName").str() {
        "" => {
            Err(ApiError::bad_request(format!("pod {} does not have a host assigned", pod.name())))
        }
        node => Ok(node),
    }
}

/// Adds a query parameter.
fn add(target: &mut String, name: &str, value: &str) {
    target.push(if target.contains('?') { '&' } else { '?' });
    target.push_str(name);
    target.push('=');
    target.push_str(&percent::encode(value));
}

/// `log`: the kubelet's log of a container, as a stream.
pub async fn log(call: &Call<'_>, query: &Query) -> Result<Response<Body>, ApiError> {
    check_log_options(call, query)?;
    let pod = find(call)?;
    let container = container(&pod, query.text("container"))?;
    let Ok(node) = node_of(&pod) else {
        // A pod that is still to be scheduled has no log yet.
        return Ok(crate::http::respond::text(200, ""));
    };
    let mut target = format!("/containerLogs/{}/{}/{container}", pod.namespace(), pod.name());
    for name in ["follow", "previous", "timestamps"] {
        if query.bool(name) {
            add(&mut target, name, "true");
        }
    }
    for name in ["sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"] {
        if let Some(value) = query.get(name).filter(|v| !v.is_empty()) {
            add(&mut target, name, value);
        }
    }
    let stream = kubelet::dial(call, node).await?;
    let request = Request::new(Empty::<Bytes>::new());
    let response = upgrade::pass(stream, node, &target, request).await?;
    refuse_errors(response).await
}

/// A kubelet's refusal becomes a `Status`.
async fn refuse_errors(response: Response<Body>) -> Result<Response<Body>, ApiError> {
    let code = response.status().as_u16();
    if code < 400 {
        return Ok(response);
    }
    let bytes = crate::http::body::read(response.into_body()).await?;
    let text = String::from_utf8_lossy(&bytes).trim().to_string();
    Err(match code {
        400 => ApiError::bad_request(text),
        404 => ApiError::new(404, timonier_meta::Reason::NotFound, text),
        _ => ApiError::internal(text),
    })
}

fn check_log_options(call: &Call<'_>, query: &Query) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let since = query.int("sinceSeconds")?;
    for (name, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        if let Some(n) = query.int(name)?.filter(|n| *n < least) {
            let text = if least == 0 {
                "must be greater than or equal to 0"
            } else {
                "must be greater than 0"
            };
            errors.push(FieldError::invalid(&FieldPath::new(name), n, text));
        }
    }
    if since.is_some() && !query.text("sinceTime").is_empty() {
        let text = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden(&FieldPath::new(""), text));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupVersionKind::new_static("", "v1", "PodLogOptions");
    Err(ApiError::invalid(&kind, call.info.path_name(), &errors))
}

/// `exec`, `attach`, `portforward`: a stream in both directions.
pub async fn stream<B>(
    call: &Call<'_>,
    request: Request<B>,
    query: &Query,
) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !super::headers::is_upgrade(request.headers()) {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    let pod = find(call)?;
    let (namespace, name) = (pod.namespace(), pod.name());
    let target = match call.info.subresource.as_str() {
        "portforward" => {
            let mut target = format!("/portForward/{namespace}/{name}");
            for port in query.all("ports").flat_map(|p| p.split(',')) {
                add(&mut target, "port", port);
            }
            target
        }
        verb => {
            let container = container(&pod, query.text("container"))?;
            let mut target = format!("/{verb}/{namespace}/{name}/{container}");
            for (ours, theirs) in
                [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
            {
                if query.bool(ours) {
                    add(&mut target, theirs, "1");
                }
            }
            if verb == "exec" {
                let command: Vec<&str> = query.all("command").collect();
                if command.is_empty() {
                    return Err(ApiError::bad_request(
                        "you must specify at least 1 command for the container",
                    ));
                }
                command.into_iter().for_each(|c| add(&mut target, "command", c));
            }
            target
        }
    };
    let node = node_of(&pod)?;
    let connection = kubelet::dial(call, node).await?;
    upgrade::pass(connection, node, &target, request).await
}

/// `proxy`: HTTP to a port of the pod.
pub async fn proxy<B>(call: &Call<'_>, request: Request<B>) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let target = super::http::Target::parse(&call.info.name)?;
    let resource = &timonier_meta::gvk::resources::PODS;
    let pod = call
        .server
        .peek(resource, call.namespace(), target.name)
        .ok_or_else(|| call.not_found(target.name))?;
    let address = pod.at("status.podIP").str();
    let port = match target.port {
        "" => {
            let containers = pod.at("spec.containers").items();
            let ports = containers.iter().flat_map(|c| c.at("ports").items());
            let first = ports.map(|p| p.at("containerPort").int_or(0)).next();
            first.and_then(|p| u16::try_from(p).ok()).unwrap_or(80)
        }
        text => {
            text.parse().map_err(|_| ApiError::bad_request(format!("invalid port {text:?}")))?
        }
    };
    super::http::pass(call, &target, address, port, request).await
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn the_container_is_named_or_the_only_one() {
        let one =
            value!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "a" }] } });
        assert_eq!(container(&one, "").unwrap(), "a");
        assert_eq!(container(&one, "b").unwrap_err().message, "container b is not valid for pod p");
        let two = value!({ "metadata": { "name": "p" },
            "spec": { "containers": [{ "name": "a" }, { "name": "b" }], "initContainers": [{ "name": "i" }] } });
        assert_eq!(
            container(&two, "").unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
    }

    #[test]
    fn parameters_are_encoded() {
        let mut target = "/exec".to_string();
        add(&mut target, "command", "a b&c");
        add(&mut target, "tty", "1");
        assert_eq!(target, "/exec?command=a%20b%26c&tty=1");
    }
}
