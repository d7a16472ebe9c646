//! Match conditions of webhooks and policies, and what expressions are told of a request.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_cel::{Authorizer, Budget, EvalError, Program, Question, Type, Val, Variables};
use timonier_object::Value;
use timonier_schema::expressions::{Uses, compile, environment};

/// What expressions are told.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The new state; `Null` in a delete.
    pub object: &'a Value,
    /// The state before; `Null` in a create.
    pub old: &'a Value,
    /// The AdmissionRequest.
    pub request: &'a Value,
    /// The Namespace that the object is in; `Null` for cluster-scoped objects.
    pub namespace: &'a Value,
    /// The object that a policy is used with; `Null` for none.
    pub params: &'a Value,
    pub authorizer: &'a dyn Authorizer,
    /// What the request is about, for `authorizer.requestResource`.
    pub resource: &'a Question,
}

impl<'a> Facts<'a> {
    pub(crate) fn variables(&self) -> Variables<'a> {
        Variables::new()
            .with("object", Val::data(self.object))
            .with("oldObject", Val::data(self.old))
            .with("request", Val::data(self.request))
            .with("namespaceObject", Val::data(self.namespace))
            .with("params", Val::data(self.params))
            .with("authorizer", Val::authorizer(self.authorizer))
            .with(
                "authorizer.requestResource",
                Val::resource_check(self.authorizer, self.resource.clone()),
            )
    }
}

/// An expression, compiled if it could be.
#[derive(Debug)]
pub(crate) struct Expression {
    pub source: String,
    pub program: Result<Program, String>,
}

/// What ends all evaluations of an object.
pub(crate) const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

impl Expression {
    /// The value; the error is upstream's text. An exhausted budget is for the caller to see.
    pub fn evaluate<'a>(
        &self,
        variables: &Variables<'a>,
        budget: &mut Budget,
    ) -> Result<Val<'a>, String> {
        match &self.program {
            Ok(program) => program.evaluate(variables, budget).map_err(|e| self.failed(&e)),
            Err(why) => Err(format!("compilation error: {why}")),
        }
    }

    fn failed(&self, error: &EvalError) -> String {
        format!("expression '{}' resulted in error: {error}", self.source)
    }
}

/// Conditions that must all hold.
#[derive(Debug, Default)]
pub struct MatchConditions(Vec<Expression>);

impl MatchConditions {
    /// Compiles the elements of `matchConditions`. What does not compile fails when it is needed.
    pub fn compile(conditions: &Value, params: bool) -> Self {
        let scope = environment(Uses { params, authorizer: true });
        let one = |condition: &Value| {
            let source = condition.at("expression").str().trim().to_string();
            let program = compile(&source, &scope, &[Type::Bool]);
            Expression { source, program }
        };
        MatchConditions(conditions.items().iter().map(one).collect())
    }

    /// Whether all conditions hold. One that does not hold decides, whatever becomes of the
    /// others; otherwise the error of those that failed.
    pub fn hold(&self, facts: &Facts<'_>) -> Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        self.hold_with(&facts.variables())
    }

    pub(crate) fn hold_with(&self, variables: &Variables<'_>) -> Result<bool, String> {
        let mut budget = Budget::new(Budget::MATCH_CONDITIONS);
        let mut errors = Vec::new();
        for condition in &self.0 {
            let result = condition.evaluate(variables, &mut budget);
            if budget.is_exhausted() {
                return Err(OUT_OF_BUDGET.into());
            }
            match result {
                Ok(Val::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(why) => errors.push(why),
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}
