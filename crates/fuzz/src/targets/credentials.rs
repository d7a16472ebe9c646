//! Pull secrets and `config.json`.

use timonier_oci::DockerConfig;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "credentials",
    run: |input| drop(DockerConfig::parse(input)),
    seeds: || {
        texts(&[
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNz"},"r:5000":{"username":"a","password":"b","identitytoken":"c","registrytoken":"d"}}}"#,
            r#"{"r":{"auth":"dXNlcg=="},"*.x.io":{}}"#,
        ])
    },
    words: &["\"auths\":", "\"auth\":", "\"", "{", "}", ":", ",", "https://", "=", "*", "/v1/"],
};
