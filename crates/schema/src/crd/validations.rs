//! `x-kubernetes-validations`: rules that are expressions (upstream
//! `apiextensions-apiserver/pkg/apiserver/schema/cel`, with its texts).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_cel::{Budget, Environment, EvalError, ListKind, Program, Type, Val, Variables};
use timonier_meta::field_path::quote;
use timonier_meta::{ErrorKind, FieldError, FieldPath};
use timonier_object::Value;

use super::declare::{is_resource, list_kind, type_of};
use super::values::ByKeys;

/// Longer texts of message expressions do not count, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The rules of a schema and of the schemas within it. Where there are none, there is no node.
#[derive(Debug)]
pub struct Rules {
    ty: Type,
    /// The schema's type, which errors print for the value.
    kind: SmolStr,
    nullable: bool,
    own: Vec<Rule>,
    fields: Vec<(SmolStr, Rules)>,
    values: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    list: ListKind,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    source: String,
    program: Result<Program, String>,
    /// It compares with the value before.
    pub transition: bool,
    /// `oldSelf` is optional, so that the rule holds for new values too.
    optional_old: bool,
    message: String,
    by_expression: Option<Result<Program, String>>,
    reason: SmolStr,
    field_path: String,
}

impl Rules {
    /// The rules of a custom resource's schema.
    pub fn compile(schema: &Value) -> Option<Rules> {
        node(schema, "Object", true)
    }

    /// What is wrong with an object. What the schema itself says must be checked before.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut run = Run { budget: Budget::default(), errors: Vec::new() };
        run.node(self, new, old, "");
        run.errors
    }
}

fn node(schema: &Value, name: &str, root: bool) -> Option<Rules> {
    // Types are worked out where rules need them: a large schema has few rules.
    let own = schema.get("x-kubernetes-validations").map_or(&[][..], Value::items);
    let ty = match own {
        [] => Type::Dyn,
        _ => type_of(schema, name, root || is_resource(schema))?,
    };
    let own: Vec<Rule> = own.iter().filter_map(|rule| compile(rule, &ty)).collect();
    let field = |(key, schema): (&str, &Value)| {
        Some((SmolStr::from(key), node(schema, &format!("{name}.{key}"), false)?))
    };
    let fields: Vec<(SmolStr, Rules)> =
        schema.at("properties").entries().filter_map(field).collect();
    let within = |key: &str, name: String| {
        let below = schema.at(key);
        below.as_object().and_then(|_| node(below, &name, false)).map(Box::new)
    };
    let values = within("additionalProperties", format!("{name}.@elem"));
    let items = within("items", format!("{name}.@idx"));
    if own.is_empty() && fields.is_empty() && values.is_none() && items.is_none() {
        return None;
    }
    let kind = schema.at("type").smol();
    let nullable = schema.at("nullable").bool();
    Some(Rules { ty, kind, nullable, own, fields, values, items, list: list_kind(schema) })
}

/// Compiles one rule about values of a type; `None` for an empty one.
pub fn compile(rule: &Value, ty: &Type) -> Option<Rule> {
    let source = rule.at("rule").str();
    if source.trim().is_empty() {
        return None;
    }
    let optional_old = rule.at("optionalOldSelf").bool();
    let old = if optional_old { Type::optional(ty.clone()) } else { ty.clone() };
    let scope = Environment::new().with("self", ty.clone()).with("oldSelf", old);
    let program = typed(source, &scope, &Type::Bool, "", "cel expression must evaluate to a bool");
    let by_expression = rule.at("messageExpression").str();
    let text = "messageExpression must evaluate to a string";
    let by_expression = (!by_expression.trim().is_empty())
        .then(|| typed(by_expression, &scope, &Type::Str, "messageExpression ", text));
    Some(Rule {
        transition: program.as_ref().is_ok_and(|p| p.uses("oldSelf")),
        source: source.trim().into(),
        program,
        optional_old,
        message: rule.at("message").str().trim().into(),
        by_expression,
        reason: rule.at("reason").smol(),
        field_path: normalized(rule.at("fieldPath").str()),
    })
}

fn typed(
    source: &str,
    scope: &Environment,
    wanted: &Type,
    what: &str,
    must: &str,
) -> Result<Program, String> {
    let program = Program::compile(source, scope)
        .map_err(|errors| format!("{what}compilation failed: {errors}"))?;
    if program.gives(wanted) { Ok(program) } else { Err(must.into()) }
}

/// `.spec['a']` as a path continues after an object's own: `spec[a]`.
fn normalized(path: &str) -> String {
    path.trim().trim_start_matches('.').replace("['", "[").replace("']", "]")
}

impl Rule {
    /// What keeps the rule from being evaluated.
    pub fn error(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }

    /// What keeps its message expression from being evaluated.
    pub fn message_error(&self) -> Option<&str> {
        self.by_expression.as_ref()?.as_ref().err().map(String::as_str)
    }

    fn shown(&self) -> &str {
        if self.message.is_empty() { &self.source } else { &self.message }
    }
}

/// One validation.
struct Run {
    budget: Budget,
    errors: Vec<FieldError>,
}

/// Whether to go on.
#[derive(PartialEq)]
enum Next {
    GoOn,
    Stop,
}

impl Run {
    fn node(&mut self, rules: &Rules, new: &Value, old: Option<&Value>, path: &str) -> Next {
        if new.is_null() && rules.nullable {
            return Next::GoOn;
        }
        for rule in &rules.own {
            if self.rule(rules, rule, new, old, path) == Next::Stop {
                return Next::Stop;
            }
        }
        let below = |name: &str| match path {
            "" => name.to_string(),
            path => format!("{path}.{name}"),
        };
        for (name, rules) in &rules.fields {
            if let Some(value) = new.get(name)
                && self.node(rules, value, old.and_then(|o| o.get(name)), &below(name))
                    == Next::Stop
            {
                return Next::Stop;
            }
        }
        if let Some(rules) = &rules.values {
            for (key, value) in new.entries() {
                let old = old.and_then(|o| o.get(key));
                if self.node(rules, value, old, &format!("{path}[{key}]")) == Next::Stop {
                    return Next::Stop;
                }
            }
        }
        if let Some(of_items) = &rules.items {
            let before = old.and_then(|old| by_keys(&rules.list, old));
            for (i, value) in new.items().iter().enumerate() {
                let old = before.as_ref().and_then(|before| before.get(value));
                if self.node(of_items, value, old, &format!("{path}[{i}]")) == Next::Stop {
                    return Next::Stop;
                }
            }
        }
        Next::GoOn
    }

    fn rule(
        &mut self,
        rules: &Rules,
        rule: &Rule,
        new: &Value,
        old: Option<&Value>,
        path: &str,
    ) -> Next {
        let at = FieldPath::new(if path.is_empty() { "<nil>" } else { path });
        let invalid = |text: String| FieldError::invalid(&at, quote(&rules.kind), text);
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                self.errors.push(invalid(format!("rule compile error: {why}")));
                return Next::GoOn;
            }
        };
        // A rule about one value tolerates what was there before.
        let skipped = match rule.transition {
            true => old.is_none() && !rule.optional_old,
            false => old == Some(new),
        };
        if skipped {
            return Next::GoOn;
        }
        let mut variables = Variables::new().with("self", Val::typed(new, &rules.ty));
        let before = old.map(|old| Val::typed(old, &rules.ty));
        match (before, rule.optional_old) {
            (before, true) => variables.set("oldSelf", Val::optional(before)),
            (Some(before), false) => variables.set("oldSelf", before),
            (None, false) => {}
        }
        let result = program.evaluate(&variables, &mut self.budget);
        if self.budget.is_exhausted() {
            self.errors.push(invalid(OUT_OF_BUDGET.into()));
            return Next::Stop;
        }
        match result {
            Ok(Val::Bool(true)) => Next::GoOn,
            Ok(_) => {
                let text = self.message(rule, &variables);
                self.errors.push(broken(rule, rules, path, text));
                if self.budget.is_exhausted() { Next::Stop } else { Next::GoOn }
            }
            Err(error) => {
                let next = if error == EvalError::CostLimit { Next::Stop } else { Next::GoOn };
                self.errors.push(invalid(failed(rule, &error)));
                next
            }
        }
    }

    fn message(&mut self, rule: &Rule, variables: &Variables<'_>) -> String {
        if let Some(Ok(program)) = &rule.by_expression
            && let Ok(value) = program.evaluate(variables, &mut self.budget)
        {
            let text = value.as_str().unwrap_or("").trim();
            if !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n') {
                return text.into();
            }
        }
        match rule.message.as_str() {
            "" => format!("failed rule: {}", rule.source),
            message => message.into(),
        }
    }
}

/// What an error of evaluation reads like.
fn failed(rule: &Rule, error: &EvalError) -> String {
    let shown = rule.shown();
    match error {
        EvalError::NoSuchOverload => format!(
            "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
        ),
        EvalError::CostLimit => format!(
            "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
        ),
        error => format!("{error} evaluating rule: {shown}"),
    }
}

/// The error of a rule that does not hold, by its reason.
fn broken(rule: &Rule, rules: &Rules, path: &str, text: String) -> FieldError {
    let whole = match (path, rule.field_path.as_str()) {
        ("", "") => "<nil>".into(),
        (path, "") => path.to_string(),
        ("", field) => field.to_string(),
        (path, field) if field.starts_with('[') => format!("{path}{field}"),
        (path, field) => format!("{path}.{field}"),
    };
    let at = FieldPath::new(&whole);
    let kind = quote(&rules.kind);
    match rule.reason.as_str() {
        "FieldValueRequired" => FieldError::required(&at, text),
        "FieldValueForbidden" => FieldError::forbidden(&at, text),
        "FieldValueDuplicate" => {
            FieldError { kind: ErrorKind::Duplicate, path: at, value: kind, detail: String::new() }
        }
        _ => FieldError::invalid(&at, kind, text),
    }
}

/// The items of an old list by which new ones find themselves: of list maps by the keys.
fn by_keys<'v>(list: &'v ListKind, old: &'v Value) -> Option<ByKeys<'v>> {
    let ListKind::Map(keys) = list else { return None };
    Some(ByKeys::of(old, keys.iter().map(SmolStr::as_str)))
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    fn texts(schema: Value, new: Value, old: Option<Value>) -> Vec<String> {
        let rules = Rules::compile(&schema).unwrap();
        rules.validate(&new, old.as_ref()).iter().map(ToString::to_string).collect()
    }

    fn spec(rules: Value) -> Value {
        value!({ "type": "object", "properties": { "spec": { "type": "object",
            "x-kubernetes-validations": (rules), "properties": {
                "n": { "type": "integer" }, "max": { "type": "integer" },
                "any": { "x-kubernetes-int-or-string": true },
                "when": { "type": "string", "format": "date-time" },
                "a-b": { "type": "string" }, "namespace": { "type": "string" },
                "map": { "type": "object", "additionalProperties": { "type": "integer" } } } } } })
    }

    #[test]
    fn texts_are_upstreams() {
        let rules = value!([
            { "rule": "self.n <= self.max" },
            { "rule": "self.n <= self.max", "message": " too many ", "reason": "FieldValueForbidden" },
            { "rule": "self.n <= self.max", "messageExpression": "string(self.n) + ' > ' + string(self.max)",
              "fieldPath": ".n" },
            { "rule": "self.map['c'] > 1", "message": "no c" },
            { "rule": "self.any > 1" },
            { "rule": "self.when > timestamp('2020-01-01T00:00:00Z') && self.a__dash__b == self.__namespace__" },
            { "rule": "has(self.n)" }]);
        let new = value!({ "spec": { "n": 5, "max": 3, "map": {}, "any": "x",
            "when": "2021-01-01T00:00:00Z", "a-b": "x", "namespace": "x" } });
        assert_eq!(
            texts(spec(rules), new, None),
            [
                "spec: Invalid value: \"object\": failed rule: self.n <= self.max",
                "spec: Forbidden: too many",
                "spec.n: Invalid value: \"object\": 5 > 3",
                "spec: Invalid value: \"object\": no such key: c evaluating rule: no c",
                "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a supported operator, function or macro signature for rule: self.any > 1",
            ]
        );
    }

    #[test]
    fn transitions_need_a_value_before() {
        let rules = value!([{ "rule": "self.n >= oldSelf.n", "message": "only up" }]);
        let at = |n: i64| value!({ "spec": { "n": n } });
        assert_eq!(texts(spec(rules.clone()), at(1), None), [""; 0]);
        assert_eq!(texts(spec(rules.clone()), at(2), Some(at(1))), [""; 0]);
        assert_eq!(
            texts(spec(rules.clone()), at(1), Some(at(2))),
            ["spec: Invalid value: \"object\": only up"]
        );
        let rules =
            value!([{ "rule": "oldSelf.hasValue() || self.n == 1", "optionalOldSelf": true }]);
        assert_eq!(texts(spec(rules.clone()), at(2), None).len(), 1);
        assert_eq!(texts(spec(rules), at(2), Some(at(3))), [""; 0]);
        let rules = value!([{ "rule": "self.n == 1" }]);
        assert_eq!(texts(spec(rules.clone()), at(2), Some(at(2))), [""; 0], "as it was");
        assert_eq!(texts(spec(rules), at(2), Some(at(3))).len(), 1);
    }

    #[test]
    fn rules_stand_anywhere() {
        let schema = value!({ "type": "object",
            "x-kubernetes-validations": [{ "rule": "self.metadata.name.startsWith(self.prefix)" }],
            "properties": { "prefix": { "type": "string" }, "list": { "type": "array",
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": { "type": "object", "properties": { "k": { "type": "string" }, "v": {
                    "type": "integer", "x-kubernetes-validations": [{ "rule": "self >= oldSelf" }] } } } },
                "map": { "type": "object", "additionalProperties": { "type": "string",
                    "x-kubernetes-validations": [{ "rule": "self != ''" }] } } } });
        let object = |v: i64, text: &str| {
            value!({ "metadata": { "name": "ab" }, "prefix": "b", "map": { "x": text },
                "list": [{ "k": "other", "v": 1 }, { "k": "one", "v": v }] })
        };
        assert_eq!(
            texts(schema, object(1, ""), Some(value!({ "list": [{ "k": "one", "v": 2 }] }))),
            [
                "<nil>: Invalid value: \"object\": failed rule: self.metadata.name.startsWith(self.prefix)",
                "list[1].v: Invalid value: \"integer\": failed rule: self >= oldSelf",
                "map[x]: Invalid value: \"string\": failed rule: self != ''",
            ]
        );
    }

    /// With work that grows with the square of the items this takes minutes.
    #[test]
    fn sets_and_list_maps_compare_in_any_order() {
        let rule = value!([{ "rule": "self == oldSelf" }]);
        let set = value!({ "type": "array", "x-kubernetes-list-type": "set",
            "items": { "type": "integer" }, "x-kubernetes-validations": (rule.clone()) });
        let map = value!({ "type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"], "x-kubernetes-validations": rule,
            "items": { "type": "object", "properties": { "k": { "type": "integer" } } } });
        let schema = value!({ "type": "object", "properties": { "set": set, "map": map } });
        let object = |numbers: &mut dyn Iterator<Item = i64>| {
            let numbers: Vec<i64> = numbers.collect();
            let items = numbers.iter().map(|n| value!({ "k": (*n) }));
            value!({ "set": (Value::from(numbers.clone())), "map": (Value::array(items)) })
        };
        let old = object(&mut (0..30_000));
        let same = object(&mut (0..30_000).rev());
        assert_eq!(texts(schema.clone(), same, Some(old.clone())), [""; 0]);
        let other = object(&mut (1..30_001).rev());
        assert_eq!(texts(schema, other, Some(old)).len(), 2);
    }

    #[test]
    fn a_budget_is_for_the_whole_object() {
        let schema = value!({ "type": "object", "properties": { "l": { "type": "array",
            "items": { "type": "integer" }, "x-kubernetes-validations": [
                { "rule": "self.all(a, self.all(b, self.all(c, c > 0)))", "message": "m" }] } } });
        let list = Value::array((0..100).map(|_| Value::from(1)));
        assert_eq!(
            texts(schema, value!({ "l": list }), None),
            [
                "l: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: m"
            ]
        );
    }
}
