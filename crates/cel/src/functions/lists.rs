//! Kubernetes' library of lists, and `first` and `last` of cel-go's optional types.

use alloc::sync::Arc;

use super::arithmetic;
use super::{Function, Out, Site, function};
use crate::compare::{equal, order};
use crate::error::EvalError;
use crate::value::{List, Val};

const COMPARABLE: [&str; 8] =
    [".[i]:b", ".[u]:b", ".[d]:b", ".[b]:b", ".[D]:b", ".[t]:b", ".[s]:b", ".[y]:b"];

const OF_ITEM: [&str; 8] =
    [".[i]:i", ".[u]:u", ".[d]:d", ".[b]:b", ".[D]:D", ".[t]:t", ".[s]:s", ".[y]:y"];

pub(super) const FUNCTIONS: &[Function] = &[
    function("isSorted", &COMPARABLE, is_sorted),
    function("sum", &[".[i]:i", ".[u]:u", ".[d]:d", ".[D]:D"], sum),
    function("min", &OF_ITEM, |args, site| extreme(args, site, false)),
    function("max", &OF_ITEM, |args, site| extreme(args, site, true)),
    function("indexOf", &[".[A]A:i"], |args, _| {
        position(args, |list, x| list.iter().position(|item| equal(&item, x)))
    }),
    function("lastIndexOf", &[".[A]A:i"], |args, _| {
        position(args, |list, x| {
            (0..list.len()).rev().find(|i| list.get(*i).is_some_and(|item| equal(&item, x)))
        })
    }),
    function("first", &[".[A]:?A"], |args, _| end(args, |_| Some(0))),
    function("last", &[".[A]:?A"], |args, _| end(args, |list| list.len().checked_sub(1))),
];

fn is_sorted<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let [Val::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut last: Option<Val<'a>> = None;
    for item in list.iter() {
        if let Some(last) = last {
            match order(&last, &item) {
                Some(order) if order.is_gt() => return Ok(false.into()),
                Some(_) => {}
                None => return Err(EvalError::NoSuchOverload),
            }
        }
        last = Some(item);
    }
    Ok(true.into())
}

fn sum<'a>(args: &[Val<'a>], site: &Site<'_>) -> Out<'a> {
    let [Val::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut items = list.iter();
    let Some(mut total) = items.next() else { return Ok(Val::Int(0)) };
    if !matches!(total, Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::Duration(_)) {
        return Err(EvalError::NoSuchOverload);
    }
    for item in items {
        total = arithmetic::add(&[total, item], site)?;
    }
    Ok(total)
}

fn extreme<'a>(args: &[Val<'a>], _: &Site<'_>, greatest: bool) -> Out<'a> {
    let [Val::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut items = list.iter();
    let name = if greatest { "max" } else { "min" };
    let Some(mut best) = items.next() else {
        return Err(EvalError::new(alloc::format!("{name} called on empty list")));
    };
    for item in items {
        let order = order(&item, &best).ok_or(EvalError::NoSuchOverload)?;
        if greatest && order.is_gt() || !greatest && order.is_lt() {
            best = item;
        }
    }
    Ok(best)
}

fn position<'a>(args: &[Val<'a>], find: impl Fn(&List<'a>, &Val<'a>) -> Option<usize>) -> Out<'a> {
    match args {
        [Val::List(list), item] => {
            Ok(Val::Int(find(list, item).map_or(-1, |i| i64::try_from(i).unwrap_or(i64::MAX))))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn end<'a>(args: &[Val<'a>], index: impl Fn(&List<'a>) -> Option<usize>) -> Out<'a> {
    let [Val::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Val::Optional(index(list).and_then(|i| list.get(i)).map(Arc::new)))
}
