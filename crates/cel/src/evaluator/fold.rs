//! Comprehensions. Costs are those of the loops that cel-go's macros expand to.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Evaluator, insert, key_of};
use crate::ast::{Expr, Fold, FoldKind};
use crate::cost;
use crate::error::EvalError;
use crate::functions::Out;
use crate::value::{Key, Map, Val};

impl<'a> Evaluator<'_, 'a> {
    pub(super) fn fold(&mut self, fold: &Fold) -> Out<'a> {
        let range = self.expr(&fold.range)?;
        let before = self.scope.len();
        let result = match fold.kind {
            FoldKind::All | FoldKind::Exists => self.quantify(fold, &range),
            FoldKind::ExistsOne => self.exists_one(fold, &range),
            FoldKind::List => self.collect(fold, &range),
            FoldKind::MapValues | FoldKind::MapEntries => self.transform(fold, &range),
        };
        self.scope.truncate(before);
        result
    }

    /// Calls `step` for each element until it says that it has enough, with the variables set.
    fn each(
        &mut self,
        fold: &Fold,
        range: &Val<'a>,
        step: &mut dyn FnMut(&mut Self, Key) -> Result<bool, EvalError>,
    ) -> Result<(), EvalError> {
        let base = self.scope.len();
        let mut turn = |this: &mut Self, key: Key, value: Val<'a>, keys: bool| {
            this.scope.truncate(base);
            match &fold.var2 {
                Some(second) => {
                    this.scope.push((fold.var.clone(), key.to_val()));
                    this.scope.push((second.clone(), value));
                }
                None => {
                    let element = if keys { key.to_val() } else { value };
                    this.scope.push((fold.var.clone(), element));
                }
            }
            step(this, key)
        };
        match range {
            Val::List(list) => {
                for (i, value) in list.iter().enumerate() {
                    if turn(self, Key::Int(i as i128), value, false)? {
                        break;
                    }
                }
            }
            Val::Map(map) => {
                for (key, value) in map.iter() {
                    if turn(self, key, value, true)? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::NoSuchOverload),
        }
        self.scope.truncate(base);
        Ok(())
    }

    /// `all` and `exists`: an element that decides wins over errors of others.
    fn quantify(&mut self, fold: &Fold, range: &Val<'a>) -> Out<'a> {
        let any = fold.kind == FoldKind::Exists;
        let (mut decided, mut error) = (false, None);
        self.each(fold, range, &mut |this, _| {
            this.charge(if any { 4 } else { 3 } * cost::STEP)?;
            match this.expr(&fold.body) {
                Ok(Val::Bool(b)) => decided = b == any,
                Ok(_) => error = Some(EvalError::NoSuchOverload),
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                Err(e) => error = Some(e),
            }
            Ok(decided)
        })?;
        self.charge(cost::STEP)?;
        match error {
            Some(error) if !decided => Err(error),
            _ => Ok(Val::Bool(decided == any)),
        }
    }

    fn exists_one(&mut self, fold: &Fold, range: &Val<'a>) -> Out<'a> {
        let mut count = 0u64;
        self.each(fold, range, &mut |this, _| {
            this.charge(cost::STEP)?;
            if this.test(&fold.body)? {
                this.charge(cost::STEP)?;
                count += 1;
            }
            Ok(false)
        })?;
        self.charge(2 * cost::STEP)?;
        Ok(Val::Bool(count == 1))
    }

    /// A condition, which must be a boolean.
    fn test(&mut self, condition: &Expr) -> Result<bool, EvalError> {
        self.expr(condition)?.as_bool().ok_or(EvalError::NoSuchOverload)
    }

    fn passes(&mut self, fold: &Fold) -> Result<bool, EvalError> {
        match &fold.filter {
            Some(filter) => self.test(filter),
            None => Ok(true),
        }
    }

    fn collect(&mut self, fold: &Fold, range: &Val<'a>) -> Out<'a> {
        let mut made = Vec::new();
        self.charge(cost::LIST)?;
        self.each(fold, range, &mut |this, _| {
            this.charge(cost::STEP)?;
            if this.passes(fold)? {
                this.charge(cost::LIST + cost::STEP)?;
                made.push(this.expr(&fold.body)?);
            }
            Ok(false)
        })?;
        self.charge(cost::STEP)?;
        Ok(Val::list(made))
    }

    fn transform(&mut self, fold: &Fold, range: &Val<'a>) -> Out<'a> {
        let mut made = BTreeMap::new();
        self.charge(cost::MAP)?;
        self.each(fold, range, &mut |this, key| {
            this.charge(cost::STEP)?;
            if !this.passes(fold)? {
                return Ok(false);
            }
            this.charge(cost::STEP)?;
            let value = this.expr(&fold.body)?;
            if fold.kind == FoldKind::MapValues {
                insert(&mut made, key, value)?;
                return Ok(false);
            }
            let Val::Map(entries) = value else { return Err(EvalError::NoSuchOverload) };
            for (key, value) in entries.iter() {
                this.charge(cost::STEP)?;
                insert(&mut made, key_of(&key.to_val())?, value)?;
            }
            Ok(false)
        })?;
        self.charge(cost::STEP)?;
        Ok(Val::Map(Map::Built(Arc::new(made))))
    }
}
