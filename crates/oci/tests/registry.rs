//! Pulls from and pushes to a registry in this process.

mod common;

use std::sync::{Arc, Mutex};

use common::registry::{Options, Registry};
use common::{root_or_skip, store};
use timonier_oci::manifest::{
    Descriptor, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST,
};
use timonier_oci::{
    Auth, Digest, Error, Image, ImageStore, Platform, PullOptions, PushOptions, RegistryOptions,
    Result, TransferEvent,
};

fn layer(name: &str, size: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    let data: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
    tar.append_data(&mut header, name, &data[..]).unwrap();
    tar.into_inner().unwrap()
}

/// Puts an image with two layers into a registry.
fn publish(registry: &Registry, repository: &str, tag: &str, arch: &str) -> Descriptor {
    let layers = [layer("a", 200_000), layer(&format!("only-{arch}"), 3)];
    let diff_ids: Vec<String> = layers.iter().map(|l| format!("\"{}\"", Digest::of(l))).collect();
    let config = format!(
        r#"{{"architecture":"{arch}","os":"linux","config":{{"Cmd":["x"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    registry.put_blob(config.as_bytes());
    let descriptors = layers
        .iter()
        .map(|l| Descriptor::new(OCI_LAYER, registry.put_blob(l), l.len() as u64))
        .collect();
    let manifest =
        Manifest::new(Descriptor::of(OCI_CONFIG, config.as_bytes()), descriptors).to_bytes();
    registry.put_manifest(repository, tag, OCI_MANIFEST, &manifest);
    let mut descriptor = Descriptor::of(OCI_MANIFEST, &manifest);
    descriptor.platform = Some(Platform::parse(arch).unwrap());
    descriptor
}

async fn pull(store: &ImageStore, registry: &Registry, rest: &str) -> Result<Image> {
    store.pull(&format!("{}/{rest}", registry.base()), &PullOptions::default()).await
}

#[tokio::test]
async fn pulls_and_pulls_nothing_twice() {
    if !root_or_skip("pulls_and_pulls_nothing_twice") {
        return;
    }
    let (_dir, store) = store();
    let registry = Registry::start(Options::default()).await;
    let descriptor = publish(&registry, "team/app", "1", "amd64");
    let image = pull(&store, &registry, "team/app:1").await.unwrap();
    assert_eq!(image.digest, descriptor.digest);
    assert_eq!(image.repo_tags, [format!("{}/team/app:1", registry.base())]);
    assert_eq!(image.repo_digests, [format!("{}/team/app@{}", registry.base(), descriptor.digest)]);
    assert_eq!(std::fs::read(image.lower_dirs[1].join("a")).unwrap().len(), 200_000);
    let blobs = |r: &Registry| r.requests().iter().filter(|r| r.contains("/blobs/")).count();
    assert_eq!(blobs(&registry), 3);
    let by_digest =
        pull(&store, &registry, &format!("team/app@{}", descriptor.digest)).await.unwrap();
    assert_eq!((by_digest.id, blobs(&registry)), (image.id.clone(), 3));
    let name = format!("{}/team/app@{}", registry.base(), descriptor.digest);
    assert_eq!(store.resolve(&name).unwrap().id, image.id);
    assert_eq!(store.dir().join("tmp").read_dir().unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_of_one_image_at_once_transfer_it_once() {
    if !root_or_skip("pulls_of_one_image_at_once_transfer_it_once") {
        return;
    }
    let (_dir, store) = store();
    let registry = Registry::start(Options::default()).await;
    publish(&registry, "app", "1", "amd64");
    let mut pulls = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, name) = (store.clone(), format!("{}/app:1", registry.base()));
        pulls.spawn(async move { store.pull(&name, &PullOptions::default()).await.unwrap().id });
    }
    let ids = pulls.join_all().await;
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(registry.requests().iter().filter(|r| r.contains("/blobs/")).count(), 3);
}

#[tokio::test]
async fn picks_the_platform_of_an_index() {
    if !root_or_skip("picks_the_platform_of_an_index") {
        return;
    }
    let (_dir, store) = store();
    let registry = Registry::start(Options::default()).await;
    let manifests = ["s390x", "amd64", "arm64"].map(|a| publish(&registry, "multi", a, a)).to_vec();
    let index = Index {
        schema_version: 2,
        media_type: OCI_INDEX.into(),
        manifests: manifests.clone(),
        annotations: Default::default(),
    };
    let bytes = serde_json::to_vec(&index).unwrap();
    let digest = registry.put_manifest("multi", "1", OCI_INDEX, &bytes);
    let name = format!("{}/multi:1", registry.base());
    let of = |platform: &str| PullOptions {
        platform: Some(Platform::parse(platform).unwrap()),
        ..PullOptions::default()
    };
    let image = store.pull(&name, &of("linux/arm64/v8")).await.unwrap();
    assert_eq!(image.digest, manifests[2].digest);
    assert!(image.repo_digests[0].ends_with(digest.as_str()));
    assert!(image.lower_dirs[0].join("only-arm64").exists());
    let error = store.pull(&name, &of("ppc64le")).await.unwrap_err();
    assert!(matches!(error, Error::NoPlatform { .. }), "{error}");
}

#[tokio::test]
async fn breaks_are_resumed_and_busy_servers_waited_for() {
    if !root_or_skip("breaks_are_resumed_and_busy_servers_waited_for") {
        return;
    }
    for no_ranges in [false, true] {
        let (_dir, store) = store();
        let options = Options { break_off: true, busy: 2, no_ranges, ..Options::default() };
        let registry = Registry::start(options).await;
        publish(&registry, "app", "1", "amd64");
        let image = pull(&store, &registry, "app:1").await.unwrap();
        assert_eq!(std::fs::read(image.lower_dirs[1].join("a")).unwrap().len(), 200_000);
    }
}

#[tokio::test]
async fn credentials_go_where_they_belong() {
    if !root_or_skip("credentials_go_where_they_belong") {
        return;
    }
    let auth = |username: &str| RegistryOptions {
        auth: Some(Auth { username: username.into(), password: "p:w".into(), ..Auth::default() }),
        ..RegistryOptions::default()
    };
    let cdn = Registry::start(Options { refuse_credentials: true, ..Options::default() }).await;
    publish(&cdn, "app", "1", "amd64");
    let redirect = Some(format!("http://{}", cdn.base()));
    for options in [
        Options {
            token_auth: Some("me:p:w".into()),
            redirect_blobs: redirect.clone(),
            ..Options::default()
        },
        Options {
            basic_auth: Some("me:p:w".into()),
            redirect_blobs: redirect.clone(),
            ..Options::default()
        },
    ] {
        let (_dir, store) = store();
        let registry = Registry::start(options).await;
        publish(&registry, "app", "1", "amd64");
        let name = format!("{}/app:1", registry.base());
        let good = PullOptions { registry: auth("me"), ..PullOptions::default() };
        store.pull(&name, &good).await.unwrap();
        assert!(cdn.requests().iter().any(|r| r.contains("/cdn/blobs/")));
        for bad in [auth("you"), RegistryOptions::default()] {
            let options = PullOptions { registry: bad, ..PullOptions::default() };
            let error = store.pull(&name, &options).await.unwrap_err();
            assert!(matches!(error, Error::Denied(_)), "{error}");
            assert!(error.to_string().starts_with("pull access denied"), "{error}");
        }
    }
}

#[tokio::test]
async fn pushes_what_another_store_pulls() {
    if !root_or_skip("pushes_what_another_store_pulls") {
        return;
    }
    let (_dir, first) = store();
    let source = Registry::start(Options::default()).await;
    publish(&source, "app", "1", "amd64");
    let image = pull(&first, &source, "app:1").await.unwrap();
    let options = Options { token_auth: Some("me:pw".into()), ..Options::default() };
    let target = Registry::start(options).await;
    let name = format!("{}/copy/app:2", target.base());
    first.tag(image.id.as_str(), &name).unwrap();
    let registry = RegistryOptions {
        auth: Some(Auth { username: "me".into(), password: "pw".into(), ..Auth::default() }),
        ..RegistryOptions::default()
    };
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let push = PushOptions {
        registry: registry.clone(),
        progress: Some(Arc::new(move |e: &TransferEvent| seen.lock().unwrap().push(e.clone()))),
    };
    assert_eq!(first.push(&name, &push).await.unwrap(), image.digest);
    let done = |list: &[TransferEvent]| {
        list.iter().filter(|e| matches!(e, TransferEvent::Done(_))).count()
    };
    assert_eq!(done(&events.lock().unwrap()), 3);
    first.push(&name, &push).await.unwrap();
    assert_eq!(done(&events.lock().unwrap()), 3, "blobs were sent twice");
    let (_dir, second) = store();
    let pulled =
        second.pull(&name, &PullOptions { registry, ..PullOptions::default() }).await.unwrap();
    assert_eq!((pulled.id, pulled.digest), (image.id, image.digest));
    let unnamed = first.push("localhost:1/none:1", &PushOptions::default()).await.unwrap_err();
    assert!(matches!(unnamed, Error::NotFound(_)), "{unnamed}");
}

#[tokio::test]
async fn hostile_and_absent_registries() {
    let (_dir, store) = store();
    let registry = Registry::start(Options { corrupt: true, ..Options::default() }).await;
    publish(&registry, "app", "1", "amd64");
    let error = pull(&store, &registry, "app:1").await.unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    let error = pull(&store, &registry, "app:none").await.unwrap_err();
    assert!(matches!(error, Error::RegistryNotFound(_)), "{error}");
    assert_eq!(error.to_string(), format!("{}/app:none: not found", registry.base()));
    for (i, (body, reason)) in [
        ("{", "malformed manifest"),
        (r#"{"schemaVersion":1}"#, "schema version 1"),
        (r#"{"schemaVersion":2,"manifests":[]}"#, "no match for platform"),
    ]
    .into_iter()
    .enumerate()
    {
        registry.put_manifest("bad", &i.to_string(), "application/json", body.as_bytes());
        let error = pull(&store, &registry, &format!("bad:{i}")).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    // A size that is a lie.
    let config = registry.put_blob(b"{\"rootfs\":{}}");
    let manifest = Manifest::new(Descriptor::new(OCI_CONFIG, config, 3), vec![]).to_bytes();
    registry.put_manifest("lie", "1", OCI_MANIFEST, &manifest);
    let clean = Registry::start(Options::default()).await;
    let config = clean.put_blob(b"{\"rootfs\":{}}");
    let manifest = Manifest::new(Descriptor::new(OCI_CONFIG, config, 3), vec![]).to_bytes();
    clean.put_manifest("lie", "1", OCI_MANIFEST, &manifest);
    let error = pull(&store, &clean, "lie:1").await.unwrap_err().to_string();
    assert!(error.contains("longer than the 3 bytes"), "{error}");
    let error = store.pull("127.0.0.1:1/x:1", &PullOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
    assert!(store.list().unwrap().is_empty());
    for part in ["tmp", "layers", "blobs/sha256"] {
        let n = store.dir().join(part).read_dir().unwrap().count();
        assert_eq!(n, 0, "{part}");
    }
}

#[tokio::test]
async fn tls_is_checked_unless_told_otherwise() {
    if !root_or_skip("tls_is_checked_unless_told_otherwise") {
        return;
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["registry.localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let registry =
        Registry::start(Options { tls: Some(Arc::new(config)), ..Options::default() }).await;
    publish(&registry, "app", "1", "amd64");
    let (dir, store) = store();
    // Loopback: whatever certificate there is will do.
    pull(&store, &registry, "app:1").await.unwrap();
    // By a name that is not obviously loopback, if it resolves here.
    let name = format!("registry.localhost:{}/app:1", registry.port());
    if tokio::net::lookup_host(("registry.localhost", 80)).await.is_err() {
        eprintln!(
            "tls_is_checked_unless_told_otherwise: *.localhost does not resolve, the rest is skipped"
        );
        return;
    }
    let error = store.pull(&name, &PullOptions::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable(text) if text.contains("TLS")), "{error}");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).unwrap();
    for registry in [
        RegistryOptions { ca_file: Some(ca), ..RegistryOptions::default() },
        RegistryOptions {
            insecure: vec![format!("registry.localhost:{}", registry.port())],
            ..RegistryOptions::default()
        },
    ] {
        store.pull(&name, &PullOptions { registry, ..PullOptions::default() }).await.unwrap();
    }
}
