//! JSON to and from [`Value`].

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use smol_str::SmolStr;
use thin_vec::ThinVec;

use crate::{Map, Value};

/// A decoded document and the fields that it set more than once (paths such as `spec.x`).
pub struct Decoded {
    pub value: Value,
    pub duplicates: Vec<String>,
}

/// Reads one JSON document. The error says what is wrong and where. Nesting deeper than 128
/// levels is refused.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    decode_strict(bytes).map(|d| d.value)
}

/// Reads one JSON document and reports fields that are set more than once.
pub fn decode_strict(bytes: &[u8]) -> Result<Decoded, String> {
    let duplicates = RefCell::new(Vec::new());
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { path: Path::Root, duplicates: &duplicates };
    let value = seed.deserialize(&mut de).map_err(|e| e.to_string())?;
    de.end().map_err(|e| e.to_string())?;
    Ok(Decoded { value, duplicates: duplicates.into_inner() })
}

/// Writes compact JSON, fields in their order, as Go does: what could mean something to HTML is
/// escaped in texts. Clients compare some fields byte for byte with what they write themselves.
pub fn encode(value: &Value) -> Vec<u8> {
    let text = serde_json::to_vec(value).expect("a Value has string keys and writes to memory");
    // Without an early end this takes many bytes at once.
    let risky = |b: &u8| *b == b'<' || *b == b'>' || *b == b'&' || *b == LINE_ENDS[0];
    if text.iter().fold(false, |found, b| found | risky(b)) { escape(&text) } else { text }
}

/// What U+2028 and U+2029 begin with.
const LINE_ENDS: [u8; 2] = [0xe2, 0x80];

/// Outside of its texts JSON has none of these.
fn escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some((first, next)) = rest.split_first() {
        let escaped = match (first, next) {
            (b'<', _) => "\\u003c",
            (b'>', _) => "\\u003e",
            (b'&', _) => "\\u0026",
            (_, [0x80, 0xa8, ..]) if *first == LINE_ENDS[0] => "\\u2028",
            (_, [0x80, 0xa9, ..]) if *first == LINE_ENDS[0] => "\\u2029",
            _ => "",
        };
        let taken = if escaped.starts_with("\\u20") { 3 } else { 1 };
        match escaped {
            "" => out.push(*first),
            escaped => out.extend_from_slice(escaped.as_bytes()),
        }
        rest = &rest[taken..];
    }
    out
}

/// Writes compact JSON as text.
pub fn to_string(value: &Value) -> String {
    serde_json::to_string(value).expect("a Value has string keys and writes to memory")
}

impl fmt::Display for Value {
    /// Compact JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_string(self))
    }
}

enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, i) => write!(f, "{parent}[{i}]"),
        }
    }
}

struct Seed<'a> {
    path: Path<'a>,
    duplicates: &'a RefCell<Vec<String>>,
}

/// At most this many duplicates are reported: the list goes back to the client.
const MAX_DUPLICATES: usize = 64;

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Int(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(i64::try_from(n).map_or(Value::Float(n as f64), Value::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<Value, E> {
        if n.is_finite() { Ok(Value::Float(n)) } else { Err(E::custom("number out of range")) }
    }

    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(Value::Str(s.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = ThinVec::new();
        loop {
            let seed =
                Seed { path: Path::Index(&self.path, items.len()), duplicates: self.duplicates };
            match seq.next_element_seed(seed)? {
                Some(item) => items.push(item),
                None => break,
            }
        }
        items.shrink_to_fit();
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<SmolStr>()? {
            let path = Path::Field(&self.path, &key);
            let value = access.next_value_seed(Seed { path, duplicates: self.duplicates })?;
            let name = key.clone();
            if map.insert(key, value).is_some() {
                let mut list = self.duplicates.borrow_mut();
                if list.len() < MAX_DUPLICATES {
                    list.push(format!("{}", Path::Field(&self.path, &name)));
                }
            }
        }
        map.shrink_to_fit();
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_keep_order_nulls_and_unknown_fields() {
        let text = r#"{"z":null,"a":[1,-2,1.5,"x",true,{}],"m":{"k":""}}"#;
        assert_eq!(to_string(&decode(text.as_bytes()).unwrap()), text);
    }

    #[test]
    fn texts_are_escaped_as_go_does() {
        let text = "a<b && c>d \u{2028}\u{2029}\u{2027}\u{e9}\u{e0a8} \\ \"";
        let mut value = Value::object();
        value.set("k", text);
        let bytes = encode(&value);
        let wanted = "{\"k\":\"a\\u003cb \\u0026\\u0026 c\\u003ed \\u2028\\u2029\u{2027}\u{e9}\u{e0a8} \\\\ \\\"\"}";
        assert_eq!(core::str::from_utf8(&bytes).unwrap(), wanted);
        assert_eq!(decode(&bytes).unwrap(), value);
        let long = "<".repeat(1000);
        assert_eq!(decode(&encode(&long.as_str().into())).unwrap().str(), long);
    }

    #[test]
    fn numbers_keep_their_value() {
        for text in ["1.8446467440737439e+27", "0.1", "1e+23", "5e-324", "9007199254740993"] {
            assert_eq!(to_string(&decode(text.as_bytes()).unwrap()), text);
        }
        assert_eq!(
            decode(b"1844646744073744073709951615").unwrap().as_f64(),
            Some(1.844646744073744e27)
        );
    }

    #[test]
    fn duplicates_are_reported_and_the_last_wins() {
        let d = decode_strict(br#"{"a":{"b":1,"b":2},"c":[{"d":1,"d":2}]}"#).unwrap();
        assert_eq!(d.duplicates, ["a.b", "c[0].d"]);
        assert_eq!(d.value.at("a.b").as_i64(), Some(2));
    }

    #[test]
    fn bad_documents_are_refused() {
        for bad in ["", "{", "{\"a\":1}x", "[1,]", "nul", "\"\\x\"", "1e999"] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(decode("[".repeat(100_000).as_bytes()).is_err());
        assert!(decode(b"\"\xff\"").is_err());
    }

    #[test]
    fn large_objects_decode_in_near_linear_time() {
        let text: String = (0..200_000).map(|i| format!("\"k{i}\":1,")).collect();
        let v = decode(format!("{{{text}\"k5\":2}}").as_bytes()).unwrap();
        assert_eq!(v.as_object().unwrap().len(), 200_000);
        assert_eq!(v.get("k5").unwrap().as_i64(), Some(2));
    }
}
