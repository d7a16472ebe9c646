//! YAML to and from [`Value`].

use alloc::format;
use alloc::string::{String, ToString};

use crate::Value;

/// Reads one YAML document (JSON is one too). The error says what is wrong and where. Aliases,
/// depth and size are bounded by the parser's budget.
pub fn decode(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str_with_options::<Value>(text, options()).map_err(|e| e.to_string())
}

/// As upstream reads plain scalars: `0644` is octal.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { legacy_octal_numbers: true }
}

/// Reads one YAML document in which keys may stand twice: the last counts. Gives Go's text about
/// the first that does.
pub fn decode_loose(text: &str) -> Result<(Value, Option<String>), String> {
    let twice = match serde_saphyr::from_str_with_options::<Value>(text, options()) {
        Ok(value) => return Ok((value, None)),
        Err(error) => match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key, location } => {
                let key = key.clone().unwrap_or_default();
                let line = location.line();
                format!("yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map")
            }
            _ => return Err(error.to_string()),
        },
    };
    let mut options = options();
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::LastWins;
    let value = serde_saphyr::from_str_with_options::<Value>(text, options);
    Ok((value.map_err(|e| e.to_string())?, Some(twice)))
}

/// Writes YAML in block style, fields in their order.
pub fn encode(value: &Value) -> Result<String, String> {
    serde_saphyr::to_string(value).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn round_trips() {
        let v = value!({
            "a": { "b": [1, "x", { "c": true }], "empty": {}, "none": [] }, "text": "l1\nl2\n",
            "number": "12", "bool": "true", "null": "null", "n": null, "f": 1.5, "colon": "a: b",
            "date": "2026-11-21", "octal": "0755", "tilde": "~", "space": " x ",
        });
        assert_eq!(decode(&encode(&v).unwrap()).unwrap(), v);
    }

    #[test]
    fn manifests_read_as_clients_write_them() {
        let v = decode("apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n    args: ['-c', \"x\"]\n    ports: [{containerPort: 80}]\n  x: 0644\n  y: ~\n  z: 08\n").unwrap();
        assert_eq!(v.at("spec.x").as_i64(), Some(0o644));
        assert_eq!(v.at("spec.z").as_f64(), Some(8.0));
        assert_eq!(v.at("spec.containers").items()[0].at("args").items()[1].str(), "x");
        assert_eq!(
            v.at("spec.containers").items()[0].at("ports").items()[0].at("containerPort").as_i64(),
            Some(80)
        );
        assert!(v.at("spec.y").is_null());
    }

    #[test]
    fn keys_that_stand_twice_are_named() {
        let (value, twice) = decode_loose("a: 1\nb:\n  c: 1\n  c: 2\n").unwrap();
        assert_eq!(value, value!({ "a": 1, "b": { "c": 2 } }));
        assert_eq!(
            twice.unwrap(),
            "yaml: unmarshal errors:\n  line 4: key \"c\" already set in map"
        );
        assert_eq!(decode_loose("a: 1").unwrap().1, None);
        assert!(decode_loose("a: [").is_err());
    }

    #[test]
    fn bad_documents_are_refused() {
        for bad in ["a: [", "a: b: c", "a: 1\n---\nb: 2\n", "*x"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
        assert!(decode(bomb).is_err());
    }
}
