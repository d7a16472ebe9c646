//! Equality and order. Numbers compare by their amount whatever their types; values of different
//! kinds are unequal and have no order.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;

use smol_str::SmolStr;

use crate::types::ListKind;
use crate::value::{Key, List, Map, Val};

/// Whether two values are equal.
pub(crate) fn equal(a: &Val<'_>, b: &Val<'_>) -> bool {
    match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Str(a), Val::Str(b)) => a == b,
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::List(a), Val::List(b)) => lists(a, b),
        (Val::Map(a), Val::Map(b)) => maps(a, b),
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::Type(a), Val::Type(b)) => a == b,
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b),
            (a, b) => a.is_none() && b.is_none(),
        },
        (Val::Opaque(a), Val::Opaque(b)) => a == b,
        (a, b) => numbers(a, b) == Some(Ordering::Equal),
    }
}

fn lists(a: &List<'_>, b: &List<'_>) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.kind().or(b.kind()) {
        Some(ListKind::Set) => {
            let there = sorted(b, |item| vec![mark(item)]);
            let is_there = |x: Val<'_>| found(&there, vec![mark(&x)], |y| equal(&x, y));
            a.iter().all(is_there)
        }
        Some(ListKind::Map(keys)) => {
            let marks = |item: &Val<'_>| marks_of(keys, item);
            let there = sorted(b, marks);
            let same = |x: &Val<'_>, y: &Val<'_>| same_keys(keys, x, y) && equal(x, y);
            a.iter().all(|x| found(&there, marks(&x), |y| same(&x, y)))
        }
        _ => a.iter().zip(b.iter()).all(|(a, b)| equal(&a, &b)),
    }
}

/// What equal values have in common, so that few have to be compared.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    None,
    Bool(bool),
    /// A number, as near as a float comes.
    Number(u64),
    Str(SmolStr),
    /// Of others how many parts they have.
    Parts(usize),
}

fn mark(v: &Val<'_>) -> Mark {
    // Zero is also minus zero.
    let number = |n: f64| Mark::Number((n + 0.0).to_bits());
    match v {
        Val::Bool(b) => Mark::Bool(*b),
        Val::Int(n) => number(*n as f64),
        Val::Uint(n) => number(*n as f64),
        Val::Double(n) => number(*n),
        Val::Str(s) => Mark::Str(s.clone()),
        Val::List(list) => Mark::Parts(list.len()),
        Val::Map(map) => Mark::Parts(map.len()),
        _ => Mark::None,
    }
}

fn marks_of(keys: &[SmolStr], item: &Val<'_>) -> Vec<Mark> {
    let Val::Map(map) = item else { return Vec::new() };
    keys.iter().map(|key| map.field(key).as_ref().map_or(Mark::None, mark)).collect()
}

type Sorted<'a> = BTreeMap<Vec<Mark>, Vec<Val<'a>>>;

fn sorted<'a>(list: &List<'a>, marks: impl Fn(&Val<'a>) -> Vec<Mark>) -> Sorted<'a> {
    let mut all = Sorted::new();
    for item in list.iter() {
        all.entry(marks(&item)).or_default().push(item);
    }
    all
}

fn found(all: &Sorted<'_>, marks: Vec<Mark>, mut is: impl FnMut(&Val<'_>) -> bool) -> bool {
    all.get(&marks).is_some_and(|items| items.iter().any(&mut is))
}

/// Whether two items of a map list are about the same key.
pub(crate) fn same_keys(keys: &[SmolStr], a: &Val<'_>, b: &Val<'_>) -> bool {
    let (Val::Map(a), Val::Map(b)) = (a, b) else { return false };
    keys.iter().all(|key| match (a.field(key), b.field(key)) {
        (Some(a), Some(b)) => equal(&a, &b),
        (a, b) => a.is_none() && b.is_none(),
    })
}

fn maps(a: &Map<'_>, b: &Map<'_>) -> bool {
    a.len() == b.len() && a.iter().all(|(key, x)| b.get(&key).is_some_and(|y| equal(&x, &y)))
}

/// The order of two values; `None` where they have none.
pub(crate) fn order(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Str(a), Val::Str(b)) => Some(a.cmp(b)),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
        (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        (a, b) => numbers(a, b),
    }
}

/// Whether both are numbers, so that they have an order unless one is not a number.
pub(crate) fn both_numbers(a: &Val<'_>, b: &Val<'_>) -> bool {
    let number = |v: &Val<'_>| matches!(v, Val::Int(_) | Val::Uint(_) | Val::Double(_));
    number(a) && number(b)
}

fn numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    let whole = |v: &Val<'_>| match v {
        Val::Int(n) => Some(i128::from(*n)),
        Val::Uint(n) => Some(i128::from(*n)),
        _ => None,
    };
    match (a, b) {
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Double(a), b) => compare_double(*a, whole(b)?),
        (a, Val::Double(b)) => compare_double(*b, whole(a)?).map(Ordering::reverse),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

/// The exact order of a float and an integer of at most 65 bits.
fn compare_double(a: f64, b: i128) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    // A cast saturates, and beyond 65 bits every float is whole.
    let whole = a as i128;
    Some(whole.cmp(&b).then_with(|| a.partial_cmp(&(whole as f64)).unwrap_or(Ordering::Equal)))
}

/// Whether a list has an item equal to `wanted`, or a map the key.
pub(crate) fn contains(container: &Val<'_>, wanted: &Val<'_>) -> Option<bool> {
    match container {
        Val::List(list) => Some(list.iter().any(|item| equal(&item, wanted))),
        Val::Map(map) => Some(Key::of(wanted).is_some_and(|key| map.get(&key).is_some())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly() {
        let big = Val::Double(9_007_199_254_740_993.0);
        assert!(!equal(&big, &Val::Int(9_007_199_254_740_993)));
        assert!(equal(&Val::Uint(3), &Val::Double(3.0)));
        assert!(equal(&Val::Int(-1), &Val::Double(-1.0)));
        assert!(!equal(&Val::Double(f64::NAN), &Val::Double(f64::NAN)));
        assert_eq!(order(&Val::Double(-0.5), &Val::Int(0)), Some(Ordering::Less));
        assert_eq!(order(&Val::Int(0), &Val::Double(0.5)), Some(Ordering::Less));
        assert_eq!(order(&Val::Uint(u64::MAX), &Val::Int(-1)), Some(Ordering::Greater));
        assert_eq!(order(&Val::Double(1e300), &Val::Uint(u64::MAX)), Some(Ordering::Greater));
        assert_eq!(order(&Val::Double(f64::NAN), &Val::Int(1)), None);
        assert_eq!(order(&Val::Bool(false), &Val::Int(1)), None);
    }
}
