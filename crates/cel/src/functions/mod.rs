//! The functions of the language: their names, their types and what they do. One table a file;
//! checker, evaluator and costs read the same rows.

pub(crate) mod arithmetic;
pub(crate) mod convert;
mod format;
mod lists;
mod optional;
pub(crate) mod regex;
mod sets;
mod strings;
mod timestamps;

use alloc::sync::Arc;
use alloc::vec::Vec;

use regex_lite::Regex;

use crate::error::EvalError;
use crate::libraries;
use crate::types::{ListKind, ListType, Type};
use crate::value::Val;

/// What an implementation gives.
pub(crate) type Out<'a> = Result<Val<'a>, EvalError>;

/// An implementation. Arguments that it is not for answer with [`EvalError::NoSuchOverload`]; then
/// the next one of that name is asked.
pub(crate) type Run = for<'a> fn(&[Val<'a>], &Site<'_>) -> Out<'a>;

/// What a call knows besides its arguments.
pub(crate) struct Site<'s> {
    /// The pattern compiled, where it is a literal.
    pub regex: Option<&'s Regex>,
}

/// A function.
#[derive(Debug)]
pub(crate) struct Function {
    pub name: &'static str,
    /// The types; see [`signature`].
    pub overloads: &'static [&'static str],
    pub run: Run,
}

/// A row of a table.
pub(crate) const fn function(
    name: &'static str,
    overloads: &'static [&'static str],
    run: Run,
) -> Function {
    Function { name, overloads, run }
}

const TABLES: [&[Function]; 16] = [
    arithmetic::FUNCTIONS,
    convert::FUNCTIONS,
    strings::FUNCTIONS,
    format::FUNCTIONS,
    timestamps::FUNCTIONS,
    lists::FUNCTIONS,
    regex::FUNCTIONS,
    sets::FUNCTIONS,
    optional::FUNCTIONS,
    libraries::url::FUNCTIONS,
    libraries::quantity::FUNCTIONS,
    libraries::ip::FUNCTIONS,
    libraries::cidr::FUNCTIONS,
    libraries::semver::FUNCTIONS,
    libraries::named_format::FUNCTIONS,
    libraries::authorizer::FUNCTIONS,
];

/// The functions of a name.
pub(crate) fn named(name: &str) -> impl Iterator<Item = &'static Function> + '_ {
    TABLES.iter().flat_map(|t| t.iter()).filter(move |f| f.name == name)
}

/// Whether there is a function of that name.
pub(crate) fn exists(name: &str) -> bool {
    named(name).next().is_some()
}

/// The types of one overload.
pub(crate) struct Signature {
    /// Whether the first argument stands before the dot.
    pub member: bool,
    pub args: Vec<Type>,
    pub result: Type,
}

/// Reads a signature such as `.s[A]:b`: a dot for a member, the arguments' types, a colon, the
/// result's type. `b i u d s y n` are bool, int, uint, double, string, bytes and null, `t` and `D`
/// timestamp and duration, `*` dyn, `A` and `B` open, `[A]` a list, `{AB}` a map, `?A` an
/// optional, `TA` the type of a type; the others are the libraries'.
pub(crate) fn signature(text: &str) -> Signature {
    let member = text.starts_with('.');
    let (args, result) = text.trim_start_matches('.').split_once(':').unwrap_or((text, "*"));
    let mut rest = args.chars();
    let mut types = Vec::new();
    while !rest.as_str().is_empty() {
        types.push(one(&mut rest));
    }
    Signature { member, args: types, result: one(&mut result.chars()) }
}

fn one(rest: &mut core::str::Chars<'_>) -> Type {
    match rest.next() {
        Some('b') => Type::Bool,
        Some('i') => Type::Int,
        Some('u') => Type::Uint,
        Some('d') => Type::Double,
        Some('s') => Type::Str,
        Some('y') => Type::Bytes,
        Some('n') => Type::Null,
        Some('t') => Type::Timestamp,
        Some('D') => Type::Duration,
        Some('A') => Type::Param(0),
        Some('B') => Type::Param(1),
        Some('?') => Type::optional(one(rest)),
        Some('T') => Type::Type(Arc::new(one(rest))),
        Some('[') => {
            let item = one(rest);
            rest.next();
            Type::List(Arc::new(ListType { item, kind: ListKind::Atomic }))
        }
        Some('{') => {
            let (key, value) = (one(rest), one(rest));
            rest.next();
            Type::map(key, value)
        }
        Some(letter) => libraries::opaque_type(letter).map_or(Type::Dyn, Type::Opaque),
        None => Type::Dyn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn signatures_are_read() {
        let s = signature(".[A]?s:{s*}");
        assert!(s.member && s.result.to_string() == "map(string, dyn)");
        let args: Vec<_> = s.args.iter().map(ToString::to_string).collect();
        assert_eq!(args, ["list(_var0)", "optional_type(string)"]);
    }

    #[test]
    fn every_row_has_types_of_its_own() {
        for function in TABLES.iter().flat_map(|t| t.iter()) {
            assert!(!function.overloads.is_empty(), "{}", function.name);
            for text in function.overloads {
                let same = named(function.name).flat_map(|f| f.overloads).filter(|o| *o == text);
                assert_eq!(same.count(), 1, "{} {text}", function.name);
                assert!(text.contains(':'), "{} {text}", function.name);
            }
        }
    }
}
