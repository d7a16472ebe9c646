//! Working out an expression's value, and counting what it costs.

mod access;
mod fold;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;

use crate::ast::{Call, Entry, Expr, Item, Kind, Literal};
use crate::cost;
use crate::environment::Variables;
use crate::error::EvalError;
use crate::functions::{Out, Site, convert};
use crate::value::{Key, Map, Val};

/// One evaluation.
pub(crate) struct Evaluator<'v, 'a> {
    variables: &'v Variables<'a>,
    /// Variables of comprehensions, the innermost last.
    scope: Vec<(SmolStr, Val<'a>)>,
    pub cost: u64,
    limit: u64,
}

impl<'v, 'a> Evaluator<'v, 'a> {
    pub fn new(variables: &'v Variables<'a>, limit: u64) -> Self {
        Evaluator { variables, scope: Vec::new(), cost: 0, limit }
    }

    pub fn expr(&mut self, expr: &Expr) -> Out<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(constant(literal)),
            Kind::Ident(name) => self.ident(name),
            Kind::Select(select) => self.select(select),
            Kind::Index { operand, index, optional } => self.index(operand, index, *optional),
            Kind::Call(call) => self.call(call),
            Kind::Logic { or, terms } => self.logic(*or, terms),
            Kind::Conditional(parts) => match self.expr(&parts[0])? {
                Val::Bool(true) => self.expr(&parts[1]),
                Val::Bool(false) => self.expr(&parts[2]),
                _ => Err(EvalError::NoSuchOverload),
            },
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name } => Err(EvalError::NoSuchAttribute(name.as_str().into())),
            Kind::Fold(fold) => self.fold(fold),
            Kind::Bind { var, init, body } => {
                let value = self.expr(init)?;
                self.scoped(var, value, |e| e.expr(body))
            }
            Kind::OptMap { target, var, body, flat } => match self.expr(target)? {
                Val::Optional(None) => Ok(Val::Optional(None)),
                Val::Optional(Some(value)) => {
                    let value = Val::clone(&value);
                    let made = self.scoped(var, value, |e| e.expr(body))?;
                    Ok(if *flat { made } else { Val::Optional(Some(Arc::new(made))) })
                }
                _ => Err(EvalError::NoSuchOverload),
            },
        }
    }

    /// Adds to the cost; past the limit nothing goes on.
    fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    fn ident(&mut self, name: &SmolStr) -> Out<'a> {
        self.charge(cost::STEP)?;
        let scoped = self.scope.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v);
        if let Some(value) = scoped.or_else(|| self.variables.get(name)) {
            return there(value.clone());
        }
        if convert::type_named(name).is_some() {
            return Ok(Val::Type(name.clone()));
        }
        Err(EvalError::NoSuchAttribute(name.as_str().into()))
    }

    fn call(&mut self, call: &Call) -> Out<'a> {
        let mut args = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &call.target {
            args.push(self.expr(target)?);
        }
        // The alternative to a value that is there is not worked out.
        if let (Some(Val::Optional(Some(value))), "or" | "orValue") =
            (args.first(), call.function.as_str())
        {
            return Ok(if call.function == "or" { args[0].clone() } else { Val::clone(value) });
        }
        for arg in &call.args {
            args.push(self.expr(arg)?);
        }
        self.charge(cost::of_call(&call.function, &args))?;
        let site = Site { regex: call.regex.as_deref() };
        for function in &call.run {
            match (function.run)(&args, &site) {
                Err(EvalError::NoSuchOverload) => {}
                done => return done,
            }
        }
        Err(EvalError::NoSuchOverload)
    }

    /// `&&` and `||`: a term that decides wins over errors, on whichever side they are.
    fn logic(&mut self, or: bool, terms: &[Expr]) -> Out<'a> {
        let mut error = None;
        for term in terms {
            match self.expr(term) {
                Ok(Val::Bool(b)) if b == or => return Ok(Val::Bool(or)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => error = error.or(Some(EvalError::NoSuchOverload)),
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                Err(e) => error = error.or(Some(e)),
            }
        }
        error.map_or(Ok(Val::Bool(!or)), Err)
    }

    fn list(&mut self, items: &[Item]) -> Out<'a> {
        self.charge(cost::LIST)?;
        let mut made = Vec::with_capacity(items.len());
        for item in items {
            let value = self.expr(&item.value)?;
            match (item.optional, value) {
                (false, value) => made.push(value),
                (true, Val::Optional(None)) => {}
                (true, Val::Optional(Some(value))) => made.push(Val::clone(&value)),
                (true, _) => return Err(EvalError::NoSuchOverload),
            }
        }
        Ok(Val::list(made))
    }

    fn map(&mut self, entries: &[Entry]) -> Out<'a> {
        self.charge(cost::MAP)?;
        let mut made = BTreeMap::new();
        for entry in entries {
            let key = key_of(&self.expr(&entry.key)?)?;
            let value = self.expr(&entry.value)?;
            match (entry.optional, value) {
                (false, value) => insert(&mut made, key, value)?,
                (true, Val::Optional(None)) => {}
                (true, Val::Optional(Some(value))) => insert(&mut made, key, Val::clone(&value))?,
                (true, _) => return Err(EvalError::NoSuchOverload),
            }
        }
        Ok(Val::Map(Map::Built(Arc::new(made))))
    }

    /// Evaluates with one more variable.
    fn scoped<T>(&mut self, var: &SmolStr, value: Val<'a>, run: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push((var.clone(), value));
        let result = run(self);
        self.scope.pop();
        result
    }
}

/// The value, unless it stands for an error.
fn there(value: Val<'_>) -> Out<'_> {
    match value {
        Val::Failed(error) => Err(EvalError::clone(&error)),
        value => Ok(value),
    }
}

fn key_of(value: &Val<'_>) -> Result<Key, EvalError> {
    match value {
        Val::Double(_) => None,
        value => Key::of(value),
    }
    .ok_or_else(|| EvalError::new(alloc::format!("unsupported key type: {}", value.type_name())))
}

fn insert<'a>(map: &mut BTreeMap<Key, Val<'a>>, key: Key, value: Val<'a>) -> Result<(), EvalError> {
    let text = key.text();
    match map.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(EvalError::new(alloc::format!("insert failed: key {text} already exists"))),
    }
}

fn constant<'a>(literal: &Literal) -> Val<'a> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(b) => Val::Bool(*b),
        Literal::Int(n) => Val::Int(*n),
        Literal::Uint(n) => Val::Uint(*n),
        Literal::Double(n) => Val::Double(*n),
        Literal::Str(s) => Val::Str(s.clone()),
        Literal::Bytes(b) => Val::Bytes(b.clone()),
    }
}
