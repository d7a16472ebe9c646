//! Noise in URLs, queries and bodies: an answer each time, never a panic, never a 500.

use timonier_object::json;

use crate::common::{Api, MAPS, PODS, config_map, pod};

/// A small generator, seeded, so that a failure repeats.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    /// Changes some bytes.
    fn spoil(&mut self, bytes: &mut Vec<u8>, alphabet: &[u8]) {
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len().max(1));
            match self.next(3) {
                0 if at < bytes.len() => bytes[at] = alphabet[self.next(alphabet.len())],
                1 if at < bytes.len() => {
                    bytes.remove(at);
                }
                _ => bytes.insert(at.min(bytes.len()), alphabet[self.next(alphabet.len())]),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn spoiled_requests_get_answers() {
    let mut api = Api::start().await;
    api.account("default").await;
    api.create(PODS, pod("p")).await;
    api.create(MAPS, config_map("m")).await;
    let mut noise = Noise(0x1234_5678_9abc_def1);
    let urls = [
        format!("{PODS}?labelSelector=a%3Db&limit=2"),
        format!("{PODS}/p/binding"),
        format!("{MAPS}/m?dryRun=All"),
        format!("{MAPS}?fieldSelector=metadata.name%3Dm&resourceVersion=0"),
        "/apis/apps/v1/deployments".to_string(),
        format!("{PODS}/p/status?fieldValidation=Strict"),
        format!("{PODS}?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ"),
    ];
    let bodies = [
        json::encode(&pod("q")),
        json::encode(&config_map("n")),
        b"[{\"op\":\"add\",\"path\":\"/data/x\",\"value\":1}]".to_vec(),
        b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x05\x0a\x03\x0a\x01a".to_vec(),
        b"metadata:\n  name: y\ndata: {a: b}\n".to_vec(),
    ];
    let kinds = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/strategic-merge-patch+json",
    ];
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    for round in 0..3_000 {
        let mut url = urls[noise.next(urls.len())].clone().into_bytes();
        if noise.next(2) == 0 {
            noise.spoil(&mut url, b"/?&=%,!()aZ09.-_~2F");
        }
        let url = String::from_utf8(url).unwrap();
        if !url.starts_with('/') || url.parse::<http::Uri>().is_err() || url.contains("watch") {
            continue;
        }
        let mut body = bodies[noise.next(bodies.len())].clone();
        noise.spoil(&mut body, b"{}[]\",:\\0a9-\n\x00\xff\x0a\x12 tn");
        let method = methods[noise.next(methods.len())];
        let kind = kinds[noise.next(kinds.len())];
        let (code, answer) = api.raw(method, &url, &[("content-type", kind)], body.clone()).await;
        assert!(code < 500, "round {round}: {method} {url} {kind} {body:?}: {answer:?}");
    }
    // It still works.
    assert_eq!(api.raw("GET", MAPS, &[], "").await.0, 200);
}
