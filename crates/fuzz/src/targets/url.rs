//! The URLs of requests.

use timonier_apiserver::fuzz;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "url",
    run,
    seeds: || {
        texts(&[
            "/api/v1/namespaces/default/pods/p/exec?command=a&stdin=true",
            "/apis/apps/v1/watch/namespaces/x/deployments/y",
            "/api/v1/namespaces/default/services/https:web:443/proxy/a%2Fb?c=d",
            "/api/v1/nodes/n/proxy/logs/",
            "/apis/apps/v1/deployments?fieldSelector=metadata.name%3Da&watch=1",
            "/api/v1/proxy/namespaces/a/pods/b",
        ])
    },
    words: &[
        "/",
        "//",
        "/api/v1",
        "/apis/",
        "/watch/",
        "/namespaces/",
        "/proxy/",
        "%2F",
        "%00",
        "..",
        "?",
        "&",
        "=",
        "*",
    ],
};

fn run(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        fuzz::url(text);
    }
}
