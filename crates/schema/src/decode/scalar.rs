//! Scalars and the types with a JSON form of their own.

use alloc::format;
use alloc::string::{String, ToString};

use timonier_meta::{Quantity, Time};
use timonier_object::Value;

use super::{Decoder, json_type};
use crate::node::Type;
use crate::schema::Schema;

/// Decodes a value that is not null. An error ends the whole decoding.
pub(super) fn decode(d: &mut Decoder, schema: Schema<'_>, value: &mut Value) -> Result<(), String> {
    match schema.kind() {
        Type::Bool if matches!(value, Value::Bool(_)) => {}
        Type::String if matches!(value, Value::Str(_)) => {}
        Type::Int32 | Type::Int64 => integer(d, schema, value),
        Type::Float if matches!(value, Value::Int(_) | Value::Float(_)) => {}
        Type::Bytes => bytes(d, schema, value),
        Type::IntOrString => return int_or_string(d, value),
        Type::Quantity => return quantity(value),
        Type::Time | Type::MicroTime => return time(d, schema.kind(), value),
        Type::Any | Type::Json | Type::RawExtension | Type::FieldsV1 => {}
        _ => d.save_type_error(json_type(value), schema.go_type()),
    }
    Ok(())
}

fn integer(d: &mut Decoder, schema: Schema<'_>, value: &Value) {
    let fits = match value {
        Value::Int(n) => schema.kind() == Type::Int64 || i32::try_from(*n).is_ok(),
        _ => false,
    };
    if !fits {
        d.save_type_error(&number_text(value), schema.go_type());
    }
}

/// `number 1.5` where a number does not fit, the type's name otherwise.
fn number_text(value: &Value) -> String {
    match value {
        Value::Int(n) => format!("number {n}"),
        Value::Float(f) => format!("number {f:?}"),
        other => json_type(other).to_string(),
    }
}

fn bytes(d: &mut Decoder, schema: Schema<'_>, value: &mut Value) {
    match value {
        Value::Str(text) => match base64_error(text) {
            Some(at) => d.save(format!("illegal base64 data at input byte {at}")),
            // Go's decoder skips line breaks.
            None if text.contains(['\r', '\n']) => {
                *value = Value::from(text.replace(['\r', '\n'], ""));
            }
            None => {}
        },
        other => {
            let what = json_type(other);
            d.save_type_error(what, schema.go_type());
        }
    }
}

/// The offset at which Go's `base64.StdEncoding` gives up.
fn base64_error(text: &str) -> Option<usize> {
    let is_data = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'/';
    let bytes = text.as_bytes();
    let (mut filled, mut i) = (0, 0);
    while i < bytes.len() {
        match bytes[i] {
            b'\r' | b'\n' => {}
            c if is_data(c) => filled = (filled + 1) % 4,
            b'=' if filled >= 2 => return padding_error(bytes, i, filled),
            _ => return Some(i),
        }
        i += 1;
    }
    // An unfinished group is blamed on the byte where it starts.
    (filled != 0).then(|| bytes.len() - filled)
}

fn padding_error(bytes: &[u8], first: usize, filled: usize) -> Option<usize> {
    let rest = |from: usize| (from..bytes.len()).find(|i| !matches!(bytes[*i], b'\r' | b'\n'));
    let mut end = first + 1;
    if filled == 2 {
        match rest(end) {
            None => return Some(bytes.len()),
            // Go blames the byte before the one that is not padding.
            Some(i) if bytes[i] != b'=' => return Some(i - 1),
            Some(i) => end = i + 1,
        }
    }
    rest(end)
}

fn int_or_string(d: &Decoder, value: &Value) -> Result<(), String> {
    match value {
        Value::Str(_) => Ok(()),
        Value::Int(n) if i32::try_from(*n).is_ok() => Ok(()),
        other => Err(d.type_error(&number_text(other), "int32")),
    }
}

fn quantity(value: &mut Value) -> Result<(), String> {
    let text = match &*value {
        Value::Str(s) => s.trim().to_string(),
        other => other.to_string(),
    };
    *value = Value::from(Quantity::parse(&text)?.to_string());
    Ok(())
}

fn time(d: &Decoder, kind: Type, value: &mut Value) -> Result<(), String> {
    let Value::Str(text) = &*value else {
        return Err(d.type_error(json_type(value), "string"));
    };
    let micro = kind == Type::MicroTime;
    if micro && let Some(error) = layout_error(text, micro) {
        return Err(error);
    }
    let time = Time::parse(text).ok_or_else(|| time_error(text, micro))?;
    *value = Value::from(if micro { time.rfc3339_micro() } else { time.rfc3339() });
    Ok(())
}

/// The text of Go's `time.ParseError`.
fn time_error(text: &str, micro: bool) -> String {
    layout_error(text, micro)
        .unwrap_or_else(|| format!("parsing time {text:?}: {} out of range", out_of_range(text)))
}

/// Names the element that does not fit and what stands there.
fn layout_error(text: &str, micro: bool) -> Option<String> {
    let layout =
        if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let mut elements = alloc::vec!["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"];
    if micro {
        elements.push(".000000");
    }
    elements.push("Z07:00");
    let mut rest = text;
    for element in elements {
        let width = match element {
            "Z07:00" => match rest.as_bytes().first() {
                Some(b'Z') => 1,
                _ => 6,
            },
            e => e.len(),
        };
        let fits = rest.get(..width).is_some_and(|part| element_fits(element, part));
        if !fits {
            return Some(format!(
                "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}"
            ));
        }
        rest = &rest[width..];
        if element == "05" && !micro {
            rest = skip_fraction(rest);
        }
    }
    (!rest.is_empty()).then(|| format!("parsing time {text:?}: extra text: {rest:?}"))
}

fn skip_fraction(rest: &str) -> &str {
    match rest.strip_prefix('.') {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
            digits.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => rest,
    }
}

fn element_fits(element: &str, part: &str) -> bool {
    let digits = |s: &str| s.bytes().all(|c| c.is_ascii_digit());
    match element {
        "-" | ":" | "T" => part == element,
        ".000000" => part.starts_with('.') && digits(&part[1..]),
        "Z07:00" => {
            part == "Z"
                || part.starts_with(['+', '-'])
                    && part.as_bytes()[3] == b':'
                    && digits(&part[1..3])
                    && digits(&part[4..])
        }
        _ => digits(part),
    }
}

/// Which part of a well-formed time has an impossible value.
fn out_of_range(text: &str) -> &'static str {
    let number = |from: usize| text.get(from..from + 2).and_then(|s| s.parse::<u8>().ok());
    match (number(5), number(11), number(14), number(17)) {
        (Some(0 | 13..), ..) => "month",
        (_, Some(24..), ..) => "hour",
        (_, _, Some(60..), _) => "minute",
        (_, _, _, Some(60..)) => "second",
        _ => "day",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_judged_as_go_does() {
        for (text, at) in [
            ("", None),
            ("YQ==", None),
            ("YWI=", None),
            ("YWJj", None),
            ("YW\nJj", None),
            ("YQ=", Some(3)),
            ("YQ", Some(0)),
            ("YWJjYQ", Some(4)),
            ("YQ==YQ==", Some(4)),
            ("Y===", Some(1)),
            ("%", Some(0)),
            ("YW J", Some(2)),
            ("YWJjZA=x", Some(6)),
        ] {
            assert_eq!(base64_error(text), at, "{text:?}");
        }
    }

    #[test]
    fn time_errors_are_gos() {
        for (text, error) in [
            (
                "x",
                "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"",
            ),
            (
                "2026-01-02",
                "parsing time \"2026-01-02\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\"",
            ),
            ("2026-13-02T00:00:00Z", "parsing time \"2026-13-02T00:00:00Z\": month out of range"),
            ("2026-02-30T00:00:00Z", "parsing time \"2026-02-30T00:00:00Z\": day out of range"),
            ("2026-01-02T00:00:00Zx", "parsing time \"2026-01-02T00:00:00Zx\": extra text: \"x\""),
        ] {
            assert!(Time::parse(text).is_none(), "{text}");
            assert_eq!(time_error(text, false), error);
        }
        assert_eq!(layout_error("2026-01-02T00:00:00.000001Z", true), None);
        assert!(
            layout_error("2026-01-02T00:00:00.1Z", true)
                .unwrap()
                .ends_with("cannot parse \".1Z\" as \".000000\"")
        );
    }
}
