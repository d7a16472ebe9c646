//! Kubernetes' protobuf encoding (`application/vnd.kubernetes.protobuf`), driven by the field
//! numbers of the facts.
//!
//! ```text
//! "k8s\0" Unknown{ typeMeta{apiVersion, kind}, raw } ─► raw by the kind's schema ─► Value
//! ```
//!
//! Bytes from outside: every length is checked, nesting is bounded, unknown fields are skipped.

mod message;
mod wire;

use alloc::format;
use alloc::string::{String, ToString};

use smol_str::SmolStr;
use timonier_meta::{GroupVersion, GroupVersionKind};
use timonier_object::Value;

use crate::catalogue::Catalogue;
use crate::decode;
use message::Decoder;
use wire::{Field, Reader};

/// What every encoded object starts with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Whether the bytes are an encoded object.
pub fn is_protobuf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Decodes an object of any kind that the catalogue knows. The result is as [`crate::decode`]
/// leaves it. Custom resources have no protobuf form. The error says what is wrong.
pub fn decode(catalogue: &Catalogue, bytes: &[u8]) -> Result<Value, String> {
    let mut value = decode_enveloped(catalogue, bytes, 0)?;
    let gvk = value.gvk().ok_or("no kind in the protobuf envelope")?;
    let schema = catalogue.schema_of(&gvk).ok_or_else(|| no_kind(&gvk))?;
    decode::typed(schema, &mut value)?;
    Ok(value)
}

fn no_kind(gvk: &GroupVersionKind) -> String {
    format!(
        "no kind {:?} is registered for version {:?}",
        gvk.kind,
        gvk.group_version().to_string()
    )
}

fn decode_enveloped(catalogue: &Catalogue, bytes: &[u8], depth: usize) -> Result<Value, String> {
    let envelope = bytes
        .strip_prefix(MAGIC)
        .ok_or("provided data does not appear to be a protobuf message, expected prefix k8s")?;
    let (mut api_version, mut kind) = (SmolStr::default(), SmolStr::default());
    let mut raw: &[u8] = &[];
    let mut reader = Reader::new(envelope);
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Bytes(type_meta)) => {
                let mut reader = Reader::new(type_meta);
                while let Some((number, field)) = reader.next()? {
                    match (number, field) {
                        (1, Field::Bytes(b)) => api_version = wire::text(b),
                        (2, Field::Bytes(b)) => kind = wire::text(b),
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(b)) => raw = b,
            (3, Field::Bytes(b)) if !b.is_empty() => {
                return Err(format!("content encoding {:?} is not supported", wire::text(b)));
            }
            _ => {}
        }
    }
    let bad =
        || format!("unable to decode: apiVersion {api_version:?} and kind {kind:?} name no kind");
    let GroupVersion { group, version } = GroupVersion::parse(&api_version).ok_or_else(bad)?;
    let gvk = GroupVersionKind { group, version, kind: kind.clone() };
    if gvk.version.is_empty() || gvk.kind.is_empty() {
        return Err(bad());
    }
    let schema = catalogue.schema_of(&gvk).filter(|s| s.is_built_in());
    let schema = schema.ok_or_else(|| no_kind(&gvk))?;
    let mut out = Value::object();
    out.set("kind", kind);
    out.set("apiVersion", api_version);
    let fields = out.make_object();
    Decoder { catalogue }.fields(schema, &[], raw, fields, depth)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    /// A field with bytes.
    pub(super) fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = alloc::vec![number << 3 | 2, content.len() as u8];
        out.extend_from_slice(content);
        out
    }

    fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw)].concat()
    }

    #[test]
    fn a_config_map_decodes() {
        let entry = [bytes(1, b"k"), bytes(2, b"v")].concat();
        let metadata = bytes(1, b"name");
        let raw = [bytes(1, &metadata), bytes(2, &entry)].concat();
        let v = decode(&Catalogue::builtin(), &enveloped("v1", "ConfigMap", &raw)).unwrap();
        assert_eq!(
            v,
            value!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": "name" }, "data": { "k": "v" },
            })
        );
    }

    #[test]
    fn zero_values_go_only_where_go_has_no_pointer() {
        // Deployment.spec.replicas = 0, spec.paused = false.
        let raw = bytes(2, &[1 << 3, 0, 7 << 3, 0]);
        let v = decode(&Catalogue::builtin(), &enveloped("apps/v1", "Deployment", &raw)).unwrap();
        assert_eq!(v.at("spec.replicas").as_i64(), Some(0));
        assert!(v.at("spec").get("paused").is_none());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let c = Catalogue::builtin();
        for (bytes, text) in [
            (b"{}".to_vec(), "expected prefix"),
            (MAGIC.to_vec(), "name no kind"),
            (
                enveloped("v1", "Nothing", b""),
                "no kind \"Nothing\" is registered for version \"v1\"",
            ),
            (enveloped("v1", "Pod", &[0x0a]), "unexpected end"),
            (enveloped("v1", "Pod", &[0x0a, 0x7f]), "unexpected end"),
        ] {
            let error = decode(&c, &bytes).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        // JSONSchemaProps.not.not.not…
        let mut raw = Vec::new();
        for _ in 0..200 {
            let mut outer = alloc::vec![(28u8 << 3 | 2), 1];
            wire::tests_put_varint(&mut outer, raw.len() as u64);
            outer.extend_from_slice(&raw);
            raw = outer;
        }
        let schema = crate::builtin::schema_named("apiextensions.v1.JSONSchemaProps").unwrap();
        let c = Catalogue::builtin();
        let mut map = timonier_object::Map::new();
        let error = Decoder { catalogue: &c }.fields(schema, &[], &raw, &mut map, 0).unwrap_err();
        assert!(error.contains("nested too deeply"), "{error}");
    }
}
