//! Types of expressions before they run, and cel-go's errors where they do not fit. It also finds
//! the functions of calls and compiles literal patterns.

mod fold;
mod unify;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;

use self::unify::Unifier;
use crate::ast::{Call, Entry, Expr, Item, Kind, Literal, Select};
use crate::environment::Environment;
use crate::error::Issues;
use crate::functions::{self, convert, regex, signature};
use crate::parser::qualified;
use crate::time;
use crate::types::Type;

/// Checks an expression and prepares it for the evaluator; gives its type.
pub(crate) fn check(expr: &mut Expr, environment: &Environment, issues: &mut Issues) -> Type {
    let unifier = Unifier::default();
    let mut checker = Checker { environment, issues, unifier, scope: Vec::new(), mixed: false };
    let ty = checker.expr(expr);
    checker.unifier.resolve(&ty, true)
}

struct Checker<'a> {
    environment: &'a Environment,
    issues: &'a mut Issues,
    unifier: Unifier,
    /// Variables of comprehensions, the innermost last.
    scope: Vec<(SmolStr, Type)>,
    /// Whether literals may mix types here: in the arguments of `format`.
    mixed: bool,
}

impl Checker<'_> {
    fn expr(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        match &mut expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => match self.variable(name) {
                Some(ty) => ty,
                None => self.undeclared(at, name),
            },
            Kind::Struct { name } => self.undeclared(at, name),
            Kind::Select(select) => match self.qualified_variable(select) {
                Some((name, ty)) => {
                    expr.kind = Kind::Ident(name);
                    ty
                }
                None => self.select(at, select),
            },
            Kind::Index { operand, index, optional } => {
                let args = [self.expr(operand), self.expr(index)];
                self.index(at, &args, *optional)
            }
            Kind::Call(call) => self.call(at, call),
            Kind::Logic { or, terms } => self.logic(at, *or, terms),
            Kind::Conditional(parts) => {
                let types: Vec<Type> = parts.iter_mut().map(|p| self.expr(p)).collect();
                self.resolve(at, "_?_:_", &["bAA:A"], false, &types)
            }
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Fold(fold) => self.fold(at, fold),
            Kind::Bind { var, init, body } => {
                let ty = self.expr(init);
                self.scoped(alloc::vec![(var.clone(), ty)], |checker| checker.expr(body))
            }
            Kind::OptMap { target, var, body, flat } => {
                let (target, body) = (&mut **target, &mut **body);
                self.opt_map(at, target, var, body, *flat)
            }
        }
    }

    fn undeclared(&mut self, at: u32, name: &str) -> Type {
        self.issues.report(at, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let scoped = self.scope.iter().rev().find(|(n, _)| n == name).map(|(_, ty)| ty.clone());
        scoped.or_else(|| self.environment.variable(name).cloned()).or_else(|| {
            let named = convert::type_named(name)?;
            Some(Type::Type(Arc::new(named)))
        })
    }

    /// A variable whose name has dots, and the names of types that have.
    fn qualified_variable(&self, select: &Select) -> Option<(SmolStr, Type)> {
        if select.test || select.optional {
            return None;
        }
        let name = SmolStr::from(format!("{}.{}", qualified(&select.operand)?, select.field));
        let root = name.split('.').next().unwrap_or_default();
        if self.scope.iter().any(|(n, _)| n == root) {
            return None;
        }
        let ty = self.variable(&name)?;
        Some((name, ty))
    }

    fn select(&mut self, at: u32, select: &mut Select) -> Type {
        let operand = self.expr(&mut select.operand);
        let operand = self.unifier.resolve(&operand, false);
        let (inner, optional) = match operand {
            Type::Optional(inner) => (Type::clone(&inner), true),
            other => (other, select.optional),
        };
        let field = match &inner {
            Type::Dyn | Type::Error | Type::Param(_) => Type::Dyn,
            Type::Map(map) => map.1.clone(),
            Type::Object(object) => match object.field(&select.field) {
                Some(field) => field.ty.clone(),
                None => {
                    self.issues.report(at, format!("undefined field '{}'", select.field));
                    Type::Error
                }
            },
            other => {
                let message = format!("type '{other}' does not support field selection");
                self.issues.report(at, message);
                Type::Error
            }
        };
        match () {
            () if select.test => Type::Bool,
            () if optional && !matches!(field, Type::Optional(_)) => Type::optional(field),
            () => field,
        }
    }

    fn index(&mut self, at: u32, args: &[Type], optional: bool) -> Type {
        if optional {
            let overloads = ["[A]i:?A", "{AB}A:?B", "?[A]i:?A", "?{AB}A:?B"];
            return self.resolve(at, "_[?_]", &overloads, false, args);
        }
        let overloads = ["[A]i:A", "{AB}A:B", "?[A]i:?A", "?{AB}A:?B"];
        self.resolve(at, "_[_]", &overloads, false, args)
    }

    fn call(&mut self, at: u32, call: &mut Call) -> Type {
        let mut types = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &mut call.target {
            types.push(self.expr(target));
        }
        let outside = self.mixed;
        self.mixed |= call.function == "format";
        for arg in &mut call.args {
            types.push(self.expr(arg));
        }
        self.mixed = outside;
        call.run = functions::named(&call.function).collect();
        if call.run.is_empty() {
            return self.undeclared(at, &call.function);
        }
        self.literals(call);
        let overloads: Vec<&str> = call.run.iter().flat_map(|f| f.overloads).copied().collect();
        self.resolve(at, &call.function, &overloads, call.target.is_some(), &types)
    }

    /// Arguments that are literals are tried now: patterns, times, durations.
    fn literals(&mut self, call: &mut Call) {
        let all = call.target.iter().map(|t| &**t).chain(&call.args);
        let text = |e: &Expr| match &e.kind {
            Kind::Literal(Literal::Str(text)) => Some((e.at, text.clone())),
            _ => None,
        };
        let texts: Vec<Option<(u32, SmolStr)>> = all.map(text).collect();
        let name = call.function.as_str();
        match (name, &texts[..]) {
            (_, [_, Some((at, pattern)), ..]) if regex::WITH_PATTERN.contains(&name) => {
                match regex::compile(pattern) {
                    Ok(regex) => call.regex = Some(Arc::new(regex)),
                    Err(_) => self.issues.report(*at, format!("invalid {name} argument")),
                }
            }
            ("timestamp", [Some((at, t))]) if time::parse_timestamp(t).is_none() => {
                self.issues.report(*at, "invalid timestamp argument");
            }
            ("duration", [Some((at, d))]) if time::parse_duration(d).is_none() => {
                self.issues.report(*at, "invalid duration argument");
            }
            _ => {}
        }
    }

    /// The result of the overload that fits; dyn where several with different results do.
    fn resolve(
        &mut self,
        at: u32,
        name: &str,
        overloads: &[&str],
        member: bool,
        args: &[Type],
    ) -> Type {
        let mut result: Option<Type> = None;
        for text in overloads {
            let signature = signature(text);
            if signature.member != member || signature.args.len() != args.len() {
                continue;
            }
            let base = self.unifier.base();
            let mut trial = self.unifier.clone();
            let fits = signature.args.iter().zip(args).all(|(to, from)| {
                let to = trial.instantiate(to, base);
                trial.assign(&to, from)
            });
            if !fits {
                continue;
            }
            let this = trial.instantiate(&signature.result, base);
            let this = trial.resolve(&this, false);
            self.unifier = trial;
            result = Some(match result {
                None => this,
                Some(before) if before == this => this,
                Some(_) => Type::Dyn,
            });
        }
        result.unwrap_or_else(|| self.no_overload(at, name, member, args))
    }

    fn no_overload(&mut self, at: u32, name: &str, member: bool, args: &[Type]) -> Type {
        if args.contains(&Type::Error) {
            return Type::Error;
        }
        let names: Vec<String> =
            args.iter().map(|t| self.unifier.resolve(t, true).to_string()).collect();
        let applied = match names.split_first() {
            Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", names.join(", ")),
        };
        let message = format!("found no matching overload for '{name}' applied to '{applied}'");
        self.issues.report(at, message);
        Type::Error
    }

    fn logic(&mut self, at: u32, or: bool, terms: &mut [Expr]) -> Type {
        let name = if or { "_||_" } else { "_&&_" };
        let types: Vec<Type> = terms.iter_mut().map(|t| self.expr(t)).collect();
        let mut left = types[0].clone();
        for right in &types[1..] {
            self.resolve(at, name, &["bb:b"], false, &[left, right.clone()]);
            left = Type::Bool;
        }
        Type::Bool
    }

    /// The type of one more item of a literal; Kubernetes demands that all have one type.
    fn join(&mut self, at: u32, before: Option<Type>, item: Type) -> Type {
        let Some(before) = before else { return item };
        if self.unifier.assign(&before, &item) {
            return if item.is_dyn() { Type::Dyn } else { before };
        }
        if self.mixed {
            return Type::Dyn;
        }
        let (wanted, found) =
            (self.unifier.resolve(&before, true), self.unifier.resolve(&item, true));
        self.issues.report(at, format!("expected type '{wanted}' but found '{found}'"));
        before
    }

    /// An item that is optional stands for what is in it.
    fn optional(&mut self, at: u32, optional: bool, ty: Type) -> Type {
        match self.unifier.resolve(&ty, false) {
            _ if !optional => ty,
            Type::Optional(inner) => Type::clone(&inner),
            other if other.is_dyn() => Type::Dyn,
            other => {
                let message = format!("expected type 'optional_type({other})' but found '{other}'");
                self.issues.report(at, message);
                Type::Error
            }
        }
    }

    fn list(&mut self, items: &mut [Item]) -> Type {
        let mut joined = None;
        for item in items {
            let at = item.value.at;
            let ty = self.expr(&mut item.value);
            let ty = self.optional(at, item.optional, ty);
            joined = Some(self.join(at, joined, ty));
        }
        Type::list(joined.unwrap_or_else(|| self.unifier.fresh()))
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let (at, value_at) = (entry.key.at, entry.value.at);
            let key = self.expr(&mut entry.key);
            keys = Some(self.join(at, keys, key));
            let value = self.expr(&mut entry.value);
            let value = self.optional(value_at, entry.optional, value);
            values = Some(self.join(value_at, values, value));
        }
        let key = keys.unwrap_or_else(|| self.unifier.fresh());
        Type::map(key, values.unwrap_or_else(|| self.unifier.fresh()))
    }

    /// Checks with one more variable.
    fn scoped<T>(&mut self, vars: Vec<(SmolStr, Type)>, run: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.scope.len();
        self.scope.extend(vars);
        let result = run(self);
        self.scope.truncate(before);
        result
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::Str(_) => Type::Str,
        Literal::Bytes(_) => Type::Bytes,
    }
}
