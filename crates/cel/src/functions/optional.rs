//! Values that may be missing. Whether an alternative is needed is known only when it has been
//! worked out, as with every function.

use alloc::sync::Arc;

use super::{Function, Out, function};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Function] = &[
    function("optional.of", &["A:?A"], |args, _| match args {
        [value] => Ok(Val::Optional(Some(Arc::new(value.clone())))),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("optional.ofNonZeroValue", &["A:?A"], |args, _| match args {
        [value] => Ok(Val::Optional((!value.is_zero()).then(|| Arc::new(value.clone())))),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("optional.none", &[":?A"], |_, _| Ok(Val::Optional(None))),
    function("hasValue", &[".?A:b"], |args, _| with(args, |v| Ok(v.is_some().into()))),
    function("value", &[".?A:A"], |args, _| {
        with(args, |v| match v {
            Some(value) => Ok(Val::clone(value)),
            None => Err(EvalError::new("optional.none() dereference")),
        })
    }),
    function("or", &[".?A?A:?A"], |args, _| match args {
        [Val::Optional(None), other @ Val::Optional(_)] => Ok(other.clone()),
        [some @ Val::Optional(Some(_)), _] => Ok(some.clone()),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("orValue", &[".?AA:A"], |args, _| match args {
        [Val::Optional(None), other] => Ok(other.clone()),
        [Val::Optional(Some(value)), _] => Ok(Val::clone(value)),
        _ => Err(EvalError::NoSuchOverload),
    }),
];

fn with<'a>(args: &[Val<'a>], run: impl Fn(Option<&Arc<Val<'a>>>) -> Out<'a>) -> Out<'a> {
    match args {
        [Val::Optional(inner)] => run(inner.as_ref()),
        _ => Err(EvalError::NoSuchOverload),
    }
}
