//! Requests over real TLS that no well-behaved client sends, and what is behind the locks.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal, run};

/// curl on a path of the cluster's API server; prints the body, then the status code.
fn curl(cluster: &Cluster, path: &str) -> Result<Command> {
    let file = |name: &str| cluster.data.join("pki").join(name);
    let server = server(cluster)?;
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--write-out", "\n%{http_code}"]);
    command.arg("--cacert").arg(file("ca.crt")).arg(format!("{server}{path}"));
    Ok(command)
}

fn as_admin<'a>(cluster: &Cluster, command: &'a mut Command) -> &'a mut Command {
    let file = |name: &str| cluster.data.join("pki").join(name);
    command.arg("--cert").arg(file("admin.crt")).arg("--key").arg(file("admin.key"))
}

fn server(cluster: &Cluster) -> Result<String> {
    let mut command = cluster.kubectl(&crate::shell::kubectl(), &["config", "view", "--minify"]);
    crate::shell::succeed(command.args(["-o", "jsonpath={.clusters[0].cluster.server}"]), "")
}

pub fn bodies_over_tls(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("bodies")?;
    let maps = "/api/v1/namespaces/bodies/configmaps";
    let large = " ".repeat(3 * 1024 * 1024 + 1);
    let unknown = r#"{"metadata":{"name":"u"},"spec":{}}"#;
    let json = "application/json";
    let protobuf = "application/vnd.kubernetes.protobuf";
    for version in ["--http1.1", "--http2"] {
        for (query, kind, body, code, parts) in [
            ("", json, large.as_str(), 413, ["RequestEntityTooLarge", "limit is 3145728"]),
            ("", json, "{\"metadata\":", 400, ["BadRequest", "Status"]),
            ("", "application/yaml", "a: [", 400, ["BadRequest", "Status"]),
            ("", protobuf, "k8s\u{0}\u{1}\u{2}", 400, ["BadRequest", "Status"]),
            ("", protobuf, "no magic", 400, ["BadRequest", "Status"]),
            ("", "text/html", "{}", 415, ["UnsupportedMediaType", "Status"]),
            (
                "?fieldValidation=Strict",
                json,
                unknown,
                400,
                ["strict decoding error", "unknown field"],
            ),
            (
                "?fieldValidation=Warn&dryRun=All",
                json,
                unknown,
                201,
                ["warning: 299 - \"unknown field", "\"u\""],
            ),
            (
                "?fieldValidation=Ignore&dryRun=All",
                json,
                unknown,
                201,
                ["\"kind\":\"ConfigMap\"", "\"u\""],
            ),
        ] {
            let mut command = curl(cluster, &format!("{maps}{query}"))?;
            as_admin(cluster, &mut command).arg(version).args(["--include", "--data-binary", "@-"]);
            let output = run(command.arg("--header").arg(format!("Content-Type: {kind}")), body)?;
            let what = format!("{version} {query} {kind}: {}", output.stderr);
            let (text, status) = output.stdout.rsplit_once('\n').ok_or(&*what)?;
            equal(&what, status, code.to_string().as_str())?;
            // HTTP/1.1 spells header names as it likes.
            let text = text.replace("Warning: ", "warning: ");
            contains(&text, &parts)?;
            let warned = text.contains("warning: ");
            equal("a warning", warned, query.contains("Warn"))?;
        }
    }
    ns.kubectl(&["create", "cm", "after"]).map(drop)
}

pub fn anonymous_and_old_clients(cluster: &Cluster) -> Result {
    let forbidden = |verb: &str, resource: &str| {
        format!(
            "User \\\"system:anonymous\\\" cannot {verb} resource \\\"{resource}\\\" in API group"
        )
    };
    for (path, code, part) in [
        ("/healthz", "200", "ok".to_owned()),
        ("/livez", "200", "ok".to_owned()),
        ("/readyz", "200", "ok".to_owned()),
        ("/version", "200", "gitVersion".to_owned()),
        ("/api/v1/pods", "403", forbidden("list", "pods")),
        ("/api/v1/namespaces/kube-system/secrets/x", "403", forbidden("get", "secrets")),
        ("/metrics", "403", "cannot get path \\\"/metrics\\\"".to_owned()),
    ] {
        let output = run(&mut curl(cluster, path)?, "")?;
        let (text, status) = output.stdout.rsplit_once('\n').ok_or(output.stderr)?;
        equal(path, status, code)?;
        contains(text, &[&part])?;
    }
    let mut wrong = curl(cluster, "/api/v1/pods")?;
    let output = run(wrong.args(["--header", "Authorization: Bearer nonsense"]), "")?;
    contains(&output.stdout, &["Unauthorized", "\n401"])?;
    let config =
        fs::read_to_string(cluster.data.join("cluster.json")).map_err(|e| e.to_string())?;
    for key in ["api_port", "kubelet_port"] {
        let port = config
            .lines()
            .find_map(|l| l.trim().strip_prefix(&format!("\"{key}\": ")))
            .and_then(|p| p.trim_end_matches(',').parse().ok())
            .ok_or_else(|| format!("cluster.json has no {key}"))?;
        refuses_tls_1_1(port).map_err(|why| format!("{key}: {why}"))?;
    }
    Ok(())
}

/// The server must end a handshake of TLS 1.1 with the alert `protocol_version` (RFC 5246, 7.2),
/// and go on with the same one of TLS 1.2.
fn refuses_tls_1_1(port: u16) -> Result {
    const HANDSHAKE: u8 = 22;
    const ALERT: u8 = 21;
    const FATAL_PROTOCOL_VERSION: [u8; 2] = [2, 70];
    let answer = answer_to_hello(port, 3).map_err(|e| e.to_string())?;
    equal("the answer to TLS 1.2", answer[0], HANDSHAKE)?;
    let answer = answer_to_hello(port, 2).map_err(|e| e.to_string())?;
    equal("the answer to TLS 1.1", answer[0], ALERT)?;
    equal("the alert", &answer[5..], &FATAL_PROTOCOL_VERSION)
}

/// The first seven bytes that the server sends to a ClientHello of TLS 1.`minor - 1`.
fn answer_to_hello(port: u16, minor: u8) -> std::io::Result<[u8; 7]> {
    /// Curves (P-256), their form, and signature algorithms (ECDSA with P-256).
    const EXTENSIONS: [u8; 22] =
        [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3];
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session, the cipher suite ECDHE-ECDSA-AES128-GCM-SHA256, no compression.
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, EXTENSIONS.len() as u8]);
    body.extend(EXTENSIONS);
    let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.write_all(&record)?;
    let mut answer = [0; 7];
    connection.read_exact(&mut answer)?;
    Ok(answer)
}

pub fn private_files(cluster: &Cluster) -> Result {
    let mode = |path: &Path| {
        let data = fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok::<u32, String>(data.permissions().mode() & 0o777)
    };
    equal("the data directory's mode", mode(&cluster.data)?, 0o700)?;
    let mut private = vec![cluster.data.join("admin.kubeconfig"), cluster.user_kubeconfig()];
    // The authority of the front proxy has a directory of its own.
    let proxy = cluster.data.join("pki/front-proxy");
    equal("the mode of the front proxy's directory", mode(&proxy)?, 0o700)?;
    for directory in [cluster.data.join("pki"), proxy.clone()] {
        let files = fs::read_dir(directory).map_err(|e| e.to_string())?;
        private.extend(files.flatten().map(|e| e.path()).filter(|path| *path != proxy));
    }
    let keys = private.iter().filter(|p| p.extension().is_some_and(|e| e == "key")).count();
    equal("there are keys", keys > 4, true)?;
    let store = fs::read_dir(cluster.data.join("store")).map_err(|e| e.to_string())?;
    private.extend(store.flatten().map(|e| e.path()));
    private.push(cluster.data.join("server.log"));
    for path in private {
        equal(&format!("the mode of {}", path.display()), mode(&path)?, 0o600)?;
    }
    Ok(())
}
