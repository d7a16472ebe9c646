//! Expressions of the Common Expression Language: compiled and evaluated within a budget.

use timonier_cel::{Budget, Environment, Program, Variables};

use crate::{Target, texts};

/// More than any expression of a cluster needs.
const BUDGET: u64 = 100_000;

pub const TARGET: Target = Target {
    name: "cel",
    run,
    seeds: || {
        texts(&[
            "1 + 2 * 3 - -4 % 5 == 6 && !(true || false) ? 'a' : \"b\"",
            "[1, 2, 3].exists(x, x > 2) && [1].all(x, x == 1) && [1, 2].map(x, x * 2)[0] == 2",
            "{'a': 1, 'b': [1u, 2.5, b'x', null]}.a in [1] && 'abc'.matches('a.*') && has({'a': 1}.a)",
            "timestamp('2026-01-01T00:00:00Z') + duration('1h') > timestamp(0) && size('é') == 1",
            "'a,b'.split(',').join('-').replace('a', r'\\x').upperAscii().substring(0, 1)",
            "quantity('1Ki').isGreaterThan(quantity('1k')) && ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.1.1')",
            "optional.of(1).orValue(2) + dyn(1) + int('5') + [3, 1, 2].sort()[0]",
        ])
    },
    words: &[
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        "?",
        ":",
        "&&",
        "||",
        "==",
        "!=",
        "<=",
        " in ",
        "!",
        "-",
        "'",
        "\"\"\"",
        "b'",
        "r'",
        "\\u",
        ".map(x, ",
        ".filter(x, ",
        ".all(x, ",
        ".exists_one(x, ",
        "size(",
        "type(",
        "string(",
        "double(",
        "uint(",
        "0x",
        "u",
        ".matches('",
        "cel.bind(x, ",
        "x",
    ],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Program::compile(text, &Environment::new()) {
        Ok(program) => {
            let mut budget = Budget::new(BUDGET);
            drop(program.evaluate(&Variables::new(), &mut budget).map(drop));
        }
        Err(errors) => drop(errors.to_string()),
    }
}
