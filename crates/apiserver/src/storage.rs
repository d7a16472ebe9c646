//! Objects at rest: their keys and their bytes.
//!
//! A stored value is a little-endian `u32` and JSON. The number is the offset in the JSON where
//! the resource version belongs; [`stamp`] writes it there when a write becomes visible, so that
//! readers have the object's whole JSON without decoding it.

use bytes::{BufMut, Bytes, BytesMut};
use smol_str::{SmolStr, SmolStrBuilder};
use timonier_meta::GroupVersionResource;
use timonier_object::{Map, Value, json};
use timonier_schema::ResourceRow;

/// The offset of a value that carries no resource version.
const UNSTAMPED: u32 = u32::MAX;

/// The prefix of all keys of a resource, or of those in one namespace.
pub fn prefix(row: &ResourceRow, namespace: &str) -> SmolStr {
    resource_key(&row.storage, if row.namespaced { namespace } else { "" }, "")
}

/// The key of an object.
pub fn key(row: &ResourceRow, namespace: &str, name: &str) -> SmolStr {
    resource_key(&row.storage, if row.namespaced { namespace } else { "" }, name)
}

/// `/registry/<group>/<plural>/<namespace>/<name>`; the core group is `core`, and parts that are
/// empty fall away.
pub fn resource_key(storage: &GroupVersionResource, namespace: &str, name: &str) -> SmolStr {
    let mut key = SmolStrBuilder::new();
    let group = if storage.group.is_empty() { "core" } else { storage.group.as_str() };
    for part in ["/registry/", group, "/", &storage.resource, "/"] {
        key.push_str(part);
    }
    if !namespace.is_empty() {
        key.push_str(namespace);
        key.push('/');
    }
    key.push_str(name);
    key.finish()
}

/// The order in which upstream writes metadata. The resource version comes after the uid.
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// The bytes to store for an object; a resource version in it is left out.
pub fn encode(object: &Value) -> Bytes {
    let mut out = BytesMut::with_capacity(1024);
    out.put_u32_le(UNSTAMPED);
    out.put_u8(b'{');
    let mut offset = UNSTAMPED;
    for (i, (name, value)) in object.entries().enumerate() {
        if i > 0 {
            out.put_u8(b',');
        }
        put_name(&mut out, name);
        match value {
            Value::Object(metadata) if name == "metadata" => {
                offset = put_metadata(&mut out, metadata).unwrap_or(UNSTAMPED);
            }
            other => out.put_slice(&json::encode(other)),
        }
    }
    out.put_u8(b'}');
    out[..4].copy_from_slice(&offset.to_le_bytes());
    out.freeze()
}

fn put_name(out: &mut BytesMut, name: &str) {
    out.put_slice(&json::encode(&Value::from(name)));
    out.put_u8(b':');
}

/// Writes metadata in upstream's order; gives where the resource version belongs.
fn put_metadata(out: &mut BytesMut, metadata: &Map) -> Option<u32> {
    let position = |name: &str| METADATA.iter().position(|m| *m == name).unwrap_or(METADATA.len());
    let mut fields: Vec<(&str, &Value)> =
        metadata.iter().filter(|(name, _)| *name != "resourceVersion").collect();
    fields.sort_by_key(|(name, _)| position(name));
    let place = fields.iter().position(|(name, _)| position(name) > position("resourceVersion"));
    // The stamp ends with a comma, so that a field has to follow.
    let place = place.unwrap_or(0);
    let mut offset = None;
    out.put_u8(b'{');
    for (i, (name, value)) in fields.iter().enumerate() {
        if i > 0 {
            out.put_u8(b',');
        }
        if i == place {
            offset = u32::try_from(out.len() - 4).ok();
        }
        put_name(out, name);
        out.put_slice(&json::encode(value));
    }
    out.put_u8(b'}');
    offset
}

/// The bytes of a value that is no object and gets no resource version.
pub fn encode_plain(text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + text.len());
    out.put_u32_le(UNSTAMPED);
    out.put_slice(text.as_bytes());
    out.freeze()
}

/// Makes what readers see of stored bytes: JSON with the resource version in its place. This is
/// the store's stamp function.
pub fn stamp(stored: &Bytes, revision: u64) -> Bytes {
    let Some((head, json)) = stored.split_first_chunk::<4>() else { return stored.clone() };
    let offset = u32::from_le_bytes(*head) as usize;
    if offset > json.len() {
        return stored.slice(4..);
    }
    let mut out = BytesMut::with_capacity(json.len() + 44);
    out.put_slice(&json[..offset]);
    out.put_slice(format!("\"resourceVersion\":\"{revision}\",").as_bytes());
    out.put_slice(&json[offset..]);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn the_stamp_goes_where_upstream_writes_it() {
        let pod = value!({ "kind": "Pod", "apiVersion": "v1", "metadata": {
            "labels": { "a": "\"b\"" }, "creationTimestamp": "x", "uid": "u", "resourceVersion": "old", "name": "n" },
            "spec": { "x": null } });
        let stamped = stamp(&encode(&pod), 42);
        assert_eq!(
            std::str::from_utf8(&stamped).unwrap(),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"n","uid":"u","resourceVersion":"42","creationTimestamp":"x","labels":{"a":"\"b\""}},"spec":{"x":null}}"#
        );
        let bare = value!({ "metadata": { "name": "n" } });
        assert_eq!(
            &stamp(&encode(&bare), 1)[..],
            br#"{"metadata":{"resourceVersion":"1","name":"n"}}"#
        );
    }

    #[test]
    fn odd_values_are_left_alone() {
        assert_eq!(&stamp(&encode_plain("hello"), 3)[..], b"hello");
        assert_eq!(&stamp(&Bytes::from_static(b"ab"), 3)[..], b"ab");
        assert_eq!(&stamp(&encode(&value!({ "metadata": {} })), 3)[..], br#"{"metadata":{}}"#);
        assert_eq!(&stamp(&encode(&value!({})), 3)[..], b"{}");
    }

    #[test]
    fn keys_sort_namespaces_together() {
        let pods = timonier_meta::gvk::resources::PODS;
        assert_eq!(resource_key(&pods, "ns", "a"), "/registry/core/pods/ns/a");
        assert_eq!(resource_key(&pods, "", ""), "/registry/core/pods/");
        assert_eq!(
            resource_key(&timonier_meta::gvk::resources::PRIORITYCLASSES, "", "x"),
            "/registry/scheduling.k8s.io/priorityclasses/x"
        );
    }
}
