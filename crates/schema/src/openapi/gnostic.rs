//! The protobuf form of an OpenAPI v2 document (gnostic's `openapi.v2.Document`), from its JSON.
//!
//! A table says for each message which JSON field has which number and form. Only what our
//! documents hold is in it.

use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::Value;

/// Encodes a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    message(&DOCUMENT, document, &mut out);
    out
}

enum Form {
    Text,
    Bool,
    Number,
    Integer,
    Texts,
    /// Any value, as text.
    Any,
    Anys,
    Message(&'static Message),
    Messages(&'static Message),
    /// An object as a message with a list of named values in a field of this number.
    Named(u32, &'static Message),
    /// A text, or a list of them, as a message with the list in field 1.
    TextList,
    /// A list or a single message, as a message with the list in field 1.
    MessageList(&'static Message),
    /// What [`Message::choose`] picks.
    Choice(fn(&Value) -> (u32, Form)),
    Choices(fn(&Value) -> (u32, Form)),
}

struct Message {
    fields: &'static [(&'static str, u32, Form)],
    /// The field for `x-` keys, if it has one.
    extensions: u32,
    /// The field for named values and their form, where every other key is a name.
    rest: Option<(u32, &'static Message)>,
}

const fn fields(fields: &'static [(&'static str, u32, Form)], extensions: u32) -> Message {
    Message { fields, extensions, rest: None }
}

use Form::*;

static DOCUMENT: Message = fields(
    &[
        ("swagger", 1, Text),
        ("info", 2, Message(&INFO)),
        ("paths", 8, Message(&PATHS)),
        ("definitions", 9, Named(1, &SCHEMA)),
        ("security", 12, Messages(&REQUIREMENT)),
        ("securityDefinitions", 13, Named(1, &SECURITY)),
    ],
    16,
);
static INFO: Message = fields(&[("title", 1, Text), ("version", 2, Text)], 7);
static PATHS: Message = Message { fields: &[], extensions: 1, rest: Some((2, &PATH_ITEM)) };
static PATH_ITEM: Message = fields(
    &[
        ("get", 2, Message(&OPERATION)),
        ("put", 3, Message(&OPERATION)),
        ("post", 4, Message(&OPERATION)),
        ("delete", 5, Message(&OPERATION)),
        ("options", 6, Message(&OPERATION)),
        ("head", 7, Message(&OPERATION)),
        ("patch", 8, Message(&OPERATION)),
        ("parameters", 9, Choices(parameter)),
    ],
    10,
);
static OPERATION: Message = fields(
    &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Choices(parameter)),
        ("responses", 9, Message(&RESPONSES)),
        ("schemes", 10, Texts),
    ],
    13,
);
static RESPONSES: Message =
    Message { fields: &[], extensions: 2, rest: Some((1, &RESPONSE_VALUE)) };
static RESPONSE_VALUE: Message =
    Message { fields: &[("", 1, Message(&RESPONSE))], extensions: 0, rest: None };
static RESPONSE: Message =
    fields(&[("description", 1, Text), ("schema", 2, Choice(|_| (1, Message(&SCHEMA))))], 5);
static BODY: Message = fields(
    &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Bool),
        ("schema", 5, Message(&SCHEMA)),
    ],
    6,
);
static QUERY: Message = fields(
    &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("uniqueItems", 20, Bool),
    ],
    23,
);
static PATH: Message = fields(
    &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("uniqueItems", 19, Bool),
    ],
    22,
);
static NON_BODY_QUERY: Message = fields(&[("", 3, Message(&QUERY))], 0);
static NON_BODY_PATH: Message = fields(&[("", 4, Message(&PATH))], 0);
static PARAMETER_BODY: Message = fields(&[("", 1, Message(&BODY))], 0);
static PARAMETER_QUERY: Message = fields(&[("", 2, Message(&NON_BODY_QUERY))], 0);
static PARAMETER_PATH: Message = fields(&[("", 2, Message(&NON_BODY_PATH))], 0);
static SCHEMA: Message = fields(
    &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("multipleOf", 6, Number),
        ("maximum", 7, Number),
        ("exclusiveMaximum", 8, Bool),
        ("minimum", 9, Number),
        ("exclusiveMinimum", 10, Bool),
        ("maxLength", 11, Integer),
        ("minLength", 12, Integer),
        ("pattern", 13, Text),
        ("maxItems", 14, Integer),
        ("minItems", 15, Integer),
        ("uniqueItems", 16, Bool),
        ("maxProperties", 17, Integer),
        ("minProperties", 18, Integer),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        ("additionalProperties", 21, Choice(additional)),
        ("type", 22, TextList),
        ("items", 23, MessageList(&SCHEMA)),
        ("allOf", 24, Messages(&SCHEMA)),
        ("properties", 25, Named(1, &SCHEMA)),
        ("example", 30, Any),
    ],
    31,
);
static REQUIREMENT: Message =
    Message { fields: &[], extensions: 0, rest: Some((1, &STRING_ARRAY)) };
static STRING_ARRAY: Message = fields(&[("", 1, Texts)], 0);
static SECURITY: Message = fields(&[("", 2, Message(&API_KEY))], 0);
static API_KEY: Message =
    fields(&[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)], 5);

fn additional(v: &Value) -> (u32, Form) {
    if v.as_bool().is_some() { (2, Bool) } else { (1, Message(&SCHEMA)) }
}

fn parameter(v: &Value) -> (u32, Form) {
    let of = match v.at("in").str() {
        "body" => &PARAMETER_BODY,
        "path" => &PARAMETER_PATH,
        _ => &PARAMETER_QUERY,
    };
    (1, Message(of))
}

fn message(of: &Message, v: &Value, out: &mut Vec<u8>) {
    for (name, number, form) in of.fields {
        // A field without a name wraps the whole value.
        let value = if name.is_empty() { Some(v) } else { v.get(name) };
        if let Some(value) = value {
            field(*number, form, value, out);
        }
    }
    for (name, value) in v.entries() {
        if of.extensions != 0 && name.starts_with("x-") {
            named(of.extensions, name, out, |out| field(2, &Any, value, out));
        } else if let Some((number, item)) = of.rest {
            named(number, name, out, |out| field(2, &Message(item), value, out));
        }
    }
}

fn field(number: u32, form: &Form, v: &Value, out: &mut Vec<u8>) {
    match form {
        Text => bytes(number, v.str().as_bytes(), out),
        Bool => {
            tag(number, 0, out);
            out.push(u8::from(v.bool()));
        }
        Integer => {
            tag(number, 0, out);
            varint(v.int_or(0) as u64, out);
        }
        Number => {
            tag(number, 1, out);
            out.extend_from_slice(&v.as_f64().unwrap_or(0.0).to_le_bytes());
        }
        Texts => v.items().iter().for_each(|item| field(number, &Text, item, out)),
        Any => nested(number, out, |out| {
            let text: String = timonier_object::json::to_string(v);
            bytes(2, text.as_bytes(), out);
        }),
        Anys => v.items().iter().for_each(|item| field(number, &Any, item, out)),
        Message(of) => nested(number, out, |out| message(of, v, out)),
        Messages(of) => {
            v.items().iter().for_each(|item| nested(number, out, |out| message(of, item, out)));
        }
        Named(inner, of) => nested(number, out, |out| {
            for (name, value) in v.entries() {
                named(*inner, name, out, |out| field(2, &Message(of), value, out));
            }
        }),
        TextList => nested(number, out, |out| bytes(1, v.str().as_bytes(), out)),
        MessageList(of) => nested(number, out, |out| field(1, &Message(of), v, out)),
        Choice(choose) => {
            let (inner, form) = choose(v);
            nested(number, out, |out| field(inner, &form, v, out));
        }
        Choices(choose) => {
            v.items().iter().for_each(|item| field(number, &Choice(*choose), item, out));
        }
    }
}

/// A name and its value.
fn named(number: u32, name: &str, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    nested(number, out, |out| {
        bytes(1, name.as_bytes(), out);
        value(out);
    });
}

fn nested(number: u32, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    content(&mut inner);
    bytes(number, &inner, out);
}

fn bytes(number: u32, content: &[u8], out: &mut Vec<u8>) {
    tag(number, 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn tag(number: u32, wire_type: u32, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | wire_type), out);
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn a_schema_is_encoded_by_its_numbers() {
        let mut out = Vec::new();
        let v = value!({ "type": "object", "required": ["a"], "x-k": [1] });
        message(&SCHEMA, &v, &mut out);
        let expected: &[u8] = &[
            0x9a, 1, 1, b'a', // required
            0xb2, 1, 8, 0x0a, 6, b'o', b'b', b'j', b'e', b'c', b't', // type
            0xfa, 1, 12, 0x0a, 3, b'x', b'-', b'k', 0x12, 5, 0x12, 3, b'[', b'1', b']',
        ];
        assert_eq!(out, expected);
    }
}
