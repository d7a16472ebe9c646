//! Decodes upstream's golden objects of every stable kind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use timonier_meta::{GroupVersion, GroupVersionKind};
use timonier_object::{Value, json};
use timonier_schema::{Catalogue, decode, protobuf};

/// The directory of golden data; it is not part of the repository.
fn golden() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = root.ancestors().map(|d| d.join("shared/data/golden-v1.35")).find(|p| p.is_dir());
    if found.is_none() {
        eprintln!("skipped: no golden data next to the workspace");
    }
    found
}

/// The golden files of kinds that the catalogue knows, without their extension.
fn known(dir: &Path, catalogue: &Catalogue) -> Vec<(PathBuf, GroupVersionKind)> {
    let mut stems: BTreeSet<PathBuf> = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        stems.insert(entry.unwrap().path().with_extension(""));
    }
    let gvk = |stem: &Path| {
        let text = fs::read(with(stem, "json")).ok()?;
        let v = json::decode(&text).ok()?;
        let gv = GroupVersion::parse(v.api_version())?;
        let gvk = GroupVersionKind { group: gv.group, version: gv.version, kind: v.kind().into() };
        catalogue.schema_of(&gvk).map(|_| gvk)
    };
    stems.into_iter().filter_map(|s| gvk(&s).map(|k| (s, k))).collect()
}

fn with(stem: &Path, extension: &str) -> PathBuf {
    PathBuf::from(format!("{}.{extension}", stem.display()))
}

fn read(stem: &Path) -> Value {
    json::decode(&fs::read(with(stem, "json")).unwrap()).unwrap()
}

fn catalogue() -> Arc<Catalogue> {
    Catalogue::builtin()
}

/// Decoding what Go wrote changes nothing.
#[test]
fn json_round_trips() {
    let Some(dir) = golden() else { return };
    let catalogue = catalogue();
    let files = known(&dir, &catalogue);
    assert!(files.len() >= 75, "only {} golden kinds known", files.len());
    for (stem, gvk) in files {
        let expected = read(&stem);
        let mut value = expected.clone();
        let unknown = decode::typed(catalogue.schema_of(&gvk).unwrap(), &mut value).unwrap();
        assert!(unknown.is_empty(), "{gvk}: {unknown:?}");
        assert_same(&gvk, &value, &expected);
    }
}

/// Field numbers, special types and omitted zero values are upstream's, kind by kind.
#[test]
fn protobuf_decodes_to_the_json_twin() {
    let Some(dir) = golden() else { return };
    let catalogue = catalogue();
    for (stem, gvk) in known(&dir, &catalogue) {
        let bytes = fs::read(with(&stem, "pb")).unwrap();
        let value = protobuf::decode(&catalogue, &bytes).unwrap_or_else(|e| panic!("{gvk}: {e}"));
        assert_same(&gvk, &value, &read(&stem));
    }
}

/// Truncated and altered bytes are errors or objects, and never panic.
#[test]
fn hostile_protobuf_never_panics() {
    let Some(dir) = golden() else { return };
    let catalogue = catalogue();
    let mut seed = 1u64;
    for name in ["core.v1.Pod", "apiextensions.k8s.io.v1.CustomResourceDefinition", "core.v1.Node"]
    {
        let Ok(bytes) = fs::read(dir.join(format!("{name}.pb"))) else { continue };
        for i in 0..300 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = bytes.clone();
            let at = (seed >> 33) as usize % bytes.len();
            match i % 3 {
                0 => bytes.truncate(at),
                1 => bytes[at] = (seed >> 20) as u8,
                _ => {
                    bytes.insert(at, 0xff);
                }
            }
            let _ = protobuf::decode(&catalogue, &bytes);
        }
    }
}

/// Fails with the first difference.
fn assert_same(gvk: &GroupVersionKind, actual: &Value, expected: &Value) {
    if let Some(d) = difference("", actual, expected) {
        panic!("{gvk}: {d}");
    }
}

fn difference(path: &str, a: &Value, e: &Value) -> Option<String> {
    match (a, e) {
        (Value::Object(a), Value::Object(e)) => {
            let names: BTreeSet<&str> = a.keys().chain(e.keys()).collect();
            names.into_iter().find_map(|name| match (a.get(name), e.get(name)) {
                (Some(a), Some(e)) => difference(&format!("{path}.{name}"), a, e),
                (a, e) => Some(format!("{path}.{name}: {a:?} for {e:?}")),
            })
        }
        (Value::Array(a), Value::Array(e)) if a.len() == e.len() => a
            .iter()
            .zip(e.iter())
            .enumerate()
            .find_map(|(i, (a, e))| difference(&format!("{path}[{i}]"), a, e)),
        (a, e) => (a != e).then(|| format!("{path}: {a} for {e}")),
    }
}
