//! `"%s has %d".format([a, b])`, with cel-go's verbs: `s d f e b x X o` and `%%`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::arithmetic::MAX_TEXT;
use super::convert::{double_text, quoted, text};
use super::{Function, Out, Site, function};
use crate::error::EvalError;
use crate::value::{List, Val};

pub(super) const FUNCTIONS: &[Function] = &[function("format", &[".s[*]:s"], run)];

fn run<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let [Val::Str(template), Val::List(list)] = args else {
        return Err(EvalError::NoSuchOverload);
    };
    Ok(fill(template, list)?.into())
}

fn error<T>(text: impl AsRef<str>) -> Result<T, EvalError> {
    Err(EvalError::new(text.as_ref()))
}

fn fill(template: &str, list: &List<'_>) -> Result<String, EvalError> {
    let mut out = String::with_capacity(template.len());
    let mut chars = template.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(d) = chars.peek().copied().filter(char::is_ascii_digit) {
                digits.push(d);
                chars.next();
            }
            match digits.parse::<usize>() {
                Ok(n) if n <= 1000 => precision = Some(n),
                _ => return error("error while parsing precision"),
            }
        }
        let Some(verb) = chars.next() else {
            return error("unexpected end of string");
        };
        let Some(value) = list.get(next) else {
            return error(format!("index {next} out of range"));
        };
        next += 1;
        clause(&mut out, verb, precision, &value)?;
        if out.len() > MAX_TEXT {
            return Err(EvalError::CostLimit);
        }
    }
    Ok(out)
}

fn clause(
    out: &mut String,
    verb: char,
    precision: Option<usize>,
    value: &Val<'_>,
) -> Result<(), EvalError> {
    let made = match verb {
        's' => return string(out, value, false),
        'd' => match value {
            Val::Int(n) => Ok(format!("{n}")),
            Val::Uint(n) => Ok(format!("{n}")),
            _ => Err("decimal clause can only be used on integers"),
        },
        'f' => float(value)
            .map(|d| fixed(d, precision.unwrap_or(6)))
            .ok_or("fixed-point clause can only be used on doubles"),
        'e' => float(value)
            .map(|d| scientific(d, precision.unwrap_or(6)))
            .ok_or("scientific clause can only be used on doubles"),
        'b' => match value {
            Val::Int(n) => Ok(signed(*n, |n| format!("{n:b}"))),
            Val::Uint(n) => Ok(format!("{n:b}")),
            Val::Bool(b) => Ok(format!("{}", u8::from(*b))),
            _ => Err("only integers and bools can be formatted as binary"),
        },
        'o' => match value {
            Val::Int(n) => Ok(signed(*n, |n| format!("{n:o}"))),
            Val::Uint(n) => Ok(format!("{n:o}")),
            _ => Err("octal clause can only be used on integers"),
        },
        'x' => hex(value).ok_or("only integers, byte buffers, and strings can be formatted as hex"),
        'X' => hex(value)
            .map(|h| h.to_ascii_uppercase())
            .ok_or("only integers, byte buffers, and strings can be formatted as hex"),
        other => {
            let text = format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            );
            return error(text);
        }
    };
    match made {
        Ok(text) => out.push_str(&text),
        Err(why) => {
            let was = value.type_name();
            return error(format!("error during formatting: {why}, was given {was}"));
        }
    }
    Ok(())
}

fn signed(n: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}", digits(n.unsigned_abs()))
}

fn hex(value: &Val<'_>) -> Option<String> {
    let bytes = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat();
    Some(match value {
        Val::Int(n) => signed(*n, |n| format!("{n:x}")),
        Val::Uint(n) => format!("{n:x}"),
        Val::Str(s) => bytes(s.as_bytes()),
        Val::Bytes(b) => bytes(b),
        _ => return None,
    })
}

fn float(value: &Val<'_>) -> Option<f64> {
    match value {
        Val::Double(d) => Some(*d),
        Val::Str(s) => match s.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn special(d: f64) -> Option<String> {
    match () {
        () if d.is_nan() => Some("NaN".into()),
        () if d.is_infinite() => Some(if d > 0.0 { "∞".into() } else { "-∞".into() }),
        () => None,
    }
}

fn fixed(d: f64, precision: usize) -> String {
    special(d).unwrap_or_else(|| format!("{d:.precision$}"))
}

fn scientific(d: f64, precision: usize) -> String {
    special(d).unwrap_or_else(|| {
        let text = format!("{d:.precision$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let sign = if exponent.starts_with('-') { '-' } else { '+' };
        format!("{mantissa}\u{202f}×\u{202f}10{}", superscript(sign, exponent))
    })
}

/// The exponent in raised digits, as the locale's number printer writes it.
fn superscript(sign: char, exponent: &str) -> String {
    let raised = |c: char| match c {
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' => '⁰',
        c => char::from_u32(0x2070 + c as u32 - '0' as u32).unwrap_or(c),
    };
    let digits = format!("{:0>2}", exponent.trim_start_matches('-'));
    let sign = if sign == '-' { '⁻' } else { '⁺' };
    core::iter::once(sign).chain(digits.chars().map(raised)).collect()
}

/// `%s`; inside lists and maps values look like literals.
fn string(out: &mut String, value: &Val<'_>, inside: bool) -> Result<(), EvalError> {
    if out.len() > MAX_TEXT {
        return Err(EvalError::CostLimit);
    }
    match value {
        Val::List(list) => {
            out.push('[');
            for (i, item) in list.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                string(out, &item, true)?;
            }
            out.push(']');
        }
        Val::Map(map) => {
            let mut entries: Vec<(String, Val<'_>)> = Vec::new();
            for (key, value) in map.iter() {
                let mut text = String::new();
                string(&mut text, &key.to_val(), true)?;
                entries.push((text, value));
            }
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                out.push_str(key);
                out.push(':');
                string(out, value, true)?;
            }
            out.push('}');
        }
        Val::Str(s) if inside => out.push_str(&quoted(s)),
        Val::Double(d) if inside => {
            out.push_str(&special(*d).map_or_else(|| fixed(*d, 6), |s| quoted(&s)));
        }
        Val::Double(d) => out.push_str(&double_text(*d)),
        Val::Bytes(bytes) if inside => {
            out.push_str(&format!("b{}", quoted(&String::from_utf8_lossy(bytes))));
        }
        Val::Timestamp(_) | Val::Duration(_) if inside => {
            let name = if matches!(value, Val::Timestamp(_)) { "timestamp" } else { "duration" };
            out.push_str(&format!("{name}({})", quoted(&text(value).unwrap_or_default())));
        }
        value => match text(value) {
            Some(text) => out.push_str(&text),
            None => {
                return error(format!(
                    "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
                    value.type_name()
                ));
            }
        },
    }
    Ok(())
}
