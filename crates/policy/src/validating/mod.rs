//! ValidatingAdmissionPolicy: its expressions, what they say about a request, and in which words.
//! Upstream's `plugin/policy/validating`.

mod checking;
mod matching;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_cel::{Budget, Environment, EvalError, Type, Val, Variables};
use timonier_object::Value;
use timonier_schema::expressions::{Uses, compile, environment, with_variables};

use crate::conditions::{Expression, Facts, MatchConditions, OUT_OF_BUDGET};

pub use checking::check_types;
pub use matching::chosen;

/// Longer texts of message expressions do not count, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;
/// Longer audit annotations are cut, in bytes.
const MAX_ANNOTATION: usize = 10 * 1024;

/// Values of variables may be as deep as this, so that those made of each other stay bounded.
const MAX_DEPTH: usize = 100;

/// A policy, compiled.
#[derive(Debug)]
pub struct Policy {
    fails_closed: bool,
    conditions: MatchConditions,
    variables: Vec<Variable>,
    validations: Vec<Validation>,
    annotations: Vec<(SmolStr, Expression)>,
}

#[derive(Debug)]
struct Variable {
    name: SmolStr,
    expression: Expression,
    /// Whether anything reads it.
    used: bool,
}

#[derive(Debug)]
struct Validation {
    expression: Expression,
    message: String,
    by_expression: Option<Expression>,
    reason: SmolStr,
}

/// What a policy says about a request.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    pub denials: Vec<Denial>,
    /// Keys and values for the audit log.
    pub annotations: Vec<(SmolStr, String)>,
}

/// One thing that is wrong with a request.
#[derive(PartialEq, Eq, Debug)]
pub struct Denial {
    pub message: String,
    /// The `reason` of the Status, empty where the policy names none.
    pub reason: SmolStr,
}

impl Policy {
    /// Compiles a policy. Expressions that do not compile fail when they are needed.
    pub fn compile(policy: &Value) -> Self {
        let spec = policy.at("spec");
        let params = !spec.at("paramKind").is_null();
        let scope = environment(Uses { params, authorizer: true });
        let (variables, types) = variables(spec.at("variables"), &scope);
        let scope = with_variables(scope, &types);
        let for_messages = with_variables(environment(Uses { params, authorizer: false }), &types);
        let validation = |v: &Value| Validation {
            expression: expression(v.at("expression"), &scope, &[Type::Bool]),
            message: v.at("message").str().trim().into(),
            by_expression: (!v.at("messageExpression").str().trim().is_empty())
                .then(|| expression(v.at("messageExpression"), &for_messages, &[Type::Str])),
            reason: v.at("reason").smol(),
        };
        let annotation = |a: &Value| {
            let wanted = [Type::Str, Type::Null];
            (a.at("key").smol(), expression(a.at("valueExpression"), &scope, &wanted))
        };
        let mut compiled = Policy {
            fails_closed: spec.at("failurePolicy").str() != "Ignore",
            conditions: MatchConditions::compile(spec.at("matchConditions"), params),
            variables,
            validations: spec.at("validations").items().iter().map(validation).collect(),
            annotations: spec.at("auditAnnotations").items().iter().map(annotation).collect(),
        };
        compiled.find_used();
        compiled
    }

    /// Whether what cannot be decided is refused.
    pub fn fails_closed(&self) -> bool {
        self.fails_closed
    }

    /// Marks the variables that something reads, also by way of other variables.
    fn find_used(&mut self) {
        let mut used: Vec<bool> = alloc::vec![false; self.variables.len()];
        let roots = self
            .validations
            .iter()
            .flat_map(|v| core::iter::once(&v.expression).chain(&v.by_expression));
        let roots: Vec<&Expression> =
            roots.chain(self.annotations.iter().map(|(_, e)| e)).collect();
        // A variable knows only those before it.
        for i in (0..self.variables.len()).rev() {
            let reads = |e: &Expression| {
                e.program.as_ref().is_ok_and(|p| p.uses_field("variables", &self.variables[i].name))
            };
            let later = self.variables[i + 1..].iter().zip(&used[i + 1..]);
            used[i] = roots.iter().any(|e| reads(e))
                || later.filter(|(_, used)| **used).any(|(v, _)| reads(&v.expression));
        }
        for (variable, used) in self.variables.iter_mut().zip(used) {
            variable.used = used;
        }
    }

    /// What the policy says about a request that it is about.
    pub fn evaluate(&self, facts: &Facts<'_>) -> Verdict {
        let mut variables = facts.variables();
        match self.conditions.hold_with(&variables) {
            Ok(true) => {}
            Ok(false) => return Verdict::default(),
            Err(why) => return Verdict { denials: self.error(why), ..Verdict::default() },
        }
        let mut budget = Budget::default();
        self.work_out(&mut variables, &mut budget);
        let mut verdict = Verdict::default();
        for validation in &self.validations {
            match self.validate(validation, &variables, &mut budget) {
                _ if budget.is_exhausted() => {
                    return Verdict { denials: self.error(OUT_OF_BUDGET.into()), ..verdict };
                }
                Ok(denial) => verdict.denials.extend(denial),
                Err(why) => verdict.denials.extend(self.error(why)),
            }
        }
        for (key, expression) in &self.annotations {
            match self.annotate(expression, &variables, &mut budget) {
                Ok(Some(value)) => verdict.annotations.push((key.clone(), value)),
                Ok(None) => {}
                Err(why) => verdict.denials.extend(self.error(why)),
            }
        }
        verdict
    }

    /// A denial for what could not be decided, where such is refused.
    fn error(&self, message: String) -> Vec<Denial> {
        let denial = Denial { message, reason: SmolStr::default() };
        if self.fails_closed { alloc::vec![denial] } else { Vec::new() }
    }

    /// Gives the variables that are read their values. One that fails is an error to who reads it.
    fn work_out<'a>(&self, variables: &mut Variables<'a>, budget: &mut Budget) {
        let mut known: Vec<(SmolStr, Val<'a>)> = Vec::new();
        variables.set("variables", Val::map(known.clone()));
        for variable in self.variables.iter().filter(|v| v.used) {
            let name = &variable.name;
            let value = match &variable.expression.program {
                Ok(program) => match program.evaluate(variables, budget) {
                    Ok(value) if value.is_deeper_than(MAX_DEPTH) => {
                        failed(format!("composited variable {name:?} is nested too deeply"))
                    }
                    Ok(value) => value,
                    Err(why) => {
                        failed(format!("composited variable {name:?} fails to evaluate: {why}"))
                    }
                },
                Err(why) => failed(format!("composited variable {name:?} fails to compile: {why}")),
            };
            known.push((name.clone(), value));
            variables.set("variables", Val::map(known.clone()));
        }
    }

    /// The denial, if the validation does not hold.
    fn validate(
        &self,
        validation: &Validation,
        variables: &Variables<'_>,
        budget: &mut Budget,
    ) -> Result<Option<Denial>, String> {
        if let Val::Bool(true) = validation.expression.evaluate(variables, budget)? {
            return Ok(None);
        }
        let own = validation.by_expression.as_ref().and_then(|expression| {
            let value = expression.evaluate(variables, budget).ok()?;
            let text = value.as_str()?.trim();
            let fits = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
            fits.then(|| text.to_string())
        });
        let message = own.unwrap_or_else(|| match validation.message.as_str() {
            "" => format!("failed expression: {}", validation.expression.source.trim()),
            message => message.into(),
        });
        Ok(Some(Denial { message, reason: validation.reason.clone() }))
    }

    /// The value of an annotation; `None` for null and for blanks.
    fn annotate(
        &self,
        expression: &Expression,
        variables: &Variables<'_>,
        budget: &mut Budget,
    ) -> Result<Option<String>, String> {
        let value = expression.evaluate(variables, budget)?;
        if budget.is_exhausted() {
            return Err(OUT_OF_BUDGET.into());
        }
        let text = value.as_str().unwrap_or("").trim();
        let mut end = text.len().min(MAX_ANNOTATION);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Ok((end > 0).then(|| text[..end].to_string()))
    }
}

fn failed<'a>(why: String) -> Val<'a> {
    Val::Failed(Arc::new(EvalError::Message(why)))
}

fn expression(source: &Value, scope: &Environment, wanted: &[Type]) -> Expression {
    Expression { source: source.str().into(), program: compile(source.str(), scope, wanted) }
}

fn variables(list: &Value, scope: &Environment) -> (Vec<Variable>, Vec<(SmolStr, Type)>) {
    let mut types: Vec<(SmolStr, Type)> = Vec::new();
    let mut all = Vec::new();
    for item in list.items() {
        let name = item.at("name").smol();
        let scope = with_variables(scope.clone(), &types);
        let expression = expression(item.at("expression"), &scope, &[]);
        let ty = expression.program.as_ref().map_or(Type::Dyn, |p| p.output().clone());
        types.push((name.clone(), ty));
        all.push(Variable { name, expression, used: false });
    }
    (all, types)
}

#[cfg(test)]
mod tests {
    use timonier_cel::{Authorizer, Decision, Question};
    use timonier_object::value;

    use super::*;

    struct Nobody;
    impl Authorizer for Nobody {
        fn check(&self, _: &Question) -> Decision {
            Decision::default()
        }
    }

    fn verdict(spec: Value, object: &Value) -> Verdict {
        let policy = Policy::compile(&value!({ "spec": (spec) }));
        let (request, params) = (value!({ "name": "n" }), value!({ "data": { "max": "3" } }));
        let resource = Question::default();
        policy.evaluate(&Facts {
            object,
            old: &Value::Null,
            request: &request,
            namespace: &Value::Null,
            params: &params,
            authorizer: &Nobody,
            resource: &resource,
        })
    }

    fn messages(spec: Value) -> Vec<String> {
        let object = value!({ "spec": { "replicas": 5 }, "text": "a\nb" });
        verdict(spec, &object).denials.into_iter().map(|d| d.message).collect()
    }

    #[test]
    fn messages_are_upstreams() {
        let spec = value!({ "paramKind": {}, "variables": [
                { "name": "n", "expression": "object.spec.replicas" },
                { "name": "bad", "expression": "object.nothing" },
                { "name": "over", "expression": "variables.n > int(params.data.max)" }],
            "validations": [
                { "expression": "!variables.over", "messageExpression": "'has ' + string(variables.n)" },
                { "expression": "object.spec.replicas < 5", "message": " too many " },
                { "expression": " object.spec.replicas < 4 " },
                { "expression": "false", "messageExpression": "object.text", "message": "lines" },
                { "expression": "false", "messageExpression": "object.nothing" },
                { "expression": "variables.bad == 1" },
                { "expression": "object.none == 1" },
                { "expression": "nothing" },
                { "expression": "object.spec.replicas == 5" }] });
        assert_eq!(
            messages(spec.clone()),
            [
                "has 5",
                "too many",
                "failed expression: object.spec.replicas < 4",
                "lines",
                "failed expression: false",
                "expression 'variables.bad == 1' resulted in error: composited variable \"bad\" fails to evaluate: no such key: nothing",
                "expression 'object.none == 1' resulted in error: no such key: none",
                "compilation error: compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')\n | nothing\n | ^",
            ]
        );
        let mut ignoring = spec;
        ignoring.set("failurePolicy", "Ignore");
        assert_eq!(messages(ignoring).len(), 5);
    }

    #[test]
    fn conditions_come_first() {
        let with = |conditions: Value| {
            messages(value!({ "matchConditions": (conditions),
                "validations": [{ "expression": "false" }] }))
        };
        assert_eq!(with(value!([{ "expression": "object.spec.replicas > 5" }])), [""; 0]);
        assert_eq!(with(value!([{ "expression": "object.spec.replicas > 4" }])).len(), 1);
        let error = value!([{ "expression": "object.x == 1" }]);
        assert_eq!(with(error), ["expression 'object.x == 1' resulted in error: no such key: x"]);
        let one_false = value!([{ "expression": "object.x == 1" }, { "expression": "false" }]);
        assert_eq!(with(one_false), [""; 0]);
    }

    #[test]
    fn variables_do_not_nest_without_end() {
        let nested = |i: i64| {
            let before = if i == 0 { "1".into() } else { format!("variables.v{}", i - 1) };
            let expression = format!("{}{before}{}", "[".repeat(60), "]".repeat(60));
            value!({ "name": (format!("v{i}")), "expression": expression })
        };
        let spec = value!({ "variables": (Value::array((0..3).map(nested))),
            "validations": [{ "expression": "variables.v0.size() == 1" },
                { "expression": "variables.v2.size() == 1" }] });
        let found = messages(spec);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("\"v1\" is nested too deeply"), "{found:?}");
    }

    #[test]
    fn annotations_and_budgets() {
        let spec = value!({ "auditAnnotations": [
            { "key": "a", "valueExpression": "' x '" }, { "key": "b", "valueExpression": "null" }] });
        let verdict = verdict(spec, &Value::object());
        assert_eq!(verdict.annotations, [(SmolStr::from("a"), String::from("x"))]);
        let list = format!("[{}]", "1,".repeat(100));
        let dear = format!("{list}.all(a, {list}.all(b, {list}.all(c, c > 0)))");
        let one = value!([{ "expression": (dear.as_str()) }]);
        assert_eq!(
            messages(value!({ "validations": (one) }))[0],
            format!(
                "expression '{dear}' resulted in error: operation cancelled: actual cost limit exceeded"
            )
        );
        let half = format!("{list}.all(a, {list}.all(b, a > 0 && b > 0 && a > 0 && b > 0))");
        let many = Value::array((0..200).map(|_| value!({ "expression": (half.as_str()) })));
        assert_eq!(messages(value!({ "validations": (many) })), [OUT_OF_BUDGET]);
    }
}
