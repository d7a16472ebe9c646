//! When a cluster counts as up: its node is Ready and its DNS answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use timonier_cli::cluster::ClusterConfig;
use timonier_cli::progress::Reporter;
use timonier_client::{Client, ListOptions, PatchType, WatchEvent, WriteOptions};
use timonier_meta::Selector;
use timonier_meta::gvk::resources::NODES;
use timonier_object::{Value, value};
use tokio::net::UdpSocket;

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// How long one question to the DNS may take before it is asked again.
const PATIENCE: Duration = Duration::from_millis(200);
/// Questions before the cluster counts as failed.
const TRIES: usize = 150;

/// Returns once the node is Ready and the cluster's DNS knows the Service `kubernetes`.
pub async fn wait(client: &dyn Client, config: &ClusterConfig, reporter: Reporter) -> Result<()> {
    let node = node_is_ready(client, &config.node_name).await?;
    mark(client, &node).await?;
    reporter.step(&format!("node {} is Ready", config.node_name));
    dns_answers(config).await?;
    reporter.step(&format!("cluster DNS answers on {}", config.dns_ip()));
    Ok(())
}

async fn node_is_ready(client: &dyn Client, name: &str) -> Result<Arc<Value>> {
    let options = ListOptions {
        field_selector: Selector::of_pairs([("metadata.name", name)]),
        ..ListOptions::default()
    };
    let mut events = client.watch(&NODES, "", &options).await?;
    while let Some(event) = events.next().await {
        if let WatchEvent::Added(node) | WatchEvent::Modified(node) = event?
            && node.condition_is_true("Ready")
        {
            return Ok(node);
        }
    }
    bail!("the watch of node {name} ended")
}

/// Labels the node as one of the control plane, which no node may say of itself.
async fn mark(client: &dyn Client, node: &Value) -> Result<()> {
    if node.label(CONTROL_PLANE).is_some() {
        return Ok(());
    }
    let patch = value!({ "metadata": { "labels": { (CONTROL_PLANE): "" } } });
    let options = WriteOptions { field_manager: "timonier".into(), ..WriteOptions::default() };
    client.patch(&NODES, "", node.name(), "", PatchType::Merge, patch, &options).await?;
    Ok(())
}

async fn dns_answers(config: &ClusterConfig) -> Result<()> {
    let server = SocketAddr::from((config.dns_ip(), 53));
    let question = question(&format!("kubernetes.default.svc.{}", config.domain));
    let expected = config.api_service_ip().octets();
    for _ in 0..TRIES {
        // A new socket each time: an ICMP error of an earlier try must not end a later one.
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        let ask = async {
            socket.connect(server).await?;
            socket.send(&question).await?;
            let mut answer = [0; 512];
            let n = socket.recv(&mut answer).await?;
            std::io::Result::Ok(
                answer[..n].ends_with(&expected) || answer[..n].windows(4).any(|w| w == expected),
            )
        };
        match tokio::time::timeout(PATIENCE, ask).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(_) => tokio::time::sleep(PATIENCE / 10).await,
            Err(_) => {}
        }
    }
    Err(anyhow::anyhow!("it does not know the Service kubernetes"))
        .with_context(|| format!("cluster DNS at {server}"))
}

/// A DNS question for the A record of a name (RFC 1035, section 4).
fn question(name: &str) -> Vec<u8> {
    let mut packet = vec![0x54, 0x4d, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_the_wire_form() {
        let packet = question("a.bc");
        assert_eq!(&packet[12..], b"\x01a\x02bc\0\0\x01\0\x01");
    }
}
