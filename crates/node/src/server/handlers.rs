//! Requests to answers.

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use timonier_meta::{Duration, Time};
use timonier_object::{Value, value};
use timonier_runtime::{AttachRequest, ExecRequest};

use super::answer::{self, Body};
use super::logs::Options;
use super::lookup::{KnownPod, LookupError};
use super::query::{Query, decode};
use super::stream::{self, Target, Upgrade, Wanted};
use super::tls::Identity;
use super::{NodeServer, logs, spdy, websocket};

/// SPDY versions of exec and attach, the best first.
const REMOTE_SPDY: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const REMOTE_WEBSOCKET: [&str; 5] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
];
const FORWARD_SPDY: [&str; 1] = ["portforward.k8s.io"];
const FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const FORWARD_WEBSOCKET: [&str; 3] =
    [FORWARD_TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
/// As upstream: channel numbers end there.
const MAX_PORTS: usize = 64;
/// A century, in seconds: further back there is no log.
const MAX_SINCE: u64 = 3_200_000_000;

impl From<LookupError> for Response<Body> {
    fn from(error: LookupError) -> Self {
        answer::text(error.code, error.text)
    }
}

impl NodeServer {
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        who: &Identity,
    ) -> Response<Body> {
        if !self.shared.config.allows(who) {
            let verb = if request.method() == Method::GET { "get" } else { "create" };
            let text = format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[proxy])",
                who.user
            );
            return answer::text(403, text);
        }
        let path: Vec<String> =
            request.uri().path().split('/').skip(1).map(|p| decode(p, false)).collect();
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let reading = request.method() == Method::GET;
        let result = match parts.as_slice() {
            ["healthz"] | ["healthz", "ping"] if reading => Ok(answer::text(200, "ok")),
            ["pods"] | ["pods", ""] if reading => Ok(answer::json(&self.pod_list())),
            ["stats", "summary"] => Ok(answer::json(&self.shared.figures.summary().await)),
            ["metrics"] if reading => Ok(answer::metrics(self.shared.figures.own_metrics().await)),
            ["metrics", "cadvisor"] if reading => {
                Ok(answer::metrics(self.shared.figures.cadvisor_metrics().await))
            }
            ["metrics", "resource"] if reading => {
                Ok(answer::metrics(self.shared.figures.resource_metrics().await))
            }
            ["containerLogs", namespace, pod, container] if reading => {
                self.logs(&request, namespace, pod, container).await
            }
            [verb @ ("exec" | "attach"), namespace, pod, container] => {
                self.remote(request, verb, namespace, pod, None, container).await
            }
            [verb @ ("exec" | "attach"), namespace, pod, uid, container] => {
                self.remote(request, verb, namespace, pod, Some(uid), container).await
            }
            ["portForward", namespace, pod] => self.forward(request, namespace, pod, None),
            ["portForward", namespace, pod, uid] => {
                self.forward(request, namespace, pod, Some(uid))
            }
            _ => Err(answer::text(404, "404 page not found")),
        };
        result.unwrap_or_else(|answer| answer)
    }

    fn pod_list(&self) -> Value {
        let pods = self.shared.lookup.pods();
        let items = Value::array(pods.iter().map(|p| (*p.pod).clone()).collect::<Vec<_>>());
        value!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })
    }

    async fn logs(
        &self,
        request: &Request<Incoming>,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<Response<Body>, Response<Body>> {
        let query = Query::parse(request.uri().query());
        let options =
            log_options(&query, self.shared.env.now()).map_err(|e| answer::text(400, e))?;
        let source = self.shared.lookup.log(namespace, pod, container, options.previous)?;
        match logs::serve(self.shared.runtime.clone(), source, options).await {
            Ok(chunks) => Ok(answer::stream(chunks)),
            Err(e) => {
                let text = format!(
                    "failed to try resolving symlinks or open the log of container {container:?}: {e}"
                );
                Err(answer::text(500, text))
            }
        }
    }

    /// A pod, checked to be the one that was meant.
    fn pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<KnownPod, LookupError> {
        let pod = self.shared.lookup.pod(namespace, name)?;
        match uid.is_none_or(|uid| uid == pod.uid) {
            true => Ok(pod),
            false => Err(LookupError { code: 404, text: format!("pod \"{name}\" does not exist") }),
        }
    }

    async fn remote(
        &self,
        mut request: Request<Incoming>,
        verb: &str,
        namespace: &str,
        pod: &str,
        uid: Option<&str>,
        container: &str,
    ) -> Result<Response<Body>, Response<Body>> {
        self.pod(namespace, pod, uid)?;
        let id = self.shared.lookup.running(namespace, pod, container)?;
        let query = Query::parse(request.uri().query());
        let wanted = wanted(&query).map_err(|e| answer::text(400, e))?;
        let command = match verb {
            "exec" => Some(query.all("command").map(String::from).collect::<Vec<_>>()),
            _ => None,
        };
        if command.as_ref().is_some_and(Vec::is_empty) {
            return Err(answer::text(400, "you must specify at least 1 command for the container"));
        }
        let upgrade = stream::negotiate(request.headers(), &REMOTE_SPDY, &REMOTE_WEBSOCKET)?;
        let on = hyper::upgrade::on(&mut request);
        let response = stream::response(&upgrade);
        let runtime = self.shared.runtime.clone();
        tokio::spawn(async move {
            let Some(remote) = connect(on, upgrade, wanted).await else { return };
            let Wanted { stdin, stdout, stderr, tty } = wanted;
            let exit_code = command.is_some();
            let process = match command {
                Some(argv) => {
                    let request = ExecRequest { argv, tty, stdin, stdout, stderr };
                    runtime.exec(&id, request).await
                }
                None => runtime.attach(&id, AttachRequest { stdin, stdout, stderr }).await,
            };
            stream::run(remote, process, exit_code).await;
        });
        Ok(response)
    }

    fn forward(
        &self,
        mut request: Request<Incoming>,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<Response<Body>, Response<Body>> {
        let pod = self.pod(namespace, name, uid)?;
        let Some(sandbox) = pod.sandbox else {
            return Err(answer::text(500, format!("unable to find a sandbox of pod \"{name}\"")));
        };
        let upgrade = stream::negotiate(request.headers(), &FORWARD_SPDY, &FORWARD_WEBSOCKET)?;
        let ports = match &upgrade {
            Upgrade::WebSocket { protocol, .. } if protocol != FORWARD_TUNNEL => {
                ports(request.uri().query()).map_err(|e| answer::text(400, e))?
            }
            _ => Vec::new(),
        };
        let on = hyper::upgrade::on(&mut request);
        let response = stream::response(&upgrade);
        let runtime = self.shared.runtime.clone();
        let target = Target { runtime, sandbox, pod: name.to_string(), uid: pod.uid };
        tokio::spawn(async move {
            let Ok(io) = on.await else { return };
            let io = TokioIo::new(io);
            match upgrade {
                Upgrade::Spdy { .. } => {
                    let (connection, new) = spdy::serve(io);
                    stream::forward_over_spdy(target, connection, new).await;
                }
                Upgrade::WebSocket { protocol, .. } if protocol == FORWARD_TUNNEL => {
                    let tunnel = websocket::tunnel(websocket::accept(io).await);
                    let (connection, new) = spdy::serve(tunnel);
                    stream::forward_over_spdy(target, connection, new).await;
                }
                Upgrade::WebSocket { protocol, .. } => {
                    let base64 = protocol.contains("base64");
                    stream::forward_over_channels(target, io, ports, base64).await;
                }
            }
        });
        Ok(response)
    }
}

/// Waits for the upgraded connection and its streams.
async fn connect(on: OnUpgrade, upgrade: Upgrade, wanted: Wanted) -> Option<stream::Remote> {
    let io = TokioIo::new(on.await.ok()?);
    match upgrade {
        Upgrade::Spdy { protocol } => {
            let (connection, new) = spdy::serve(io);
            stream::remote_over_spdy(connection, new, wanted, &protocol).await
        }
        Upgrade::WebSocket { protocol, .. } => {
            Some(stream::remote_over_websocket(io, wanted, &protocol).await)
        }
    }
}

fn wanted(query: &Query) -> Result<Wanted, String> {
    let wanted = Wanted {
        stdin: query.flag("input"),
        stdout: query.flag("output"),
        stderr: query.flag("error") && !query.flag("tty"),
        tty: query.flag("tty"),
    };
    if !wanted.stdin && !wanted.stdout && !wanted.stderr {
        return Err("you must specify at least 1 of stdin, stdout, stderr".into());
    }
    Ok(wanted)
}

fn ports(query: Option<&str>) -> Result<Vec<u16>, String> {
    let query = Query::parse(query);
    let mut ports = Vec::new();
    for text in query.all("port").flat_map(|p| p.split(',')) {
        match text.parse() {
            Ok(port) if port > 0 => ports.push(port),
            _ => return Err(format!("unable to parse {text:?} as a port")),
        }
    }
    match ports.len() {
        0 => Err("query parameter \"port\" is required".into()),
        n if n > MAX_PORTS => Err(format!("at most {MAX_PORTS} ports can be forwarded at once")),
        _ => Ok(ports),
    }
}

fn log_options(query: &Query, now: Time) -> Result<Options, String> {
    let stream = match query.get("stream").unwrap_or_default() {
        "" | "All" => None,
        "Stdout" => Some("stdout".to_string()),
        "Stderr" => Some("stderr".to_string()),
        other => return Err(format!("Unsupported value: {other:?}")),
    };
    let since = match (query.number("sinceSeconds")?, query.get("sinceTime").unwrap_or_default()) {
        (Some(seconds), _) => Some(now - Duration::from_secs(seconds.min(MAX_SINCE) as i64)),
        (None, "") => None,
        (None, text) => {
            Some(Time::parse(text).ok_or_else(|| format!("invalid value {text:?} for sinceTime"))?)
        }
    };
    Ok(Options {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        since,
        tail: query.number("tailLines")?,
        limit: query.number("limitBytes")?,
        stream,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text))
    }

    #[test]
    fn log_parameters() {
        let now = Time::parse("2026-01-01T00:01:00Z").unwrap();
        let got = log_options(&query("follow=true&tailLines=5&sinceSeconds=60&stream=Stderr"), now);
        let expected = Options {
            follow: true,
            tail: Some(5),
            since: Time::parse("2026-01-01T00:00:00Z"),
            stream: Some("stderr".into()),
            ..Options::default()
        };
        assert_eq!(got.unwrap(), expected);
        for bad in ["tailLines=-1", "limitBytes=x", "sinceTime=noon", "stream=Both"] {
            assert!(log_options(&query(bad), now).is_err(), "{bad}");
        }
    }

    #[test]
    fn stream_parameters() {
        let got = wanted(&query("input=1&output=1&error=1&tty=1")).unwrap();
        assert_eq!(got, Wanted { stdin: true, stdout: true, stderr: false, tty: true });
        assert!(wanted(&query("tty=1")).is_err());
        assert_eq!(ports(Some("port=80,443&port=1")), Ok(vec![80, 443, 1]));
        assert!(ports(Some("port=0")).is_err() && ports(None).is_err());
    }
}
