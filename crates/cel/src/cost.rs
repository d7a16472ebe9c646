//! What calls cost: cel-go's and Kubernetes' figures. Costs are charged before the work is done, so
//! that a call that is too costly does not happen.

use crate::value::Val;

/// An identifier, or one step into a value.
pub(crate) const STEP: u64 = 1;
/// A list literal.
pub(crate) const LIST: u64 = 10;
/// A map literal.
pub(crate) const MAP: u64 = 30;

/// A tenth of a size, rounded up: what going through a string costs.
fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

/// The cost of a pattern on a string.
fn pattern(text: u64, pattern: u64) -> u64 {
    tenth(text.saturating_add(1)).saturating_mul(pattern.div_ceil(4))
}

/// The cost of a call.
pub(crate) fn of_call(function: &str, args: &[Val<'_>]) -> u64 {
    let size = |i: usize| args.get(i).map_or(1, Val::size);
    let is_text = |i: usize| matches!(args.get(i), Some(Val::Str(_) | Val::Bytes(_)));
    match function {
        "startsWith" | "endsWith" | "strings.quote" | "format" => tenth(size(0)),
        "bytes" | "string" if is_text(0) => tenth(size(0)),
        "@in" => match args.get(1) {
            Some(Val::List(_)) => size(1),
            _ => 1,
        },
        "_==_" | "_!=_" => tenth(size(0).min(size(1))),
        "_<_" | "_<=_" | "_>_" | "_>=_" if is_text(0) => tenth(size(0).min(size(1))),
        "_+_" if is_text(0) => tenth(size(0).saturating_add(size(1))),
        "matches" | "find" | "findAll" => pattern(size(0), size(1)),
        "contains" => tenth(size(0)).saturating_mul(tenth(size(1))),
        "check" => 350_000,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => traversal(args),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" => tenth(size(0)),
        "replace" | "split" | "ip.isCanonical" => tenth(size(0).saturating_mul(2)),
        "join" => tenth(joined(args).saturating_mul(2)),
        "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "ip" | "isURL" => tenth(size(0)),
        "validate" | "semver" | "isSemver" => tenth(size(args.len().saturating_sub(1))).max(1),
        "containsIP" | "containsCIDR" => 4 + tenth(size(1)),
        "sets.contains" | "sets.intersects" => 1 + size(0).saturating_mul(size(1)),
        "sets.equivalent" => 1 + size(0).saturating_mul(size(1)).saturating_mul(2),
        _ => 1,
    }
}

/// Longer lists cost their length, whatever is in them: beyond every budget.
const LONG: usize = 2_000_000;

/// Going through a list and the texts in it.
fn traversal(args: &[Val<'_>]) -> u64 {
    match args.first() {
        Some(Val::List(list)) if list.len() > LONG => list.len() as u64,
        Some(Val::List(list)) => match list.get(0) {
            Some(Val::Str(_) | Val::Bytes(_)) => {
                list.iter().map(|v| tenth(v.size())).fold(0, u64::saturating_add)
            }
            _ => list.len() as u64,
        },
        Some(other) => tenth(other.size()),
        None => 1,
    }
}

/// The length of the string that `join` makes.
fn joined(args: &[Val<'_>]) -> u64 {
    let separator = args.get(1).map_or(0, Val::size);
    match args.first() {
        Some(Val::List(list)) if list.len() > LONG => (list.len() as u64).saturating_mul(10),
        Some(Val::List(list)) => {
            list.iter().map(|v| v.size().saturating_add(separator)).fold(0, u64::saturating_add)
        }
        _ => 1,
    }
}
