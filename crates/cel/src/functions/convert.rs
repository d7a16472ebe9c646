//! Conversions between types, `type`, `dyn` and `size`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use smol_str::SmolStr;

use super::{Function, Out, Site, function};
use crate::error::EvalError;
use crate::time;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Function] = &[
    function("size", &["s:i", "y:i", "[A]:i", "{AB}:i", ".s:i", ".y:i", ".[A]:i", ".{AB}:i"], size),
    function("type", &["A:TA"], type_of),
    function("dyn", &["A:*"], |args, _| args.first().cloned().ok_or(EvalError::NoSuchOverload)),
    function("int", &["i:i", "u:i", "d:i", "s:i", "t:i", "D:i"], to_int),
    function("uint", &["u:u", "i:u", "d:u", "s:u"], to_uint),
    function("double", &["d:d", "i:d", "u:d", "s:d"], to_double),
    function("string", &["s:s", "b:s", "i:s", "u:s", "d:s", "y:s", "t:s", "D:s"], to_string),
    function("bytes", &["y:y", "s:y"], to_bytes),
    function("bool", &["b:b", "s:b"], to_bool),
    function("timestamp", &["t:t", "s:t", "i:t"], to_timestamp),
    function("duration", &["D:D", "s:D", "i:D"], to_duration),
];

/// The names that stand for types.
pub(crate) fn type_named(name: &str) -> Option<crate::types::Type> {
    use crate::types::Type;
    Some(match name {
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::Str,
        "bytes" => Type::Bytes,
        "bool" => Type::Bool,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "dyn" => Type::Dyn,
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "net.IP" => Type::Opaque("net.IP"),
        "net.CIDR" => Type::Opaque("net.CIDR"),
        _ => return None,
    })
}

fn syntax<'a>(function: &str, text: &str) -> Out<'a> {
    Err(EvalError::new(format!("strconv.{function}: parsing {}: invalid syntax", quoted(text))))
}

fn range<'a>(function: &str, text: &str) -> Out<'a> {
    let text = quoted(text);
    Err(EvalError::new(format!("strconv.{function}: parsing {text}: value out of range")))
}

/// A string as Go's `%q` prints it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn size<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [value @ (Val::Str(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_))] => {
            Ok(Val::Int(i64::try_from(value.size()).unwrap_or(i64::MAX)))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn type_of<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let value = args.first().ok_or(EvalError::NoSuchOverload)?;
    Ok(Val::Type(SmolStr::new_static(value.type_name())))
}

fn to_int<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let overflow = || EvalError::new("integer overflow");
    match args {
        [Val::Int(n)] => Ok(Val::Int(*n)),
        [Val::Uint(n)] => i64::try_from(*n).map(Val::Int).map_err(|_| overflow()),
        [Val::Double(d)] if *d > -TWO_63 && *d < TWO_63 => Ok(Val::Int(*d as i64)),
        [Val::Double(_)] => Err(overflow()),
        [Val::Timestamp(t)] => Ok(Val::Int(t.div_euclid(time::SECOND) as i64)),
        [Val::Duration(d)] => Ok(Val::Int(*d)),
        [Val::Str(s)] => {
            let digits = s.strip_prefix(['+', '-']).unwrap_or(s);
            if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
                return syntax("ParseInt", s);
            }
            s.parse().map_or_else(|_| range("ParseInt", s), |n| Ok(Val::Int(n)))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// 2^63; both ends are out of range, for cel-go refuses the float next to the border.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

fn to_uint<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let overflow = || EvalError::new("unsigned integer overflow");
    match args {
        [Val::Uint(n)] => Ok(Val::Uint(*n)),
        [Val::Int(n)] => u64::try_from(*n).map(Val::Uint).map_err(|_| overflow()),
        [Val::Double(d)] if *d >= 0.0 && *d < 18_446_744_073_709_551_616.0 => {
            Ok(Val::Uint(*d as u64))
        }
        [Val::Double(_)] => Err(overflow()),
        [Val::Str(s)] => {
            if s.is_empty() || !s.bytes().all(|c| c.is_ascii_digit()) {
                return syntax("ParseUint", s);
            }
            s.parse().map_or_else(|_| range("ParseUint", s), |n| Ok(Val::Uint(n)))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn to_double<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Double(d)] => Ok(Val::Double(*d)),
        [Val::Int(n)] => Ok(Val::Double(*n as f64)),
        [Val::Uint(n)] => Ok(Val::Double(*n as f64)),
        [Val::Str(s)] => s.parse().map_or_else(|_| syntax("ParseFloat", s), |d| Ok(Val::Double(d))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn to_string<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Bytes(bytes)] => core::str::from_utf8(bytes)
            .map(Val::string)
            .map_err(|_| EvalError::new("invalid UTF-8 in bytes, cannot convert to string")),
        [Val::Null | Val::Type(_)] => Err(EvalError::NoSuchOverload),
        [value] => text(value).map(Val::Str).ok_or(EvalError::NoSuchOverload),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// The text of a value that is not made of others.
pub(crate) fn text(value: &Val<'_>) -> Option<SmolStr> {
    Some(match value {
        Val::Bool(b) => SmolStr::new_static(if *b { "true" } else { "false" }),
        Val::Int(n) => n.to_string().into(),
        Val::Uint(n) => n.to_string().into(),
        Val::Double(d) => double_text(*d).into(),
        Val::Str(s) => s.clone(),
        Val::Bytes(bytes) => core::str::from_utf8(bytes).ok()?.into(),
        Val::Timestamp(t) => time::format_timestamp(*t).into(),
        Val::Duration(d) => time::format_duration(*d).into(),
        Val::Type(name) => name.clone(),
        Val::Null => SmolStr::new_static("null"),
        _ => return None,
    })
}

/// A float as Go's `%g` prints it: the shortest digits; an exponent below -4 and from 6 on.
pub(crate) fn double_text(d: f64) -> String {
    if d.is_nan() {
        return "NaN".into();
    }
    if d.is_infinite() {
        return if d > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{d:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{d}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn to_bytes<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Bytes(b)] => Ok(Val::Bytes(b.clone())),
        [Val::Str(s)] => Ok(Val::Bytes(Arc::from(s.as_bytes()))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn to_bool<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Bool(b)] => Ok(Val::Bool(*b)),
        [Val::Str(s)] => match s.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => syntax("ParseBool", s),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn to_timestamp<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Timestamp(t)] => Ok(Val::Timestamp(*t)),
        [Val::Int(seconds)] => {
            let t = i128::from(*seconds) * time::SECOND;
            if (time::FIRST..=time::LAST).contains(&t) {
                return Ok(Val::Timestamp(t));
            }
            Err(EvalError::new("timestamp overflow"))
        }
        [Val::Str(s)] => time::parse_timestamp(s).map(Val::Timestamp).ok_or_else(|| {
            let text = quoted(s);
            EvalError::new(format!(
                "parsing time {text} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text} as \"2006\""
            ))
        }),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn to_duration<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Duration(d)] => Ok(Val::Duration(*d)),
        [Val::Int(nanos)] => Ok(Val::Duration(*nanos)),
        [Val::Str(s)] => time::parse_duration(s)
            .map(Val::Duration)
            .ok_or_else(|| EvalError::new(format!("time: invalid duration {}", quoted(s)))),
        _ => Err(EvalError::NoSuchOverload),
    }
}
