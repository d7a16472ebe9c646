//! Semantic versions.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::Opaque;
use super::quantity::ordinal;
use crate::error::EvalError;
use crate::functions::{Function, Out, function};
use crate::value::Val;

/// A version; the build is kept for nothing but its check.
#[derive(PartialEq, Eq, Debug)]
pub struct Version {
    numbers: [u64; 3],
    pre: Vec<Part>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    Number(u64),
    Text(String),
}

impl Version {
    /// The order of precedence.
    pub fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (false, false) => self.pre.cmp(&other.pre),
                (a, b) => a.cmp(&b),
            }
        })
    }
}

pub(crate) const FUNCTIONS: &[Function] = &[
    function("isSemver", &["s:b", "sb:b"], |args, _| Ok(read(args)?.is_ok().into())),
    function("semver", &["s:V", "sb:V"], |args, _| match read(args)? {
        Ok(version) => Ok(Val::Opaque(Opaque::Semver(Arc::new(version)))),
        Err(why) => Err(EvalError::Message(why)),
    }),
    function("major", &[".V:i"], |args, _| number(args, 0)),
    function("minor", &[".V:i"], |args, _| number(args, 1)),
    function("patch", &[".V:i"], |args, _| number(args, 2)),
    function("isGreaterThan", &[".VV:b"], |args, _| compare(args, |o| o.is_gt().into())),
    function("isLessThan", &[".VV:b"], |args, _| compare(args, |o| o.is_lt().into())),
    function("compareTo", &[".VV:i"], |args, _| compare(args, |o| Val::Int(ordinal(o)))),
];

fn read(args: &[Val<'_>]) -> Result<Result<Version, String>, EvalError> {
    match args {
        [Val::Str(s)] | [Val::Str(s), Val::Bool(false)] => Ok(parse(s)),
        [Val::Str(s), Val::Bool(true)] => Ok(normalize(s).and_then(|s| parse(&s))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn number<'a>(args: &[Val<'a>], index: usize) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Semver(v))] => {
            Ok(Val::Int(i64::try_from(v.numbers[index]).unwrap_or(i64::MAX)))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn compare<'a>(args: &[Val<'a>], run: fn(Ordering) -> Val<'a>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Semver(a)), Val::Opaque(Opaque::Semver(b))] => Ok(run(a.cmp(b))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// Drops a leading `v` and leading zeros, and adds the numbers that are missing.
fn normalize(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(ToString::to_string).collect();
    for part in parts.iter_mut().filter(|p| p.len() > 1) {
        let rest = part.trim_start_matches('0');
        let zero = !rest.starts_with(|c: char| c.is_ascii_digit());
        *part = format!("{}{rest}", if zero { "0" } else { "" });
    }
    if parts.len() < 3 && parts.last().is_some_and(|p| p.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".into());
    }
    while parts.len() < 3 {
        parts.push("0".into());
    }
    Ok(parts.join("."))
}

/// Reads a version; the errors are the upstream library's.
fn parse(text: &str) -> Result<Version, String> {
    if text.is_empty() {
        return Err("Version string empty".into());
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, rest] = parts[..] else {
        return Err("No Major.Minor.Patch elements found".into());
    };
    let (rest, build) = match rest.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (rest, None),
    };
    let (patch, pre) = match rest.split_once('-') {
        Some((patch, pre)) => (patch, Some(pre)),
        None => (rest, None),
    };
    let numbers = [numeric("Major", major)?, numeric("Minor", minor)?, numeric("Patch", patch)?];
    let pre = pre.into_iter().flat_map(|p| p.split('.')).map(part).collect::<Result<_, _>>()?;
    for meta in build.into_iter().flat_map(|b| b.split('.')) {
        if meta.is_empty() {
            return Err("Build meta data is empty".into());
        }
        if !meta.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
            return Err(format!("Invalid character(s) found in build meta data \"{meta}\""));
        }
    }
    Ok(Version { numbers, pre })
}

fn numeric(which: &str, text: &str) -> Result<u64, String> {
    if !text.bytes().all(|c| c.is_ascii_digit()) {
        let which = which.to_lowercase();
        return Err(format!("Invalid character(s) found in {which} number \"{text}\""));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{which} number must not contain leading zeroes \"{text}\""));
    }
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing \"{text}\": invalid syntax"))
}

fn part(text: &str) -> Result<Part, String> {
    if text.is_empty() {
        return Err("Prerelease is empty".into());
    }
    if text.bytes().all(|c| c.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            let text =
                format!("Numeric PreRelease version must not contain leading zeroes \"{text}\"");
            return Err(text);
        }
        return text
            .parse()
            .map(Part::Number)
            .map_err(|_| format!("strconv.ParseUint: parsing \"{text}\": value out of range"));
    }
    if !text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Err(format!("Invalid character(s) found in prerelease \"{text}\""));
    }
    Ok(Part::Text(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_upstreams_order() {
        let order =
            ["1.0.0-1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta", "1.0.0", "1.0.1", "1.10.0"];
        for pair in order.windows(2) {
            assert!(parse(pair[0]).unwrap().cmp(&parse(pair[1]).unwrap()).is_lt(), "{pair:?}");
        }
        for bad in
            ["", "1.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "a.b.c", "1.0.0-é", "v1.0.0"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(normalize("v1.0").unwrap(), "1.0.0");
        assert_eq!(normalize("01.01.01").unwrap(), "1.1.1");
        assert!(normalize("1-x").is_err());
    }
}
