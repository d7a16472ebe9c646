//! The user's kubeconfig: taking a cluster out of it leaves it readable, or as it was.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use timonier_cli::kubeconfig;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "kubeconfig",
    run,
    seeds: || {
        texts(&[
            "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters:\n- name: x\n  cluster: {server: 'https://h:6443', certificate-authority-data: Y2E=}\ncontexts:\n- context: {cluster: x, user: x}\n  name: x\nusers: [{name: x, user: {token: t}}]\npreferences: {}\n",
            "{\"apiVersion\":\"v1\",\"clusters\":null,\"current-context\":5}",
            "clusters: [{name: x, cluster: {certificate-authority-data: Y2E=}}]\n",
        ])
    },
    words: &[
        "- name: x\n",
        "clusters:",
        "contexts:",
        "users:",
        "current-context: ",
        "\n",
        "  ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "~",
        "|\n",
        "'",
        "\"",
    ],
};

fn run(input: &[u8]) {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        std::env::temp_dir().join(format!("timonier-fuzz-kubeconfig-{}", std::process::id()))
    });
    if fs::write(file, input).is_err() {
        return;
    }
    let before = kubeconfig::current_context(file);
    match kubeconfig::remove(file, "x", "ca") {
        Ok(()) => {
            assert!(before.is_ok(), "a file was taken that cannot be read");
            let after = kubeconfig::current_context(file);
            assert!(after.is_ok(), "the file cannot be read any more: {after:?}");
        }
        Err(_) => assert_eq!(fs::read(file).ok().as_deref(), Some(input), "the file was changed"),
    }
    drop(fs::remove_file(file));
}
