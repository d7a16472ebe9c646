//! Compiling and evaluating.

use smol_str::SmolStr;

use crate::ast::{Expr, Kind};
use crate::checker;
use crate::environment::{Budget, Environment, Variables};
use crate::error::{CompileErrors, EvalError, Issues};
use crate::evaluator::Evaluator;
use crate::parser;
use crate::types::Type;
use crate::value::Val;

/// An expression that is ready to be evaluated, as often as wanted.
#[derive(Clone, Debug)]
pub struct Program {
    source: SmolStr,
    expr: Expr,
    output: Type,
}

impl Program {
    /// Parses and checks an expression. The errors print as cel-go's.
    pub fn compile(source: &str, environment: &Environment) -> Result<Program, CompileErrors> {
        let mut issues = Issues::default();
        let Some(mut expr) = parser::parse(source, environment.has_bindings(), &mut issues) else {
            issues.finish(source)?;
            return Err(CompileErrors { issues: alloc::vec::Vec::new() });
        };
        let output = checker::check(&mut expr, environment, &mut issues);
        issues.finish(source)?;
        Ok(Program { source: source.into(), expr, output })
    }

    /// The expression's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The type of what evaluations give; dyn where only they can tell.
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// Whether every value that evaluations give is of that type. Of dyn nobody knows.
    pub fn gives(&self, ty: &Type) -> bool {
        self.output == *ty
    }

    /// Whether the expression names a variable anywhere.
    pub fn uses(&self, variable: &str) -> bool {
        let mut found = false;
        self.expr.walk(&mut |e| found |= matches!(&e.kind, Kind::Ident(name) if name == variable));
        found
    }

    /// Whether the expression reads a field of a variable, such as `variables.name`.
    pub fn uses_field(&self, variable: &str, field: &str) -> bool {
        let mut found = false;
        self.expr.walk(&mut |e| {
            found |= matches!(&e.kind, Kind::Select(s) if s.field == field
                && matches!(&s.operand.kind, Kind::Ident(name) if name == variable));
        });
        found
    }

    /// Works out the value. What it costs comes out of the budget; one evaluation costs at most
    /// [`Budget::PER_CALL`], or ends with [`EvalError::CostLimit`].
    pub fn evaluate<'a>(
        &self,
        variables: &Variables<'a>,
        budget: &mut Budget,
    ) -> Result<Val<'a>, EvalError> {
        let mut evaluator = Evaluator::new(variables, budget.per_call());
        let result = evaluator.expr(&self.expr);
        budget.spend(evaluator.cost);
        result
    }
}
