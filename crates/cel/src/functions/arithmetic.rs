//! Operators: arithmetic with overflow checks, comparison, membership.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{Function, Out, Site, function};
use crate::compare;
use crate::error::EvalError;
use crate::time::{FIRST, LAST};
use crate::types::ListKind;
use crate::value::{List, Val};

const ORDERED: &[&str] = &[
    "bb:b", "ii:b", "uu:b", "dd:b", "iu:b", "ui:b", "id:b", "di:b", "ud:b", "du:b", "ss:b", "yy:b",
    "tt:b", "DD:b",
];

pub(super) const FUNCTIONS: &[Function] = &[
    function(
        "_+_",
        &["ii:i", "uu:u", "dd:d", "ss:s", "yy:y", "[A][A]:[A]", "tD:t", "Dt:t", "DD:D"],
        add,
    ),
    function("_-_", &["ii:i", "uu:u", "dd:d", "tt:D", "tD:t", "DD:D"], subtract),
    function("_*_", &["ii:i", "uu:u", "dd:d"], multiply),
    function("_/_", &["ii:i", "uu:u", "dd:d"], divide),
    function("_%_", &["ii:i", "uu:u"], modulo),
    function("-_", &["i:i", "d:d"], negate),
    function("!_", &["b:b"], not),
    function("_==_", &["AA:b"], |args, _| pair(args, |a, b| Ok(compare::equal(a, b).into()))),
    function("_!=_", &["AA:b"], |args, _| pair(args, |a, b| Ok((!compare::equal(a, b)).into()))),
    function("_<_", ORDERED, |args, _| ordered(args, Ordering::is_lt)),
    function("_<=_", ORDERED, |args, _| ordered(args, Ordering::is_le)),
    function("_>_", ORDERED, |args, _| ordered(args, Ordering::is_gt)),
    function("_>=_", ORDERED, |args, _| ordered(args, Ordering::is_ge)),
    function("@in", &["A[A]:b", "A{AB}:b"], member),
];

/// Concatenated strings and bytes longer than this are refused as too costly.
pub(crate) const MAX_TEXT: usize = 16 << 20;

fn pair<'a>(args: &[Val<'a>], run: impl FnOnce(&Val<'a>, &Val<'a>) -> Out<'a>) -> Out<'a> {
    match args {
        [a, b] => run(a, b),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn ordered<'a>(args: &[Val<'a>], holds: fn(Ordering) -> bool) -> Out<'a> {
    pair(args, |a, b| match compare::order(a, b) {
        Some(order) => Ok(holds(order).into()),
        None if compare::both_numbers(a, b) => Err(EvalError::new("NaN values cannot be ordered")),
        None => Err(EvalError::NoSuchOverload),
    })
}

fn int<'a>(n: Option<i64>) -> Out<'a> {
    n.map(Val::Int).ok_or_else(|| EvalError::new("integer overflow"))
}

fn uint<'a>(n: Option<u64>) -> Out<'a> {
    n.map(Val::Uint).ok_or_else(|| EvalError::new("unsigned integer overflow"))
}

fn timestamp<'a>(t: i128) -> Out<'a> {
    if (FIRST..=LAST).contains(&t) {
        return Ok(Val::Timestamp(t));
    }
    Err(EvalError::new("timestamp overflow"))
}

fn duration<'a>(d: Option<i64>) -> Out<'a> {
    d.map(Val::Duration).ok_or_else(|| EvalError::new("duration overflow"))
}

pub(super) fn add<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    pair(args, |a, b| match (a, b) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_add(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_add(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        (Val::Str(a), Val::Str(b)) => {
            if a.len() + b.len() > MAX_TEXT {
                return Err(EvalError::CostLimit);
            }
            Ok(alloc::format!("{a}{b}").into())
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            if a.len() + b.len() > MAX_TEXT {
                return Err(EvalError::CostLimit);
            }
            let joined: Vec<u8> = a.iter().chain(b.iter()).copied().collect();
            Ok(Val::Bytes(Arc::from(joined)))
        }
        (Val::List(a), Val::List(b)) => concat(a, b),
        (Val::Timestamp(t), Val::Duration(d)) | (Val::Duration(d), Val::Timestamp(t)) => {
            timestamp(t + i128::from(*d))
        }
        (Val::Duration(a), Val::Duration(b)) => duration(a.checked_add(*b)),
        _ => Err(EvalError::NoSuchOverload),
    })
}

/// Lists after each other; of a set what is new, of a map list what has the same keys in the place
/// of the old.
fn concat<'a>(a: &List<'a>, b: &List<'a>) -> Out<'a> {
    let mut items: Vec<Val<'a>> = match a.kind() {
        Some(ListKind::Set | ListKind::Map(_)) => a.iter().collect(),
        _ => return Ok(Val::List(List::join(a, b)?)),
    };
    for item in b.iter() {
        let place = match a.kind() {
            Some(ListKind::Map(keys)) => {
                items.iter().position(|old| compare::same_keys(keys, old, &item))
            }
            _ => items.iter().position(|old| compare::equal(old, &item)),
        };
        match place {
            Some(place) => items[place] = item,
            None => items.push(item),
        }
    }
    Ok(Val::list(items))
}

fn subtract<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    pair(args, |a, b| match (a, b) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_sub(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_sub(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a - b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => duration(i64::try_from(a - b).ok()),
        (Val::Timestamp(t), Val::Duration(d)) => timestamp(t - i128::from(*d)),
        (Val::Duration(a), Val::Duration(b)) => duration(a.checked_sub(*b)),
        _ => Err(EvalError::NoSuchOverload),
    })
}

fn multiply<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    pair(args, |a, b| match (a, b) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_mul(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_mul(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a * b)),
        _ => Err(EvalError::NoSuchOverload),
    })
}

fn divide<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    pair(args, |a, b| match (a, b) {
        (Val::Int(_), Val::Int(0)) | (Val::Uint(_), Val::Uint(0)) => {
            Err(EvalError::new("division by zero"))
        }
        (Val::Int(a), Val::Int(b)) => int(a.checked_div(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_div(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a / b)),
        _ => Err(EvalError::NoSuchOverload),
    })
}

fn modulo<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    pair(args, |a, b| match (a, b) {
        (Val::Int(_), Val::Int(0)) | (Val::Uint(_), Val::Uint(0)) => {
            Err(EvalError::new("modulus by zero"))
        }
        (Val::Int(a), Val::Int(b)) => int(a.checked_rem(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_rem(*b)),
        _ => Err(EvalError::NoSuchOverload),
    })
}

fn negate<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Int(n)] => int(n.checked_neg()),
        [Val::Double(n)] => Ok(Val::Double(-n)),
        [Val::Duration(d)] => duration(d.checked_neg()),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn not<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Bool(b)] => Ok(Val::Bool(!b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn member<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    pair(args, |a, b| compare::contains(b, a).map(Val::Bool).ok_or(EvalError::NoSuchOverload))
}
