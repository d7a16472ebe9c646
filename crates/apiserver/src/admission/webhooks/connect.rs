//! Hooks on what opens a connection: exec, attach, port-forward and the proxies.

use timonier_meta::{ApiError, GroupVersionKind};
use timonier_object::Value;

use super::ask::About;
use super::validating::validate;
use crate::call::Call;
use crate::query::Query;

/// Asks the validating hooks. Logs are read, not connected to.
pub async fn connect(call: &Call<'_>, query: &Query) -> Result<(), ApiError> {
    let subresource = call.info.subresource.as_str();
    if subresource == "log" {
        return Ok(());
    }
    let options = options(call, query);
    let kind = GroupVersionKind {
        kind: options.kind().into(),
        version: "v1".into(),
        ..GroupVersionKind::default()
    };
    let about = About { call, operation: "CONNECT", subresource, kind: &kind, dry_run: false };
    validate(&about, None, Some(&options)).await
}

/// The options object that upstream makes of the query.
fn options(call: &Call<'_>, query: &Query) -> Value {
    let kind = match (call.row.gvr.resource.as_str(), call.info.subresource.as_str()) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", _) => "PodProxyOptions",
        ("services", _) => "ServiceProxyOptions",
        _ => "NodeProxyOptions",
    };
    let mut out = Value::object();
    out.set("kind", kind);
    out.set("apiVersion", "v1");
    match call.info.subresource.as_str() {
        "exec" | "attach" => {
            for flag in ["stdin", "stdout", "stderr", "tty"] {
                if query.bool(flag) {
                    out.set(flag, true);
                }
            }
            if !query.text("container").is_empty() {
                out.set("container", query.text("container"));
            }
            let command: Vec<Value> = query.all("command").map(Value::from).collect();
            if !command.is_empty() {
                out.set("command", Value::array(command));
            }
        }
        "portforward" => {
            let ports = query.all("ports").flat_map(|p| p.split(','));
            let ports: Vec<Value> =
                ports.filter_map(|p| p.parse::<i64>().ok()).map(Value::from).collect();
            if !ports.is_empty() {
                out.set("ports", Value::array(ports));
            }
        }
        _ if !call.info.rest.is_empty() => out.set("path", call.info.rest.as_str()),
        _ => {}
    }
    out
}
