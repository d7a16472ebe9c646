//! Steps into values: fields and indexes, with what optional values do to them.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;

use smol_str::SmolStr;

use super::{Evaluator, there};
use crate::ast::{Expr, Kind, Select};
use crate::cost;
use crate::error::EvalError;
use crate::functions::Out;
use crate::value::{Key, Val};

impl<'a> Evaluator<'_, 'a> {
    /// The value that a step goes into. What is no path of names costs one step more.
    fn operand(&mut self, operand: &Expr) -> Out<'a> {
        if !matches!(operand.kind, Kind::Ident(_) | Kind::Select(_) | Kind::Index { .. }) {
            self.charge(cost::STEP)?;
        }
        self.expr(operand)
    }

    pub(super) fn select(&mut self, select: &Select) -> Out<'a> {
        let operand = self.operand(&select.operand)?;
        if select.test {
            // Kubernetes asks for presence without cost.
            self.cost = self.cost.saturating_sub(cost::STEP);
            return has(&operand, &select.field).map(Val::Bool);
        }
        self.charge(cost::STEP)?;
        match (&operand, select.optional) {
            (Val::Optional(None), _) => Ok(Val::Optional(None)),
            (Val::Optional(Some(inner)), _) => maybe(field(inner, &select.field)),
            (operand, true) => maybe(field(operand, &select.field)),
            (operand, false) => field(operand, &select.field),
        }
    }

    pub(super) fn index(&mut self, operand: &Expr, index: &Expr, optional: bool) -> Out<'a> {
        let operand = self.operand(operand)?;
        let index = self.expr(index)?;
        self.charge(cost::STEP)?;
        match (&operand, optional) {
            (Val::Optional(None), _) => Ok(Val::Optional(None)),
            (Val::Optional(Some(inner)), _) => maybe(item(inner, &index)),
            (operand, true) => maybe(item(operand, &index)),
            (operand, false) => item(operand, &index),
        }
    }
}

/// A value that may be missing; an optional value stays one.
fn maybe<'a>(found: Out<'a>) -> Out<'a> {
    match found {
        Ok(value @ Val::Optional(_)) => Ok(value),
        Ok(value) => Ok(Val::Optional(Some(Arc::new(value)))),
        Err(EvalError::NoSuchKey(_) | EvalError::IndexOutOfBounds(_)) => Ok(Val::Optional(None)),
        Err(error) => Err(error),
    }
}

fn has(value: &Val<'_>, field: &SmolStr) -> Result<bool, EvalError> {
    match value {
        Val::Map(map) => Ok(map.field(field).is_some()),
        Val::Optional(None) => Ok(false),
        Val::Optional(Some(inner)) => has(inner, field),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn field<'a>(value: &Val<'a>, field: &SmolStr) -> Out<'a> {
    match value {
        Val::Map(map) => match map.field(field) {
            Some(value) => there(value),
            None => Err(EvalError::NoSuchKey(field.to_string())),
        },
        Val::List(_) => Err(EvalError::new("unsupported index type 'string' in list")),
        _ => Err(EvalError::NoSuchKey(field.to_string())),
    }
}

fn item<'a>(value: &Val<'a>, index: &Val<'a>) -> Out<'a> {
    match value {
        Val::List(list) => {
            let Some(Key::Int(n)) = Key::of(index) else {
                let ty = index.type_name();
                return Err(EvalError::new(format!("unsupported index type '{ty}' in list")));
            };
            let found = usize::try_from(n).ok().and_then(|n| list.get(n));
            found.ok_or_else(|| EvalError::IndexOutOfBounds(n.to_string())).and_then(there)
        }
        Val::Map(map) => {
            let Some(key) = Key::of(index) else { return Err(EvalError::NoSuchOverload) };
            match map.get(&key) {
                Some(value) => there(value),
                None => Err(EvalError::NoSuchKey(key.text().to_string())),
            }
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}
