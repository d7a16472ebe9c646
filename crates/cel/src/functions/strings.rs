//! Strings: the language's own functions and cel-go's extension in the version that Kubernetes has
//! (without `reverse`). Positions count characters.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;

use super::arithmetic::MAX_TEXT;
use super::{Function, Out, Site, function};
use crate::error::EvalError;
use crate::value::{Val, strings};

pub(super) const FUNCTIONS: &[Function] = &[
    function("contains", &[".ss:b"], |args, _| test(args, |s, t| s.contains(t))),
    function("startsWith", &[".ss:b"], |args, _| test(args, |s, t| s.starts_with(t))),
    function("endsWith", &[".ss:b"], |args, _| test(args, |s, t| s.ends_with(t))),
    function("charAt", &[".si:s"], char_at),
    function("indexOf", &[".ss:i", ".ssi:i"], index_of),
    function("lastIndexOf", &[".ss:i", ".ssi:i"], last_index_of),
    function("join", &[".[s]:s", ".[s]s:s"], join),
    function("lowerAscii", &[".s:s"], |args, _| change(args, |s| s.to_ascii_lowercase().into())),
    function("upperAscii", &[".s:s"], |args, _| change(args, |s| s.to_ascii_uppercase().into())),
    function("replace", &[".sss:s", ".sssi:s"], replace),
    function("split", &[".ss:[s]", ".ssi:[s]"], split),
    function("substring", &[".si:s", ".sii:s"], substring),
    function("trim", &[".s:s"], |args, _| change(args, |s| s.trim_matches(is_space).into())),
    function("strings.quote", &["s:s"], |args, _| change(args, |s| quote(s).into())),
];

fn test<'a>(args: &[Val<'a>], holds: fn(&str, &str) -> bool) -> Out<'a> {
    match args {
        [Val::Str(s), Val::Str(t)] => Ok(holds(s, t).into()),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn change<'a>(args: &[Val<'a>], make: fn(&str) -> SmolStr) -> Out<'a> {
    match args {
        [Val::Str(s)] => Ok(Val::Str(make(s))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// Unicode's white space, as upstream lists it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{180e}'
}

fn out_of_range<'a>(index: i64) -> Out<'a> {
    Err(EvalError::new(format!("index out of range: {index}")))
}

fn char_at<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let [Val::Str(s), Val::Int(at)] = args else { return Err(EvalError::NoSuchOverload) };
    let Ok(index) = usize::try_from(*at) else { return out_of_range(*at) };
    match s.chars().nth(index) {
        Some(c) => Ok(Val::Str(SmolStr::from_iter([c]))),
        None if index == s.chars().count() => Ok("".into()),
        None => out_of_range(*at),
    }
}

/// The byte at which a character begins; the end for the number of characters.
fn byte_of(s: &str, index: usize) -> Option<usize> {
    s.char_indices().map(|(i, _)| i).chain([s.len()]).nth(index)
}

fn found<'a>(s: &str, byte: Option<usize>) -> Out<'a> {
    Ok(Val::Int(byte.map_or(-1, |b| s[..b].chars().count() as i64)))
}

fn index_of<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Str(s), Val::Str(t)] => found(s, s.find(t.as_str())),
        [Val::Str(_), Val::Str(t), Val::Int(from)] if t.is_empty() => Ok(Val::Int(*from)),
        [Val::Str(s), Val::Str(t), Val::Int(from)] => {
            let start = usize::try_from(*from).ok().and_then(|from| byte_of(s, from));
            let Some(start) = start else { return out_of_range(*from) };
            found(s, s[start..].find(t.as_str()).map(|b| b + start))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn last_index_of<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Str(s), Val::Str(t)] => found(s, s.rfind(t.as_str())),
        [Val::Str(_), Val::Str(t), Val::Int(to)] if t.is_empty() => Ok(Val::Int(*to)),
        [Val::Str(s), Val::Str(t), Val::Int(to)] => {
            let start = usize::try_from(*to).ok().and_then(|to| byte_of(s, to));
            let Some(start) = start else { return out_of_range(*to) };
            // The match may begin at the position at the latest.
            let mut end = start.saturating_add(t.len()).min(s.len());
            while !s.is_char_boundary(end) {
                end += 1;
            }
            found(s, s[..end].rfind(t.as_str()).filter(|b| *b <= start))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn join<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let (list, separator) = match args {
        [Val::List(list)] => (list, ""),
        [Val::List(list), Val::Str(separator)] => (list, separator.as_str()),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let items = strings(list).ok_or(EvalError::NoSuchOverload)?;
    let len = items.iter().map(|s| s.len() + separator.len()).sum::<usize>();
    if len > MAX_TEXT {
        return Err(EvalError::CostLimit);
    }
    Ok(items.join(separator).into())
}

fn replace<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let (s, from, to, limit) = match args {
        [Val::Str(s), Val::Str(from), Val::Str(to)] => (s, from, to, -1),
        [Val::Str(s), Val::Str(from), Val::Str(to), Val::Int(limit)] => (s, from, to, *limit),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count =
        if from.is_empty() { s.chars().count() + 1 } else { s.matches(from.as_str()).count() };
    if s.len().saturating_add(count.min(limit).saturating_mul(to.len())) > MAX_TEXT {
        return Err(EvalError::CostLimit);
    }
    Ok(s.replacen(from.as_str(), to, limit).into())
}

fn split<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let (s, separator, limit) = match args {
        [Val::Str(s), Val::Str(separator)] => (s, separator, -1),
        [Val::Str(s), Val::Str(separator), Val::Int(limit)] => (s, separator, *limit),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let text = |s: &str| Val::Str(s.into());
    let parts: Vec<Val<'a>> = if limit == 0 {
        Vec::new()
    } else if separator.is_empty() {
        let last = byte_of(s, limit - 1).unwrap_or(s.len());
        let (single, rest) = s.split_at(last);
        let single = single.char_indices().map(|(i, c)| text(&single[i..i + c.len_utf8()]));
        single.chain((!rest.is_empty()).then(|| text(rest))).collect()
    } else {
        s.splitn(limit, separator.as_str()).map(text).collect()
    };
    Ok(Val::list(parts))
}

fn substring<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let (s, from, to) = match args {
        [Val::Str(s), Val::Int(from)] => (s, *from, None),
        [Val::Str(s), Val::Int(from), Val::Int(to)] => (s, *from, Some(*to)),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let byte = |index: i64| usize::try_from(index).ok().and_then(|i| byte_of(s, i));
    let Some(start) = byte(from) else { return out_of_range(from) };
    let end = match to {
        None => s.len(),
        Some(to) => match byte(to) {
            Some(end) if end >= start => end,
            Some(_) => {
                let text = format!("invalid substring range. start: {from}, end: {to}");
                return Err(EvalError::new(text));
            }
            None => return out_of_range(to),
        },
    };
    Ok(s[start..end].into())
}

/// A string literal that is the text.
pub(super) fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
