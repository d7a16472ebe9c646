//! `/version`.

use http::Response;
use timonier_object::{json, value};

use crate::http::respond::{self, Body};

/// The version of Kubernetes that this server behaves as.
pub const GIT_VERSION: &str = "v1.35.0";

/// Says which version this is.
pub fn serve() -> Response<Body> {
    let version = value!({
        "major": "1", "minor": "35", "emulationMajor": "1", "emulationMinor": "35",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "34",
        "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "",
        "goVersion": "", "compiler": "rustc",
        "platform": (format!("linux/{}", architecture())),
    });
    // Upstream indents this answer whoever asks.
    let text = serde_json::to_vec_pretty(&version).unwrap_or_else(|_| json::encode(&version));
    respond::answer(200, "application/json", text)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
