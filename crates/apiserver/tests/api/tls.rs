//! The whole way over TLS, with the other transport of the client trait.

use std::time::Duration;

use futures::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use timonier_apiserver::ServingTls;
use timonier_client::{
    Client, DeleteOptions, HttpsClient, HttpsConfig, ListOptions, PatchType, WatchEvent,
    WriteOptions,
};
use timonier_meta::gvk::resources::CONFIGMAPS;
use timonier_object::value;

use crate::common::{config, config_map, server_with, store};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(ca: &Authority, name: &str, group: &str, names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, group);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn certificates_say_who_asks() {
    let ca = authority();
    let (certificate, key) = leaf(&ca, "kube-apiserver", "x", &["127.0.0.1"]);
    let tls = ServingTls {
        certificate_pem: certificate.into_bytes(),
        key_pem: key.into_bytes(),
        client_ca_pem: ca.pem().into_bytes(),
    };
    let server = server_with(config(), store().await).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let serving = {
        let server = server.clone();
        tokio::spawn(async move { server.serve(listener, &tls).await })
    };
    let connect = |client: Option<(String, String)>| {
        let config = HttpsConfig { server: address.clone(), ca: ca.pem(), client, token: None };
        HttpsClient::new(&config).unwrap()
    };
    let master = connect(Some(leaf(&ca, "admin", "system:masters", &[])));
    let jane = connect(Some(leaf(&ca, "jane", "dev", &[])));
    let nobody = connect(None);
    let stranger = connect(Some(leaf(&authority(), "admin", "system:masters", &[])));
    let options = WriteOptions::default();

    let mut watch = master.watch(&CONFIGMAPS, "default", &ListOptions::default()).await.unwrap();
    assert!(matches!(
        watch.next().await.unwrap().unwrap(),
        WatchEvent::Bookmark { initial_events_end: true, .. }
    ));
    master.create(&CONFIGMAPS, "default", "", "", config_map("a"), &options).await.unwrap();
    assert!(matches!(watch.next().await.unwrap().unwrap(), WatchEvent::Added(_)));
    let patch = value!({ "data": { "x": "y" } });
    let patched = master
        .patch(&CONFIGMAPS, "default", "a", "", PatchType::Merge, patch, &options)
        .await
        .unwrap();
    assert_eq!(patched.at("data.x").str(), "y");
    for (client, name) in [(&jane, "jane"), (&nobody, "system:anonymous")] {
        let error = client.get(&CONFIGMAPS, "default", "a").await.unwrap_err();
        assert_eq!(error.code, 403);
        assert!(error.message.contains(&format!("User \"{name}\" cannot get")), "{error}");
    }
    assert!(stranger.get(&CONFIGMAPS, "default", "a").await.is_err(), "another authority's word");
    master.delete(&CONFIGMAPS, "default", "a", &DeleteOptions::default()).await.unwrap();

    server.shutdown();
    let mut left = watch;
    let ended = async { while let Some(Ok(_)) = left.next().await {} };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the watch ends");
    drop((master, jane, nobody, stranger));
    tokio::time::timeout(Duration::from_secs(10), serving)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn renewed_certificates_are_used_by_new_connections() {
    let (ca, other) = (authority(), authority());
    let tls = |authority: &Authority| {
        let (certificate, key) = leaf(authority, "kube-apiserver", "x", &["127.0.0.1"]);
        ServingTls {
            certificate_pem: certificate.into_bytes(),
            key_pem: key.into_bytes(),
            client_ca_pem: ca.pem().into_bytes(),
        }
    };
    let server = server_with(config(), store().await).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let (first, serving) = (tls(&ca), server.clone());
    tokio::spawn(async move { serving.serve(listener, &first).await });
    let connect = |trusted: &Authority| {
        let client = Some(leaf(&ca, "admin", "system:masters", &[]));
        let (server, ca) = (address.clone(), trusted.pem());
        HttpsClient::new(&HttpsConfig { server, ca, client, token: None }).unwrap()
    };
    let options = WriteOptions::default();
    let create = async |client: &HttpsClient, name: &str| {
        client.create(&CONFIGMAPS, "default", "", "", config_map(name), &options).await
    };

    // The client's: from the next request on, while a watch goes on.
    let client = connect(&ca);
    let mut watch = client.watch(&CONFIGMAPS, "default", &ListOptions::default()).await.unwrap();
    watch.next().await.unwrap().unwrap();
    let (certificate, key) = leaf(&ca, "jane", "dev", &[]);
    assert!(client.set_certificate(&certificate, "no key").is_err());
    create(&client, "a").await.unwrap();
    assert!(matches!(watch.next().await.unwrap().unwrap(), WatchEvent::Added(_)));
    client.set_certificate(&certificate, &key).unwrap();
    let error = create(&client, "b").await.unwrap_err();
    assert!(error.message.contains("User \"jane\""), "{error}");
    create(&connect(&ca), "c").await.unwrap();
    assert!(matches!(watch.next().await.unwrap().unwrap(), WatchEvent::Added(_)));

    // The server's: for new connections; one that is broken changes nothing.
    let before = connect(&ca);
    create(&before, "d").await.unwrap();
    let broken = ServingTls { key_pem: Vec::new(), ..tls(&ca) };
    assert!(server.set_serving_tls(&broken).is_err());
    create(&connect(&ca), "e").await.unwrap();
    server.set_serving_tls(&tls(&other)).unwrap();
    assert!(create(&connect(&ca), "f").await.is_err());
    create(&connect(&other), "g").await.unwrap();
    create(&before, "h").await.unwrap();
    server.shutdown();
}
