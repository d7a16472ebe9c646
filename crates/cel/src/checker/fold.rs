//! Types of comprehensions. The errors name the operators that cel-go's macros are made of.

use alloc::format;
use alloc::vec::Vec;

use smol_str::SmolStr;

use super::Checker;
use crate::ast::{Expr, Fold, FoldKind};
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn fold(&mut self, at: u32, fold: &mut Fold) -> Type {
        let range = self.expr(&mut fold.range);
        let range = self.unifier.resolve(&range, false);
        let (key, value) = match &range {
            Type::List(list) => (Type::Int, list.item.clone()),
            Type::Map(map) => (map.0.clone(), map.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issues.report(fold.range.at, message);
                (Type::Error, Type::Error)
            }
        };
        let vars = match (&fold.var2, &range) {
            (Some(second), _) => {
                alloc::vec![(fold.var.clone(), key.clone()), (second.clone(), value)]
            }
            (None, Type::Map(_)) => alloc::vec![(fold.var.clone(), key.clone())],
            (None, _) => alloc::vec![(fold.var.clone(), value)],
        };
        self.scoped(vars, |checker| checker.body(at, fold, key))
    }

    fn body(&mut self, at: u32, fold: &mut Fold, key: Type) -> Type {
        let filter = fold.filter.as_mut().map(|f| self.expr(f));
        let body = self.expr(&mut fold.body);
        let made = match fold.kind {
            FoldKind::All => {
                self.resolve(at, "_&&_", &["bb:b"], false, &[Type::Bool, body]);
                return Type::Bool;
            }
            FoldKind::Exists => {
                self.resolve(at, "_||_", &["bb:b"], false, &[Type::Bool, body]);
                return Type::Bool;
            }
            FoldKind::ExistsOne => {
                self.resolve(at, "_?_:_", &["bAA:A"], false, &[body, Type::Int, Type::Int]);
                return Type::Bool;
            }
            FoldKind::List => Type::list(body),
            FoldKind::MapValues => Type::map(key, body),
            FoldKind::MapEntries => {
                let open = Type::map(self.unifier.fresh(), self.unifier.fresh());
                if !self.unifier.assign(&open, &body) {
                    let args = [open, body];
                    return self.no_overload(at, "cel.@mapInsert", false, &args);
                }
                open
            }
        };
        if let Some(filter) = filter {
            let args = [filter, made.clone(), made.clone()];
            self.resolve(at, "_?_:_", &["bAA:A"], false, &args);
        }
        made
    }

    pub(super) fn opt_map(
        &mut self,
        at: u32,
        target: &mut Expr,
        var: &SmolStr,
        body: &mut Expr,
        flat: bool,
    ) -> Type {
        let ty = self.expr(target);
        let inner = match self.unifier.resolve(&ty, false) {
            Type::Optional(inner) => Type::clone(&inner),
            other if other.is_dyn() => Type::Dyn,
            other => self.no_overload(at, "hasValue", true, &[other]),
        };
        let vars: Vec<(SmolStr, Type)> = alloc::vec![(var.clone(), inner)];
        let made = self.scoped(vars, |checker| checker.expr(body));
        if !flat {
            return Type::optional(made);
        }
        let open = Type::optional(self.unifier.fresh());
        let args = [Type::Bool, made, open];
        self.resolve(at, "_?_:_", &["bAA:A"], false, &args)
    }
}
