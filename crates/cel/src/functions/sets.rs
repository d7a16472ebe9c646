//! cel-go's sets: lists compared without regard to order and repetition.

use super::{Function, Out, function};
use crate::compare::equal;
use crate::error::EvalError;
use crate::value::{List, Val};

pub(super) const FUNCTIONS: &[Function] = &[
    function("sets.contains", &["[A][A]:b"], |args, _| both(args, contains)),
    function("sets.equivalent", &["[A][A]:b"], |args, _| {
        both(args, |a, b| contains(a, b) && contains(b, a))
    }),
    function("sets.intersects", &["[A][A]:b"], |args, _| {
        both(args, |a, b| a.iter().any(|x| b.iter().any(|y| equal(&x, &y))))
    }),
];

fn both<'a>(args: &[Val<'a>], holds: fn(&List<'a>, &List<'a>) -> bool) -> Out<'a> {
    match args {
        [Val::List(a), Val::List(b)] => Ok(holds(a, b).into()),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn contains(a: &List<'_>, b: &List<'_>) -> bool {
    b.iter().all(|y| a.iter().any(|x| equal(&x, &y)))
}
