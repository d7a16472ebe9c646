//! One attempt of a probe.

use std::time::Duration;

use timonier_pod::probe::{Handler, Outcome, Probe};
use timonier_runtime::{Error, Runtime};

use crate::{grpc, http};

/// The most that is shown of a probe's answer, bytes (upstream's).
const SHOWN: usize = 10 * 1024;

/// How often an attempt is made that comes to no answer (upstream's).
const ATTEMPTS: u32 = 3;

/// Asks until there is an answer, a few times at most. `ip` is the pod's address.
pub(crate) async fn probe(runtime: &dyn Runtime, id: &str, ip: &str, probe: &Probe) -> Outcome {
    let mut outcome = once(runtime, id, ip, probe).await;
    for _ in 1..ATTEMPTS {
        if !matches!(outcome, Outcome::Error(_)) {
            break;
        }
        outcome = once(runtime, id, ip, probe).await;
    }
    outcome
}

async fn once(runtime: &dyn Runtime, id: &str, ip: &str, probe: &Probe) -> Outcome {
    let timeout = probe.timeout.to_core();
    let or_ip = |host: &str| if host.is_empty() { ip.to_string() } else { host.to_string() };
    match &probe.handler {
        Handler::Exec { command } => exec(runtime, id, command, timeout).await,
        Handler::Http { https, host, port, path, headers } => {
            let target = http::Target {
                https: *https,
                host: or_ip(host),
                port: *port,
                path: path.clone(),
                headers: headers.clone(),
            };
            match http::get(&target, "kube-probe/1.35", timeout).await {
                Ok(answer) if (200..400).contains(&answer.status) => Outcome::Success,
                Ok(answer) => Outcome::Failure(format!(
                    "HTTP probe failed with statuscode: {}",
                    answer.status
                )),
                Err(why) => Outcome::Failure(why),
            }
        }
        Handler::Tcp { host, port } => tcp(&or_ip(host), *port, timeout).await,
        Handler::Grpc { port, service } => match grpc::check(ip, *port, service, timeout).await {
            Ok(()) => Outcome::Success,
            Err(why) => Outcome::Failure(why),
        },
        Handler::Invalid { why } => Outcome::Error(why.clone()),
        Handler::Sleep { .. } => Outcome::Error("missing probe handler".into()),
    }
}

async fn exec(runtime: &dyn Runtime, id: &str, command: &[String], timeout: Duration) -> Outcome {
    match runtime.exec_sync(id, command, Some(timeout)).await {
        Ok(output) if output.exit_code == 0 => Outcome::Success,
        Ok(output) => {
            let mut bytes = output.stdout;
            bytes.extend(output.stderr);
            bytes.truncate(SHOWN);
            Outcome::Failure(String::from_utf8_lossy(&bytes).into_owned())
        }
        Err(Error::ExecTimeout { .. }) => Outcome::Failure(format!(
            "command timed out: {:?} timed out after {}s",
            command.join(" "),
            timeout.as_secs()
        )),
        Err(error) => Outcome::Error(error.to_string()),
    }
}

async fn tcp(host: &str, port: u16, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, tokio::net::TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(e)) => {
            Outcome::Failure(format!("dial tcp {host}:{port}: connect: {}", http::go_error(&e)))
        }
        Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}
