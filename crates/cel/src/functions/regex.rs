//! `matches`, and Kubernetes' `find` and `findAll`, with patterns in linear time.
//!
//! The syntax is RE2's but for Unicode classes (`\p{L}`), which are refused.

use alloc::format;
use alloc::string::String;

use regex_lite::{Regex, RegexBuilder};

use super::{Function, Out, Site, function};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Function] = &[
    function("matches", &["ss:b", ".ss:b"], |args, site| {
        pattern(args, site, |regex, s, _| Val::Bool(regex.is_match(s)))
    }),
    function("find", &[".ss:s"], |args, site| {
        pattern(args, site, |regex, s, _| {
            Val::string(regex.find(s).map_or("", |found| found.as_str()))
        })
    }),
    function("findAll", &[".ss:[s]", ".ssi:[s]"], |args, site| {
        pattern(args, site, |regex, s, limit| {
            let all = regex.find_iter(s).take(limit).map(|found| Val::string(found.as_str()));
            Val::list(all.collect())
        })
    }),
];

/// The compiled size of patterns is bounded, in bytes.
const MAX_SIZE: usize = 1 << 20;

/// Compiles a pattern; the error's text is what is wrong with it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = unquote(pattern);
    RegexBuilder::new(&translated)
        .size_limit(MAX_SIZE)
        .build()
        .map_err(|e| format!("error parsing regexp: {e}: `{pattern}`"))
}

/// Writes `\Q...\E` out, which only RE2 knows.
fn unquote(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        if let Some(quoted) = tail.strip_prefix("\\Q") {
            let (text, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex_lite::escape(text));
            rest = after;
        } else {
            let escaped = tail.chars().nth(1).map_or(0, char::len_utf8);
            out.push_str(&tail[..1 + escaped]);
            rest = &tail[1 + escaped..];
        }
    }
    out.push_str(rest);
    out
}

fn pattern<'a>(
    args: &[Val<'a>],
    site: &Site<'_>,
    run: impl Fn(&Regex, &str, usize) -> Val<'a>,
) -> Out<'a> {
    let (s, pattern, limit) = match args {
        [Val::Str(s), Val::Str(pattern)] => (s, pattern, usize::MAX),
        [Val::Str(s), Val::Str(pattern), Val::Int(limit)] => {
            (s, pattern, usize::try_from(*limit).unwrap_or(usize::MAX))
        }
        _ => return Err(EvalError::NoSuchOverload),
    };
    if let Some(regex) = site.regex {
        return Ok(run(regex, s, limit));
    }
    let regex = compile(pattern).map_err(EvalError::new)?;
    Ok(run(&regex, s, limit))
}

/// The functions whose second argument is a pattern.
pub(crate) const WITH_PATTERN: [&str; 3] = ["matches", "find", "findAll"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_re2s() {
        for (pattern, text, matched) in [
            (r"^[a-z]([-a-z0-9]*[a-z0-9])?$", "a-b", true),
            (r"\Qa.b\E+", "a.bbb", true),
            (r"\Qa.b", "axb", false),
            (r"(?i)ABC", "xabcx", true),
            (r"^\d{3}\z", "123", true),
            (r"[[:alpha:]]+", "1a", true),
            (r"(?P<x>a|b)", "b", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), matched, "{pattern}");
        }
        for bad in ["(", "[", "a{2,1}", "(?=a)", r"(a)\1", "x{100000}{100000}", r"\"] {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }
}
