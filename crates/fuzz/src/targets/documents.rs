//! Manifests, indexes and configurations of images, and what registries answer.

use timonier_oci::fuzz;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "documents",
    run: |input| {
        fuzz::documents(input);
    },
    seeds: || {
        texts(&[
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":32}],"annotations":{"a":"b"}}"#,
            r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":7,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}"#,
            r#"{"created":"2026-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{"User":"1:2","Env":["A=b"],"Entrypoint":["x"],"Cmd":null,"ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}},"Healthcheck":{"Test":["CMD","x"],"Interval":1}},"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"history":[{"created_by":"x","empty_layer":true}]}"#,
            r#"[{"Config":"c.json","RepoTags":["a:b","<none>:<none>"],"Layers":["l/layer.tar"]}]"#,
            r#"{"token":"t","access_token":"u","expires_in":60}"#,
        ])
    },
    words: &[
        "\"",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "null",
        "sha256:",
        "\"size\":",
        "-1",
        "\"mediaType\":",
        "\"schemaVersion\":",
        "\"digest\":",
        "\"config\":",
        "\"layers\":",
    ],
};
