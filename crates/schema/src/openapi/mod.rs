//! OpenAPI documents: v3 (an index, one document per group-version) and v2 (JSON, and the
//! protobuf form that clients of v2 ask for).
//!
//! Documents are made on demand and not kept: the server packs and caches what it serves.

mod custom;
mod gnostic;
mod merge;
mod operations;
mod paths;
mod schemas;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_meta::GroupVersion;
use timonier_object::{Value, value};

use crate::aggregation::Aggregation;
use crate::builtin;
use crate::catalogue::Catalogue;
use crate::row::ResourceRow;
use schemas::{Dialect, Schemas};

/// The media type by which clients ask for the protobuf form of v2.
pub const V2_PROTOBUF_ACCEPT: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The content type of the protobuf form of v2. It is not the type that was asked for: Go's parser
/// refuses the `@` in an answer.
pub const V2_PROTOBUF_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/openapi/v3`: the documents and the hashes that name their content.
pub fn v3_index(catalogue: &Catalogue, aggregation: &Aggregation) -> Value {
    let mut paths = Value::object();
    for gv in catalogue.group_versions() {
        if aggregation.get(&gv).is_some() {
            continue;
        }
        let path = document_path(&gv);
        let url = format!("/openapi/v3/{path}?hash={}", v3_hash(catalogue, &gv));
        let documents = paths.make_object();
        documents.insert(path, value!({ "serverRelativeURL": url }));
    }
    for (remote, told) in aggregation.remotes().filter(|(_, told)| !told.openapi_v3.is_null()) {
        let entry = merge::index_entry(&told.openapi_v3);
        paths.make_object().insert(document_path(&remote.gv), entry);
    }
    value!({ "paths": paths })
}

/// The hash of a group-version's document: it changes when the document does.
pub fn v3_hash(catalogue: &Catalogue, gv: &GroupVersion) -> String {
    let mut hash = builtin::FINGERPRINT;
    for row in catalogue.group_version(gv) {
        for byte in row.gvr.to_string().bytes().chain(row.fingerprint.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    format!("{hash:016X}")
}

/// `/openapi/v3/{path}`, such as `api/v1` or `apis/apps/v1`; `None` where nothing is served.
pub fn v3_document(catalogue: &Catalogue, path: &str) -> Option<Value> {
    let gv = match path.strip_prefix("apis/") {
        Some(named) => GroupVersion::parse(named).filter(|gv| !gv.group.is_empty())?,
        None => GroupVersion::new_static("", "v1"),
    };
    if document_path(&gv) != path {
        return None;
    }
    let rows: Vec<&Arc<ResourceRow>> = catalogue.group_version(&gv).collect();
    if rows.is_empty() {
        return None;
    }
    let mut schemas = Schemas::new(catalogue, Dialect::V3);
    let mut paths = Value::object();
    paths::group_version(&gv, Dialect::V3, &mut schemas, &mut paths);
    for row in rows {
        paths::resource(row, Dialect::V3, &mut schemas, &mut paths);
    }
    sort(&mut paths);
    Some(value!({
        "openapi": "3.0.0",
        "info": (info()),
        "paths": paths,
        "components": {
            "schemas": (schemas.finish()),
            "securitySchemes": { "BearerToken": (bearer_token()) },
        },
    }))
}

/// `/openapi/v2`: one document of everything.
pub fn v2(catalogue: &Catalogue, aggregation: &Aggregation) -> Value {
    let mut schemas = Schemas::new(catalogue, Dialect::V2);
    let mut paths = Value::object();
    let ours = |gv: &GroupVersion| aggregation.get(gv).is_none();
    for gv in catalogue.group_versions().into_iter().filter(ours) {
        paths::group_version(&gv, Dialect::V2, &mut schemas, &mut paths);
    }
    for row in catalogue.rows().filter(|row| ours(&row.gvr.group_version())) {
        paths::resource(row, Dialect::V2, &mut schemas, &mut paths);
    }
    sort(&mut paths);
    let mut document = value!({
        "swagger": "2.0",
        "info": (info()),
        "paths": paths,
        "definitions": (schemas.finish()),
        "securityDefinitions": { "BearerToken": (bearer_token()) },
        "security": [{ "BearerToken": [] }],
    });
    for (remote, told) in aggregation.remotes().filter(|(_, told)| !told.openapi_v2.is_null()) {
        merge::add(&mut document, remote, &told.openapi_v2);
    }
    document
}

/// `/openapi/v2` as [`V2_PROTOBUF_TYPE`].
pub fn v2_protobuf(catalogue: &Catalogue, aggregation: &Aggregation) -> Vec<u8> {
    gnostic::encode(&v2(catalogue, aggregation))
}

fn document_path(gv: &GroupVersion) -> String {
    if gv.group.is_empty() { format!("api/{}", gv.version) } else { format!("apis/{gv}") }
}

fn info() -> Value {
    value!({ "title": "Kubernetes", "version": "v1.35.0" })
}

fn bearer_token() -> Value {
    value!({
        "description": "Bearer Token authentication",
        "in": "header", "name": "authorization", "type": "apiKey",
    })
}

fn sort(v: &mut Value) {
    if let Value::Object(map) = v {
        map.sort_keys();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_names_every_document() {
        let c = Catalogue::builtin();
        let index = v3_index(&c, &Aggregation::default());
        assert_eq!(index.at("paths").entries().count(), c.group_versions().len());
        for (path, entry) in index.at("paths").entries() {
            assert!(v3_document(&c, path).is_some(), "{path}");
            let url = entry.at("serverRelativeURL").str();
            assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
        }
        for path in ["apis/apps/v2", "api", "apis//v1", "api/v2", "x"] {
            assert!(v3_document(&c, path).is_none(), "{path}");
        }
    }

    /// Every reference of a document leads somewhere in it.
    fn check_references(document: &Value, v: &Value) {
        match v {
            Value::Object(map) => {
                for (key, child) in map.iter() {
                    if let ("$ref", Some(target)) = (key, child.as_str()) {
                        let mut at = document;
                        for part in target.trim_start_matches("#/").splitn(3, '/') {
                            at = at
                                .get(part)
                                .or_else(|| {
                                    let (a, b) = part.split_once('/')?;
                                    at.get(a)?.get(b)
                                })
                                .unwrap_or_else(|| panic!("{target}"));
                        }
                    }
                    check_references(document, child);
                }
            }
            Value::Array(items) => items.iter().for_each(|i| check_references(document, i)),
            _ => {}
        }
    }

    #[test]
    fn references_lead_somewhere() {
        let c = Catalogue::builtin();
        for path in ["api/v1", "apis/apps/v1", "apis/apiextensions.k8s.io/v1"] {
            let d = v3_document(&c, path).unwrap();
            check_references(&d, &d);
        }
        let d = v2(&c, &Aggregation::default());
        check_references(&d, &d);
    }

    #[test]
    fn kubectl_finds_dry_run_and_field_validation() {
        let d = v3_document(&Catalogue::builtin(), "apis/apps/v1").unwrap();
        let patch = d
            .at("paths")
            .get("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
            .unwrap()
            .at("patch");
        assert_eq!(patch.at("operationId").str(), "patchAppsV1NamespacedDeployment");
        assert_eq!(
            patch.at("x-kubernetes-group-version-kind"),
            &value!({ "group": "apps", "version": "v1", "kind": "Deployment" })
        );
        let names: Vec<&str> =
            patch.at("parameters").items().iter().map(|p| p.at("name").str()).collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    }

    #[test]
    fn the_protobuf_form_is_made_of_the_json() {
        let bytes = v2_protobuf(&Catalogue::builtin(), &Aggregation::default());
        assert_eq!(bytes[..5], [0x0a, 3, b'2', b'.', b'0']);
        assert!(bytes.len() > 500_000);
    }
}
