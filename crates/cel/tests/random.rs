//! No source makes the compiler or the evaluator panic, overflow the stack or run long.

mod common;

use timonier_cel::{Budget, Environment, Program, Type, Val, Variables};

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.next(from.len())]
    }
}

const PIECES: [&str; 64] = [
    "x",
    ".",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    "in",
    "1",
    "2u",
    "1.5",
    "'a'",
    "b'a'",
    "null",
    "true",
    "list",
    "map",
    "s",
    "has",
    "all",
    "exists",
    "filter",
    "size",
    "int",
    "string",
    "duration",
    "timestamp",
    "optional",
    "of",
    "none",
    "orValue",
    "quantity",
    "format",
    "matches",
    "split",
    "replace",
    "sets",
    "sum",
    "9223372036854775807",
    "-9223372036854775808",
    "'\\u00e9'",
    "\"",
    "'''",
    "\\",
    "é",
    "\n",
    "//",
    " ",
];

fn run(source: &str) {
    let environment = Environment::new().with("x", Type::Dyn).with_authorizer();
    let Ok(program) = Program::compile(source, &environment) else { return };
    let data = common::data();
    let variables = Variables::new().with("x", Val::data(&data));
    program.evaluate(&variables, &mut Budget::default()).ok();
}

#[test]
fn any_tokens() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..5_000 {
        let count = 1 + random.next(24);
        let source: Vec<&str> = (0..count).map(|_| random.pick(&PIECES)).collect();
        run(&source.join(if random.next(2) == 0 { " " } else { "" }));
    }
}

const LEAVES: [&str; 16] = [
    "x",
    "x.s",
    "x.i",
    "x.list",
    "x.map",
    "x.n",
    "x.objects",
    "1",
    "-1",
    "0",
    "2u",
    "1.5",
    "'aé'",
    "b'a'",
    "[]",
    "timestamp(0)",
];

const SHAPES: [&str; 40] = [
    "(A + B)",
    "(A - B)",
    "(A * B)",
    "(A / B)",
    "(A % B)",
    "(A == B)",
    "(A < B)",
    "(A in B)",
    "(A && B)",
    "(A || !B)",
    "(A ? B : A)",
    "[A, B]",
    "{A: B}",
    "A[B]",
    "A[?B]",
    "dyn(A).all(v, B)",
    "dyn(A).map(v, [v, B])",
    "dyn(A).filter(v, v == B)",
    "dyn(A).exists(k, v, k == B)",
    "dyn(A).transformMap(k, v, B)",
    "dyn(A).transformMapEntry(k, v, {k: B})",
    "size(dyn(A))",
    "string(dyn(A))",
    "int(dyn(A))",
    "double(dyn(A))",
    "dyn(A).substring(dyn(B))",
    "dyn(A).replace(dyn(B), 'é')",
    "dyn(A).split(dyn(B))",
    "dyn(A).indexOf(dyn(B), 1)",
    "dyn(A).lastIndexOf(dyn(B), 1)",
    "dyn(A).charAt(dyn(B))",
    "'%s %d %e %x'.format([dyn(A), dyn(B), 1.5, 'a'])",
    "dyn(A).find(dyn(B))",
    "quantity(dyn(A))",
    "dyn(A).join(dyn(B))",
    "dyn(A).max()",
    "dyn(A).getHours(dyn(B))",
    "optional.of(A).orValue(B)",
    "sets.contains(dyn(A), dyn(B))",
    "duration(dyn(A))",
];

fn grow(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.next(6) == 0 {
        return random.pick(&LEAVES).into();
    }
    let (a, b) = (grow(random, depth - 1), grow(random, depth - 1));
    // Letters of the shapes are not in the leaves' way: values are put in at once.
    random
        .pick(&SHAPES)
        .split_inclusive(['A', 'B'])
        .map(|part| match part.chars().last() {
            Some('A') => format!("{}{a}", &part[..part.len() - 1]),
            Some('B') => format!("{}{b}", &part[..part.len() - 1]),
            _ => part.into(),
        })
        .collect()
}

#[test]
fn any_trees() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut values = 0;
    for _ in 0..3_000 {
        let source = grow(&mut random, 4);
        run(&source);
        values += usize::from(!common::outcome(&source).starts_with("compile"));
    }
    assert!(values > 300, "only {values} compiled");
}

#[test]
fn the_highest_trees_fit_the_stack() {
    for (open, close) in [
        ("(1 + ", ")"),
        ("[", "]"),
        ("!(", ")"),
        ("[1].map(v, ", ")"),
        ("true ? 1 : (", ")"),
        ("x[", "]"),
        ("{1: ", "}"),
    ] {
        for levels in [60, 80, 100, 120, 200, 249, 250] {
            run(&format!("{}x{}", open.repeat(levels), close.repeat(levels)));
        }
    }
    run(&format!("x{}", ".a".repeat(248)));
    run(&vec!["x.i"; 249].join(" + "));
}
