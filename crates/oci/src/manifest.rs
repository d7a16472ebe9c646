//! Manifests and indexes, in OCI's and Docker's (v2, schema 2) forms.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result, corrupt};
use crate::platform::Platform;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest or an index may have this many bytes; registries allow no more than 4 MiB.
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// A configuration may have this many bytes.
pub const CONFIG_LIMIT: u64 = 8 << 20;
/// The kernel stacks no more directories than this.
pub const LAYER_LIMIT: usize = 500;

/// Points to content by digest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor of content in memory.
    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// The manifest of one image for one platform.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// The manifest of an image of our own making.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        let media_type = OCI_MANIFEST.to_owned();
        Manifest { schema_version: 2, media_type, config, layers, annotations: BTreeMap::new() }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always encode")
    }
}

/// A list of manifests, one per platform.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// The manifest that serves a platform best; the first of equals, as containerd does.
    pub fn select(&self, wanted: &Platform, reference: &str) -> Result<&Descriptor> {
        let rank = |d: &Descriptor| match &d.platform {
            Some(platform) => platform.serves(wanted),
            None if self.manifests.len() == 1 => Some(0),
            None => None,
        };
        let mut best: Option<(u32, &Descriptor)> = None;
        for descriptor in self.manifests.iter().filter(|d| is_image(d)) {
            if let Some(score) = rank(descriptor)
                && best.is_none_or(|(s, _)| score > s)
            {
                best = Some((score, descriptor));
            }
        }
        best.map(|(_, d)| d).ok_or_else(|| Error::NoPlatform {
            reference: reference.to_owned(),
            wanted: wanted.to_string(),
            available: self.platforms(),
        })
    }

    fn platforms(&self) -> String {
        let named = self.manifests.iter().filter(|d| is_image(d)).take(50);
        let names: Vec<String> =
            named.filter_map(|d| d.platform.as_ref().map(Platform::to_string)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// Build attestations sit in indexes beside the images, marked by an annotation.
fn is_image(d: &Descriptor) -> bool {
    !d.annotations.contains_key("vnd.docker.reference.type")
}

/// What a manifest document is.
#[derive(Clone, PartialEq, Debug)]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// Reads a manifest or an index. `media_type` is what the registry or the descriptor said; the
/// document's own word and shape must agree with it.
pub fn parse(bytes: &[u8], media_type: &str) -> Result<Document> {
    if bytes.len() as u64 > MANIFEST_LIMIT {
        return Err(Error::TooLarge(format!(
            "manifest of {} bytes: the limit is 4 MiB",
            bytes.len()
        )));
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        #[serde(default)]
        schema_version: u32,
        #[serde(default)]
        media_type: String,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let malformed = |e: serde_json::Error| corrupt(format!("malformed manifest: {e}"));
    let shape: Shape = serde_json::from_slice(bytes).map_err(malformed)?;
    if shape.schema_version == 1 {
        return Err(corrupt(
            "manifests of schema version 1 are not supported: push the image anew",
        ));
    }
    if shape.schema_version != 2 {
        return Err(corrupt(format!("unknown manifest schema version {}", shape.schema_version)));
    }
    if shape.manifests.is_some() && shape.config.is_some() {
        return Err(corrupt("a manifest cannot be both an index and an image"));
    }
    let said = if shape.media_type.is_empty() { media_type } else { &shape.media_type };
    let is_index = shape.manifests.is_some();
    if (is_index && is_manifest_type(said)) || (!is_index && is_index_type(said)) {
        return Err(corrupt(format!("the manifest is not what its media type {said:?} says")));
    }
    if is_index {
        return Ok(Document::Index(serde_json::from_slice(bytes).map_err(malformed)?));
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(malformed)?;
    check(&manifest)?;
    Ok(Document::Manifest(manifest))
}

pub fn is_manifest_type(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

pub fn is_index_type(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

fn check(manifest: &Manifest) -> Result<()> {
    if manifest.layers.len() > LAYER_LIMIT {
        let n = manifest.layers.len();
        return Err(Error::TooLarge(format!(
            "the image has {n} layers: the limit is {LAYER_LIMIT}"
        )));
    }
    if manifest.config.size > CONFIG_LIMIT {
        return Err(Error::TooLarge("image configuration over 8 MiB".to_owned()));
    }
    for layer in &manifest.layers {
        if !layer.media_type.is_empty() && !layer.media_type.contains("tar") {
            return Err(corrupt(format!(
                "{:?} is no image layer: the artifact is not a container image",
                layer.media_type
            )));
        }
        if layer.media_type.contains("+encrypted") {
            return Err(corrupt("encrypted layers are not supported"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(platform: &str) -> Descriptor {
        let mut d = Descriptor::of(OCI_MANIFEST, platform.as_bytes());
        d.platform = Some(Platform::parse(platform).unwrap());
        d
    }

    #[test]
    fn picks_the_platform() {
        let mut attestation = descriptor("linux/amd64");
        attestation.annotations.insert("vnd.docker.reference.type".into(), "x".into());
        let index = Index {
            schema_version: 2,
            media_type: OCI_INDEX.into(),
            manifests: vec![
                attestation,
                descriptor("linux/arm/v6"),
                descriptor("linux/arm/v7"),
                descriptor("linux/amd64"),
            ],
            annotations: BTreeMap::new(),
        };
        let pick =
            |p: &str| index.select(&Platform::parse(p).unwrap(), "x").map(|d| d.digest.clone());
        assert_eq!(pick("amd64").unwrap(), Digest::of(b"linux/amd64"));
        assert_eq!(pick("linux/arm/v7").unwrap(), Digest::of(b"linux/arm/v7"));
        let error = pick("s390x").unwrap_err().to_string();
        assert!(error.contains("linux/s390x") && error.contains("linux/arm/v6"), "{error}");
    }

    #[test]
    fn refuses_confused_documents() {
        let config = Descriptor::of(OCI_CONFIG, b"{}");
        let bytes = Manifest::new(config, vec![]).to_bytes();
        assert!(matches!(parse(&bytes, OCI_MANIFEST), Ok(Document::Manifest(_))));
        for (text, reason) in [
            ("{", "malformed"),
            (r#"{"schemaVersion":1}"#, "schema version 1"),
            (r#"{"schemaVersion":2,"manifests":[],"config":{}}"#, "both"),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#,
                "says",
            ),
            (
                r#"{"schemaVersion":2,"config":{"digest":"sha256:zz","size":1},"layers":[]}"#,
                "digest",
            ),
            (
                r#"{"schemaVersion":2,"config":{"digest":"sha256:zz","size":-1},"layers":[]}"#,
                "malformed",
            ),
        ] {
            let error = parse(text.as_bytes(), "").unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn garbage_never_panics() {
        let config = Descriptor::of(OCI_CONFIG, b"{}");
        let layer = Descriptor::of(OCI_LAYER, b"x");
        let good = Manifest::new(config, vec![layer]).to_bytes();
        let mut seed = 7u64;
        for _ in 0..3000 {
            let mut bytes = good.clone();
            for _ in 0..4 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bytes.len().max(1);
                if bytes.is_empty() {
                    break;
                }
                match seed >> 60 & 3 {
                    0 => bytes[at] = (seed >> 20) as u8,
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, (seed >> 24) as u8),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let _ = parse(&bytes, OCI_MANIFEST);
            let _ = crate::config::ConfigFile::parse(&bytes);
        }
    }
}
