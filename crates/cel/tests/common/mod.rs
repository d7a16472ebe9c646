//! Evaluates expressions for tests.
#![allow(dead_code)]

use timonier_cel::{Budget, Environment, Program, Type, Val, Variables};
use timonier_object::{Value, value};

/// The object that tests call `x`.
pub fn data() -> Value {
    value!({
        "s": "text", "i": 5, "d": 1.5, "b": true, "n": null, "list": [1, 2, 3], "words": ["a", "b"],
        "map": { "a": 1, "b": 2 }, "objects": [{ "name": "one", "n": 1 }, { "name": "two", "n": 2 }],
        "empty": {}, "none": [],
    })
}

/// What became of an expression over `x`: `=` and the value, or the error.
pub fn outcome(source: &str) -> String {
    let environment = Environment::new().with("x", Type::Dyn);
    let program = match Program::compile(source, &environment) {
        Ok(program) => program,
        Err(errors) => return format!("compile: {}", errors.issues[0].message),
    };
    let data = data();
    let variables = Variables::new().with("x", Val::data(&data));
    match program.evaluate(&variables, &mut Budget::default()) {
        Ok(Val::Bool(true)) => "true".into(),
        Ok(Val::Bool(false)) => "false".into(),
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error: {error}"),
    }
}

/// Every expression is true.
pub fn all_true(sources: &[&str]) {
    let wrong: Vec<String> = sources
        .iter()
        .filter_map(|s| Some((s, outcome(s))).filter(|(_, o)| o != "true"))
        .map(|(s, o)| format!("{s}\n    {o}"))
        .collect();
    assert!(wrong.is_empty(), "not true:\n{}", wrong.join("\n"));
}

/// Every expression ends with that error.
pub fn all_fail(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|(s, e)| (s, e, outcome(s)))
        .filter(|(_, e, o)| format!("error: {e}") != *o && format!("compile: {e}") != *o)
        .map(|(s, e, o)| format!("{s}\n    wanted {e}\n    got {o}"))
        .collect();
    assert!(wrong.is_empty(), "other ends:\n{}", wrong.join("\n"));
}
