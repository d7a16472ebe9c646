//! The options in queries of requests.

use timonier_apiserver::fuzz;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "query",
    run,
    seeds: || {
        texts(&[
            "labelSelector=app%3Dweb%2Ctier+in+(a)&fieldSelector=metadata.name%3Da&limit=500&continue=abc&resourceVersion=5&resourceVersionMatch=NotOlderThan",
            "watch=1&timeoutSeconds=60&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            "dryRun=All&fieldManager=kubectl&fieldValidation=Strict&force=true",
            "gracePeriodSeconds=0&propagationPolicy=Foreground&orphanDependents=false&dryRun=None",
        ])
    },
    words: &[
        "&",
        "=",
        "%",
        "%2C",
        "%zz",
        "+",
        "limit=",
        "continue=",
        "watch=",
        "resourceVersion=",
        "dryRun=All",
        "-1",
        "18446744073709551615",
        "true",
        "\u{e9}",
    ],
};

fn run(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        fuzz::query(text);
    }
}
