//! The registry server: with our own client, with skopeo, and by hand.

mod common;

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use common::{base_image, root_or_skip, store};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use timonier_meta::{Duration, Time};
use timonier_oci::distribution::{Action, Decision};
use timonier_oci::manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_MANIFEST};
use timonier_oci::{
    Auth, Digest, Error, PullOptions, PushOptions, RegistryConfig, RegistryOptions, RegistryServer,
};

struct Running {
    server: RegistryServer,
    address: String,
    _dir: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start(config: RegistryConfig) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let server = RegistryServer::open(dir.path(), config).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = server.clone();
    let task = tokio::spawn(async move {
        serving.serve(listener).await.unwrap();
    });
    Running { server, address, _dir: dir, task }
}

struct Reply {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn ask(
    running: &Running,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request =
        Request::builder().method(method).uri(format!("http://{}{path}", running.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let response: Response<_> = client.request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Reply {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

async fn push_blob(running: &Running, repository: &str, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    assert_eq!(ask(running, Method::POST, &path, &[], bytes).await.status, 201);
    digest
}

async fn push_manifest(running: &Running, repository: &str, tag: &str, bytes: &[u8]) -> Reply {
    let path = format!("/v2/{repository}/manifests/{tag}");
    ask(running, Method::PUT, &path, &[("content-type", OCI_MANIFEST)], bytes).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_pushes_and_pulls() {
    if !root_or_skip("our_client_pushes_and_pulls") {
        return;
    }
    let running = start(RegistryConfig::default()).await;
    let (_dir, first) = store();
    let Some(image) = base_image(&first, "base:1") else { return };
    let name = format!("{}/team/base:1", running.address);
    first.tag("base:1", &name).unwrap();
    let digest = first.push(&name, &PushOptions::default()).await.unwrap();
    let (_dir, second) = store();
    let pulled = second.pull(&name, &PullOptions::default()).await.unwrap();
    assert_eq!((pulled.id, pulled.digest), (image.id, digest));
    if !std::path::Path::new("/usr/bin/skopeo").exists() {
        eprintln!("our_client_pushes_and_pulls: no skopeo, the rest is skipped");
        return;
    }
    let copy = format!("docker://{}/copy/base", running.address);
    let from = format!("docker://{name}");
    for args in [
        vec![
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--format=v2s2",
            &from,
            &format!("{copy}:docker"),
        ],
        vec![
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &from,
            &format!("{copy}:oci"),
        ],
        vec!["inspect", "--tls-verify=false", &format!("{copy}:docker")],
        vec!["list-tags", "--tls-verify=false", &copy],
        vec!["delete", "--tls-verify=false", &format!("{copy}:docker")],
    ] {
        let output = Command::new("skopeo").arg("--insecure-policy").args(&args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let gone = second
        .pull(&format!("{}/copy/base:docker", running.address), &PullOptions::default())
        .await;
    assert!(matches!(gone, Err(Error::RegistryNotFound(_))));
    second
        .pull(&format!("{}/copy/base:oci", running.address), &PullOptions::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn uploads_in_pieces_ranges_and_mounts() {
    let running = start(RegistryConfig { blob_limit: 1000, ..RegistryConfig::default() }).await;
    let begun = ask(&running, Method::POST, "/v2/a/blobs/uploads/", &[], b"").await;
    let place = begun.header("location").to_owned();
    assert_eq!(begun.status, 202);
    let piece = ask(&running, Method::PATCH, &place, &[("content-range", "0-4")], b"01234").await;
    assert_eq!((piece.status.as_u16(), piece.header("range")), (202, "0-4"));
    assert_eq!(
        ask(&running, Method::PATCH, &place, &[("content-range", "9-10")], b"xx").await.status,
        416
    );
    assert_eq!(ask(&running, Method::GET, &place, &[], b"").await.header("range"), "0-4");
    let digest = Digest::of(b"0123456789");
    // An upload belongs to its repository.
    let elsewhere = place.replace("/v2/a/", "/v2/b/");
    assert_eq!(
        ask(&running, Method::PUT, &format!("{elsewhere}?digest={digest}"), &[], b"").await.status,
        404
    );
    let done = ask(&running, Method::PUT, &format!("{place}?digest={digest}"), &[], b"56789").await;
    assert_eq!(
        (done.status.as_u16(), done.header("docker-content-digest")),
        (201, digest.as_str())
    );
    let blob = format!("/v2/a/blobs/{digest}");
    let part = ask(&running, Method::GET, &blob, &[("range", "bytes=2-4")], b"").await;
    assert_eq!(
        (part.status.as_u16(), &part.body[..], part.header("content-range")),
        (206, &b"234"[..], "bytes 2-4/10")
    );
    assert_eq!(
        &ask(&running, Method::GET, &blob, &[("range", "bytes=-3")], b"").await.body[..],
        b"789"
    );
    assert_eq!(ask(&running, Method::GET, &blob, &[("range", "bytes=10-")], b"").await.status, 416);
    assert_eq!(ask(&running, Method::HEAD, &blob, &[], b"").await.header("content-length"), "10");
    // Only where it was pushed, until it is mounted elsewhere.
    let other = format!("/v2/b/blobs/{digest}");
    assert_eq!(ask(&running, Method::GET, &other, &[], b"").await.status, 404);
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    assert_eq!(ask(&running, Method::POST, &mount, &[], b"").await.status, 201);
    assert_eq!(&ask(&running, Method::GET, &other, &[], b"").await.body[..], b"0123456789");
    let wrong = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(
        ask(&running, Method::POST, &wrong, &[], b"other").await.json()["errors"][0]["code"],
        "DIGEST_INVALID"
    );
    assert_eq!(ask(&running, Method::POST, &wrong, &[], &[0; 2000]).await.status, 413);
    assert_eq!(ask(&running, Method::DELETE, &blob, &[], b"").await.status, 202);
    assert_eq!(ask(&running, Method::GET, &blob, &[], b"").await.status, 404);
}

#[tokio::test]
async fn manifests_lists_and_collection() {
    let running = start(RegistryConfig::default()).await;
    let config = push_blob(&running, "a/b", b"{}").await;
    let manifest = Manifest::new(Descriptor::new(OCI_CONFIG, config.clone(), 2), vec![]).to_bytes();
    let digest = Digest::of(&manifest);
    for tag in ["1", "2", "3"] {
        assert_eq!(push_manifest(&running, "a/b", tag, &manifest).await.status, 201);
    }
    let missing = push_manifest(&running, "c", "1", &manifest).await;
    assert_eq!(missing.json()["errors"][0]["code"], "MANIFEST_BLOB_UNKNOWN");
    for bad in [&b"{"[..], b"{}", b"{\"schemaVersion\":2,\"mediaType\":\"text/x\"}"] {
        assert_eq!(push_manifest(&running, "a/b", "x", bad).await.status, 400);
    }
    let head = ask(&running, Method::HEAD, "/v2/a/b/manifests/1", &[], b"").await;
    assert_eq!(
        (head.header("docker-content-digest"), head.header("content-type")),
        (digest.as_str(), OCI_MANIFEST)
    );
    let page = ask(&running, Method::GET, "/v2/a/b/tags/list?n=2", &[], b"").await;
    assert_eq!(page.json()["tags"], serde_json::json!(["1", "2"]));
    assert_eq!(page.header("link"), "</v2/a/b/tags/list?n=2&last=2>; rel=\"next\"");
    let rest = ask(&running, Method::GET, "/v2/a/b/tags/list?n=2&last=2", &[], b"").await;
    assert_eq!((rest.json()["tags"].clone(), rest.header("link")), (serde_json::json!(["3"]), ""));
    assert_eq!(
        ask(&running, Method::GET, "/v2/_catalog", &[], b"").await.json()["repositories"],
        serde_json::json!(["a/b"])
    );
    assert_eq!(ask(&running, Method::GET, "/v2/none/tags/list", &[], b"").await.status, 404);
    // Something about the image, found by the image.
    let about = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","artifactType":"x/sig","config":{{"mediaType":"x","digest":"{config}","size":2}},"layers":[],"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":1}}}}"#
    );
    let pushed =
        push_manifest(&running, "a/b", Digest::of(about.as_bytes()).as_str(), about.as_bytes())
            .await;
    assert_eq!((pushed.status.as_u16(), pushed.header("oci-subject")), (201, digest.as_str()));
    let path = format!("/v2/a/b/referrers/{digest}");
    assert_eq!(
        ask(&running, Method::GET, &path, &[], b"").await.json()["manifests"][0]["artifactType"],
        "x/sig"
    );
    let none = ask(&running, Method::GET, &format!("{path}?artifactType=y"), &[], b"").await;
    assert_eq!(
        (none.json()["manifests"].as_array().unwrap().len(), none.header("oci-filters-applied")),
        (0, "artifactType")
    );
    // What is named stays, what is not goes, but not before its time.
    push_blob(&running, "a/b", b"orphan").await;
    let now = Time(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()
            as i64,
    );
    let hour = Duration::from_secs(3600);
    assert_eq!(running.server.collect(now, hour).unwrap().blobs, 0);
    let done = running.server.collect(now + hour + hour, hour).unwrap();
    assert_eq!((done.blobs, done.freed), (1, 6));
    assert_eq!(ask(&running, Method::GET, "/v2/a/b/manifests/1", &[], b"").await.body, manifest);
    assert_eq!(ask(&running, Method::DELETE, "/v2/a/b/manifests/1", &[], b"").await.status, 202);
    assert_eq!(ask(&running, Method::GET, "/v2/a/b/manifests/2", &[], b"").await.status, 200);
    assert_eq!(
        ask(&running, Method::DELETE, &format!("/v2/a/b/manifests/{digest}"), &[], b"")
            .await
            .status,
        202
    );
    assert_eq!(ask(&running, Method::GET, "/v2/a/b/manifests/2", &[], b"").await.status, 404);
}

#[tokio::test]
async fn access_is_asked_every_time() {
    if !root_or_skip("access_is_asked_every_time") {
        return;
    }
    let access = |who: Option<(&str, &str)>, repository: &str, action: Action| match who {
        Some(("me", "pw")) if action == Action::Login || repository.starts_with("mine/") => {
            Decision::Allow
        }
        Some(("me", "pw")) => Decision::Forbidden,
        _ => Decision::Unauthenticated,
    };
    let running =
        start(RegistryConfig { access: Some(Arc::new(access)), ..RegistryConfig::default() }).await;
    let refused = ask(&running, Method::GET, "/v2/", &[], b"").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("www-authenticate")),
        (401, "Basic realm=\"timonier\"")
    );
    let (_dir, store) = store();
    if base_image(&store, "base:1").is_none() {
        return;
    }
    let options = |password: &str| PushOptions {
        registry: RegistryOptions {
            auth: Some(Auth {
                username: "me".into(),
                password: password.into(),
                ..Auth::default()
            }),
            ..RegistryOptions::default()
        },
        ..PushOptions::default()
    };
    let (mine, other) =
        (format!("{}/mine/x:1", running.address), format!("{}/other/x:1", running.address));
    store.tag("base:1", &mine).unwrap();
    store.tag("base:1", &other).unwrap();
    store.push(&mine, &options("pw")).await.unwrap();
    for (name, password) in [(&mine, "no"), (&other, "pw")] {
        let error = store.push(name, &options(password)).await.unwrap_err();
        assert!(
            matches!(&error, Error::Denied(text) if text.starts_with("push access denied")),
            "{error}"
        );
    }
}
