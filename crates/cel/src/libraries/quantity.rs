//! Quantities: `quantity("1.5Gi").isGreaterThan(quantity("1G"))`.

use core::cmp::Ordering;

use timonier_meta::Quantity;

use super::Opaque;
use crate::error::EvalError;
use crate::functions::{Function, Out, function};
use crate::value::Val;

pub(crate) const FUNCTIONS: &[Function] = &[
    function("isQuantity", &["s:b"], |args, _| match args {
        [Val::Str(s)] => Ok(Quantity::parse(s).is_ok().into()),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("quantity", &["s:Q"], |args, _| match args {
        [Val::Str(s)] => Quantity::parse(s).map(val).map_err(EvalError::new),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("sign", &[".Q:i"], |args, _| {
        one(args, |q| Ok(Val::Int(ordinal(q.cmp(&Quantity::default())))))
    }),
    function("isInteger", &[".Q:b"], |args, _| one(args, |q| Ok(whole(q).is_some().into()))),
    function("asInteger", &[".Q:i"], |args, _| {
        one(args, |q| {
            whole(q).map(Val::Int).ok_or_else(|| EvalError::new("cannot convert value to integer"))
        })
    }),
    function("asApproximateFloat", &[".Q:d"], |args, _| one(args, |q| Ok(Val::Double(q.as_f64())))),
    function("isGreaterThan", &[".QQ:b"], |args, _| two(args, |a, b| (a > b).into())),
    function("isLessThan", &[".QQ:b"], |args, _| two(args, |a, b| (a < b).into())),
    function("compareTo", &[".QQ:i"], |args, _| two(args, |a, b| Val::Int(ordinal(a.cmp(&b))))),
    function("add", &[".QQ:Q", ".Qi:Q"], |args, _| amount(args, |a, b| a + b)),
    function("sub", &[".QQ:Q", ".Qi:Q"], |args, _| amount(args, |a, b| a - b)),
];

fn val<'a>(q: Quantity) -> Val<'a> {
    Val::Opaque(Opaque::Quantity(q))
}

/// -1, 0 or 1.
pub(super) fn ordinal(order: Ordering) -> i64 {
    order as i64
}

fn whole(q: Quantity) -> Option<i64> {
    let n = q.value();
    (Quantity::units(n) == q).then_some(n)
}

fn one<'a>(args: &[Val<'a>], run: fn(Quantity) -> Out<'a>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Quantity(q))] => run(*q),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn two<'a>(args: &[Val<'a>], run: fn(Quantity, Quantity) -> Val<'a>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Quantity(a)), Val::Opaque(Opaque::Quantity(b))] => Ok(run(*a, *b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn amount<'a>(args: &[Val<'a>], run: fn(Quantity, Quantity) -> Quantity) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Quantity(a)), Val::Opaque(Opaque::Quantity(b))] => {
            Ok(val(run(*a, *b)))
        }
        [Val::Opaque(Opaque::Quantity(a)), Val::Int(b)] => Ok(val(run(*a, Quantity::units(*b)))),
        _ => Err(EvalError::NoSuchOverload),
    }
}
