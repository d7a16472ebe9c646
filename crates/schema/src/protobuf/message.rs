//! Messages by schema.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::Time;
use timonier_object::{Map, Value, json};

use super::wire::{self, Field, Reader};
use super::{decode_enveloped, is_protobuf};
use crate::catalogue::Catalogue;
use crate::node::Type;
use crate::schema::Schema;

/// Deeper nesting is refused, as in JSON.
const MAX_DEPTH: usize = 100;

pub(super) struct Decoder<'a> {
    pub catalogue: &'a Catalogue,
}

impl Decoder<'_> {
    /// Decodes a message's fields into `map`. `prefix` holds the numbers of the inlined messages
    /// around it.
    pub fn fields(
        &self,
        schema: Schema<'_>,
        prefix: &[u8],
        bytes: &[u8],
        map: &mut Map,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("the protobuf message is nested too deeply".to_string());
        }
        let mut reader = Reader::new(bytes);
        while let Some((number, content)) = reader.next()? {
            let Ok(number) = u8::try_from(number) else { continue };
            let path = [prefix, &[number]].concat();
            let found = schema.fields().find(|f| f.number().starts_with(&path));
            let Some(field) = found else { continue };
            let inlined = field.number().get(path.len()).is_some_and(|n| *n != 0);
            match content {
                Field::Bytes(inner) if inlined => {
                    self.fields(schema, &path, inner, map, depth + 1)?;
                }
                content if !inlined => {
                    self.set(field.schema, content, map.entry(field.name), depth)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets a field, or adds to it where it repeats.
    fn set(
        &self,
        schema: Schema<'_>,
        content: Field<'_>,
        into: &mut Value,
        depth: usize,
    ) -> Result<(), String> {
        match (schema.kind(), content) {
            (Type::Array, content) => {
                let Some(item) = schema.items() else { return Ok(()) };
                let packed = matches!(item.kind(), Type::Int32 | Type::Int64 | Type::Bool);
                match content {
                    Field::Bytes(bytes) if packed => {
                        let mut reader = Reader::new(bytes);
                        while !reader.is_done() {
                            let n = Field::Varint(reader.varint()?);
                            into.make_array().push(self.value(item, n, depth)?);
                        }
                    }
                    content => into.make_array().push(self.value(item, content, depth)?),
                }
            }
            (Type::Map, Field::Bytes(entry)) => self.entry(schema, entry, into, depth)?,
            // A message that comes twice is merged.
            (Type::Struct, Field::Bytes(bytes)) => {
                self.fields(schema, &[], bytes, into.make_object(), depth + 1)?;
            }
            (_, content) => *into = self.value(schema, content, depth)?,
        }
        Ok(())
    }

    fn entry(
        &self,
        schema: Schema<'_>,
        entry: &[u8],
        into: &mut Value,
        depth: usize,
    ) -> Result<(), String> {
        let Some(values) = schema.values() else { return Ok(()) };
        let (mut key, mut value) = (Default::default(), Value::Null);
        let mut reader = Reader::new(entry);
        while let Some((number, content)) = reader.next()? {
            match (number, content) {
                (1, Field::Bytes(b)) => key = wire::text(b),
                (2, Field::Bytes(b)) if values.kind() == Type::Array => {
                    self.wrapped_list(values, b, &mut value, depth)?;
                }
                (2, content) => value = self.value(values, content, depth)?,
                _ => {}
            }
        }
        into.make_object().insert(key, value);
        Ok(())
    }

    /// A list as a map's value is a message with the items in field 1.
    fn wrapped_list(
        &self,
        schema: Schema<'_>,
        bytes: &[u8],
        into: &mut Value,
        depth: usize,
    ) -> Result<(), String> {
        into.make_array();
        let mut reader = Reader::new(bytes);
        while let Some((number, content)) = reader.next()? {
            if number == 1 {
                self.set(schema, content, into, depth + 1)?;
            }
        }
        Ok(())
    }

    fn value(&self, schema: Schema<'_>, content: Field<'_>, depth: usize) -> Result<Value, String> {
        Ok(match (schema.kind(), content) {
            (Type::Bool, Field::Varint(n)) => Value::Bool(n != 0),
            (Type::Int32, Field::Varint(n)) => Value::Int(i64::from(n as i32)),
            (Type::Int64, Field::Varint(n)) => Value::Int(n as i64),
            (Type::Float, Field::Fixed64(n)) => Value::Float(f64::from_bits(n)),
            (Type::Float, Field::Fixed32(n)) => Value::Float(f64::from(f32::from_bits(n))),
            (Type::String, Field::Bytes(b)) => Value::Str(wire::text(b)),
            (Type::Bytes, Field::Bytes(b)) => Value::from(crate::base64::encode(b)),
            (Type::Struct, Field::Bytes(b)) => {
                let mut map = Map::new();
                self.fields(schema, &[], b, &mut map, depth + 1)?;
                Value::Object(map)
            }
            (Type::IntOrString, Field::Bytes(b)) => int_or_string(b)?,
            (Type::Quantity, Field::Bytes(b)) => quantity(b)?,
            (Type::Time | Type::MicroTime, Field::Bytes(b)) => {
                time(b, schema.kind() == Type::MicroTime)?
            }
            (Type::RawExtension, Field::Bytes(b)) => self.raw(b, depth)?,
            (Type::FieldsV1 | Type::Json, Field::Bytes(b)) => json_bytes(only_bytes(b, 1)?)?,
            (Type::SchemaOrArray | Type::SchemaOrBool | Type::SchemaOrStrings, Field::Bytes(b)) => {
                self.schema_or(schema, b, depth)?
            }
            _ => return Err("illegal protobuf wire type".to_string()),
        })
    }

    fn raw(&self, bytes: &[u8], depth: usize) -> Result<Value, String> {
        let raw = only_bytes(bytes, 1)?;
        if is_protobuf(raw) {
            return decode_enveloped(self.catalogue, raw, depth + 1);
        }
        json_bytes(raw)
    }

    fn schema_or(&self, schema: Schema<'_>, bytes: &[u8], depth: usize) -> Result<Value, String> {
        let Some(inner) = schema.json_schema() else { return Ok(Value::Null) };
        let (mut single, mut many, mut allows) = (None, Vec::new(), false);
        let schema_is_second = schema.kind() == Type::SchemaOrBool;
        let mut reader = Reader::new(bytes);
        while let Some((number, content)) = reader.next()? {
            match (number, content, schema_is_second) {
                (1, Field::Varint(n), true) => allows = n != 0,
                (2, content @ Field::Bytes(_), true) | (1, content @ Field::Bytes(_), false) => {
                    single = Some(self.value(inner, content, depth + 1)?);
                }
                (2, Field::Bytes(b), false) if schema.kind() == Type::SchemaOrStrings => {
                    many.push(Value::Str(wire::text(b)));
                }
                (2, content @ Field::Bytes(_), false) => {
                    many.push(self.value(inner, content, depth + 1)?);
                }
                _ => {}
            }
        }
        Ok(match (single, schema_is_second) {
            _ if !many.is_empty() => Value::array(many),
            (Some(single), _) => single,
            (None, true) => Value::Bool(allows),
            (None, false) => Value::Null,
        })
    }
}

/// The bytes of a message's one field.
fn only_bytes(bytes: &[u8], wanted: u32) -> Result<&[u8], String> {
    let mut found: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some((number, content)) = reader.next()? {
        if let (true, Field::Bytes(b)) = (number == wanted, content) {
            found = b;
        }
    }
    Ok(found)
}

fn json_bytes(bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() { Ok(Value::Null) } else { json::decode(bytes) }
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0i32, Value::from(""));
    let mut reader = Reader::new(bytes);
    while let Some((n, content)) = reader.next()? {
        match (n, content) {
            (1, Field::Varint(t)) => is_text = t == 1,
            (2, Field::Varint(v)) => number = v as i32,
            (3, Field::Bytes(b)) => text = Value::Str(wire::text(b)),
            _ => {}
        }
    }
    Ok(if is_text { text } else { Value::from(number) })
}

fn quantity(bytes: &[u8]) -> Result<Value, String> {
    let text = wire::text(only_bytes(bytes, 1)?);
    Ok(if text.is_empty() { Value::from("0") } else { Value::Str(text) })
}

/// An empty message is Go's zero time, which JSON writes as null.
fn time(bytes: &[u8], micro: bool) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut reader = Reader::new(bytes);
    while let Some((number, content)) = reader.next()? {
        match (number, content) {
            (1, Field::Varint(n)) => seconds = n as i64,
            (2, Field::Varint(n)) => nanos = i64::from(n as i32),
            _ => {}
        }
    }
    // Years 0 to 9999, which JSON can write.
    let in_range = (-62_167_219_200..=253_402_300_799).contains(&seconds);
    if !in_range || !(0..1_000_000_000).contains(&nanos) {
        return Err("a time in the protobuf message is out of range".to_string());
    }
    let time = Time(seconds * 1_000_000 + nanos / 1_000);
    Ok(Value::from(if micro { time.rfc3339_micro() } else { time.rfc3339() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_types() {
        assert_eq!(int_or_string(&[8, 1, 26, 1, b'x']).unwrap(), Value::from("x"));
        assert_eq!(int_or_string(&[16, 5]).unwrap(), Value::from(5));
        assert_eq!(time(&[], false).unwrap(), Value::Null);
        assert_eq!(time(&[8, 1, 16, 0xe8, 7], true).unwrap().str(), "1970-01-01T00:00:01.000001Z");
        let far = [8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(time(&far, false).is_err());
        assert_eq!(quantity(&[10, 2, b'1', b'k']).unwrap().str(), "1k");
    }
}
