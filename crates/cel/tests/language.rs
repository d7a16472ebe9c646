//! The language: operators, conversions, macros, errors, costs.

mod common;

use common::{all_fail, all_true, outcome};
use timonier_cel::{Budget, Environment, EvalError, Program, Val, Variables};

#[test]
fn operators() {
    all_true(&[
        "1 + 2 * 3 == 7",
        "(1 + 2) * 3 == 9",
        "7 / 2 == 3 && -7 / 2 == -3 && -7 % 2 == -1",
        "7u / 2u == 3u",
        "1.0 / 0.0 > 1e308",
        "- -1 == 1 && !!true",
        "'a' + 'b' == 'ab' && b'a' + b'b' == b'ab'",
        "[1] + [2, 3] == [1, 2, 3]",
        "1 < 2 && 2u > 1u && 1.5 <= 1.5 && 'a' < 'b' && false < true",
        "1 < 2u && 1u < 2.5 && 3 > 2.5",
        "x.i == 5.0 && x.d != 1 && dyn(1) == 1u",
        "dyn(1) != 'a' && dyn([1]) != dyn({'a': 1})",
        "x.n == null && x.i != null",
        "true ? 1 == 1 : 1 / 0 == 1",
        "2 in [1, 2] && !(4 in x.list) && 'a' in x.map && !('z' in x.map)",
        "2.0 in x.list",
        "{'a': [1], 'b': [2]} == {'b': [2], 'a': [1]}",
        "[1, 2] == dyn([1.0, 2.0])",
        "1 == 1 // a comment",
        "-9223372036854775808 < 0 && 9223372036854775807 > 0",
        "0xFF == 255 && 1e3 == 1000.0",
        "type(1) == int && type(x.s) == string && type(null) == null_type && type(int) == type",
        "type(x.list) == list && type(x.map) == map && type(timestamp(0)) == google.protobuf.Timestamp",
    ]);
}

#[test]
fn logic_absorbs_errors() {
    all_true(&[
        "true || 1 / 0 == 1",
        "1 / 0 == 1 || true",
        "!(false && 1 / 0 == 1)",
        "!(1 / 0 == 1 && false)",
        "[1, 0].exists(v, 1 / v == 1)",
        "[0, 1].exists(v, 1 / v == 1)",
        "![0, 1].all(v, 1 / v == 2)",
    ]);
    all_fail(&[
        ("false || 1 / 0 == 1", "division by zero"),
        ("true && 1 % 0 == 1", "modulus by zero"),
        ("[0, 2].exists(v, 1 / v == 1)", "division by zero"),
        ("x.s && true", "no such overload"),
        ("x.i ? 1 : 2", "no such overload"),
    ]);
}

#[test]
fn errors_of_evaluation() {
    all_fail(&[
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 - 1", "integer overflow"),
        ("-x.i * 9223372036854775807", "integer overflow"),
        ("-9223372036854775808 / -1", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"),
        ("1u / 0u", "division by zero"),
        ("x.nothing", "no such key: nothing"),
        ("x.s.nothing", "no such key: nothing"),
        ("x.map['c']", "no such key: c"),
        ("x.list[5]", "index out of bounds: 5"),
        ("x.list[-1]", "index out of bounds: -1"),
        ("x.list['a']", "unsupported index type 'string' in list"),
        ("x.i + x.s", "no such overload"),
        ("x.i < x.s", "no such overload"),
        ("x.s.startsWith(x.i)", "no such overload"),
        ("x.i.all(v, true)", "no such overload"),
        ("int('1a')", "strconv.ParseInt: parsing \"1a\": invalid syntax"),
        (
            "int('99999999999999999999')",
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
        ),
        ("int(1e19)", "integer overflow"),
        ("uint(-1)", "unsigned integer overflow"),
        ("bool('yes')", "strconv.ParseBool: parsing \"yes\": invalid syntax"),
        ("string(b'\\xff')", "invalid UTF-8 in bytes, cannot convert to string"),
        (
            "timestamp(x.s)",
            "parsing time \"text\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"text\" as \"2006\"",
        ),
        ("duration(x.s)", "time: invalid duration \"text\""),
        (
            "x.s.matches('[' + x.s)",
            "error parsing regexp: non-empty character class has no closing bracket: `[text`",
        ),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
        ("{'a': 1, 'a': 2}", "insert failed: key a already exists"),
        ("{1.5: 2}", "unsupported key type: double"),
        ("optional.none().value()", "optional.none() dereference"),
    ]);
}

#[test]
fn conversions() {
    all_true(&[
        "int(3.9) == 3 && int(-3.9) == -3 && int('-42') == -42 && int(7u) == 7",
        "uint(3.9) == 3u && uint('42') == 42u && uint(7) == 7u",
        "double(1) == 1.0 && double('1.5e1') == 15.0",
        "string(1) == '1' && string(2u) == '2' && string(true) == 'true' && string(b'abc') == 'abc'",
        "string(1.5) == '1.5' && string(1.0) == '1' && string(1e21) == '1e+21' && string(1e-7) == '1e-07'",
        "string(123456.0) == '123456' && string(1234567.0) == '1.234567e+06'",
        "string(double('NaN')) == 'NaN' && string(1.0 / 0.0) == '+Inf'",
        "bytes('é') == b'\\303\\251' && size(bytes('é')) == 2 && size('é') == 1",
        "bool('true') && !bool('F')",
        "string(timestamp('2009-02-13T23:31:30.5Z')) == '2009-02-13T23:31:30.5Z'",
        "timestamp('2009-02-13T23:31:30+01:00') == timestamp('2009-02-13T22:31:30Z')",
        "int(timestamp('2009-02-13T23:31:30Z')) == 1234567890 && timestamp(0).getFullYear() == 1970",
        "string(duration('1h1m1.5s')) == '3661.5s' && duration('1.5s').getMilliseconds() == 1500",
        "duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90",
        "timestamp('2020-02-29T12:30:40.123Z').getDayOfYear() == 59",
        "timestamp('2020-02-29T12:30:40.123Z').getMonth() == 1",
        "timestamp('2020-02-29T12:30:40.123Z').getDate() == 29",
        "timestamp('2020-02-29T12:30:40.123Z').getDayOfMonth() == 28",
        "timestamp('2020-02-29T12:30:40.123Z').getDayOfWeek() == 6",
        "timestamp('2020-02-29T12:30:40.123Z').getHours('-05:30') == 7",
        "timestamp('2020-02-29T12:30:40.123Z').getSeconds() == 40",
        "timestamp('2020-02-29T12:30:40.123Z').getMilliseconds() == 123",
        "timestamp(10) - timestamp(0) == duration('10s') && timestamp(0) + duration('1m') == timestamp(60)",
        "duration('1m') > duration('59s') && duration('1s') + duration('1s') == duration('2s')",
        "size([1, 2]) == 2 && [1, 2].size() == 2 && x.map.size() == 2",
        "dyn(1) == 1 && type(dyn(1u)) == uint",
    ]);
}

#[test]
fn comprehensions() {
    all_true(&[
        "x.list.all(v, v > 0) && !x.list.all(v, v > 1) && [].all(v, false)",
        "x.list.exists(v, v == 2) && ![].exists(v, true)",
        "x.list.exists_one(v, v == 2) && !x.list.exists_one(v, v > 1)",
        "x.list.map(v, v * 2) == [2, 4, 6]",
        "x.list.map(v, v > 1, v * 2) == [4, 6]",
        "x.list.filter(v, v > 1) == [2, 3]",
        "x.map.all(k, x.map[k] > 0) && x.map.map(k, k) == ['a', 'b']",
        "x.objects.filter(o, o.n > 1).map(o, o.name) == ['two']",
        "x.list.map(v, x.list.map(w, v * w)) == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]",
        "[1, 2].map(x, x + 1) == [2, 3]",
        "x.list.all(i, v, v == i + 1) && x.map.exists(k, v, k == 'b' && v == 2)",
        "x.list.existsOne(i, v, i == 0) && x.map.existsOne(k, v, v == 1)",
        "x.list.transformList(i, v, i * v) == [0, 2, 6]",
        "x.list.transformList(i, v, i > 0, v) == [2, 3]",
        "x.map.transformMap(k, v, v + 1) == {'a': 2, 'b': 3}",
        "x.map.transformMap(k, v, k != 'a', v + 1) == {'b': 3}",
        "x.list.transformMapEntry(i, v, {string(v): i}) == {'1': 0, '2': 1, '3': 2}",
    ]);
    all_fail(&[
        ("x.list.transformMapEntry(i, v, {'a': v})", "insert failed: key a already exists"),
        ("x.list.exists_one(v, 1 / (v - 1) == 1)", "division by zero"),
        ("x.list.map(v, v / 0)", "division by zero"),
    ]);
}

#[test]
fn presence_and_optional_values() {
    all_true(&[
        "has(x.s) && !has(x.nothing) && has(x.n) && !has(x.map.c)",
        "has({'a': 1}.a)",
        "!has(x.?nothing.more)",
        "x.?s == optional.of('text') && x.?nothing == optional.none()",
        "x.?nothing.more.orValue('d') == 'd' && x.?map.a.orValue(9) == 1",
        "x[?'s'].hasValue() && !x.list[?9].hasValue() && x.list[?0].value() == 1",
        "x.?nothing.or(x.?s).value() == 'text'",
        "x.?s.orValue(string(1 / 0)) == 'text'",
        "x.?i.optMap(v, v + 1).value() == 6 && !x.?nothing.optMap(v, v + 1).hasValue()",
        "x.?i.optFlatMap(v, optional.of(v)).value() == 5",
        "[?x.?i, ?x.?nothing] == [5] && {?'a': x.?i, ?'b': x.?nothing} == {'a': 5}",
        "!optional.ofNonZeroValue(0).hasValue() && optional.ofNonZeroValue(1).hasValue()",
        "[1, 2].first().value() == 1 && [1, 2].last() == optional.of(2) && ![].first().hasValue()",
    ]);
    all_fail(&[("has(x.nothing.more)", "no such key: nothing")]);
}

#[test]
fn variables_that_failed_fail_when_they_are_read() {
    let environment = Environment::new().with("variables", timonier_cel::Type::Dyn);
    let failed = Val::Failed(std::sync::Arc::new(EvalError::new("the reason")));
    let all = Val::map([("good", Val::Int(1)), ("bad", failed)]);
    let variables = Variables::new().with("variables", all);
    let run = |source: &str| {
        let program = Program::compile(source, &environment).unwrap();
        assert!(program.uses_field("variables", "good"));
        assert!(program.uses("variables") && !program.uses("object"));
        program.evaluate(&variables, &mut Budget::default())
    };
    assert_eq!(run("variables.good == 1").unwrap().as_bool(), Some(true));
    let error = run("variables.good == 1 && variables.bad == 1").unwrap_err();
    assert_eq!(error.to_string(), "the reason");
}

fn cost(source: &str) -> u64 {
    let environment = Environment::new().with("x", timonier_cel::Type::Dyn);
    let program = Program::compile(source, &environment).unwrap();
    let data = common::data();
    let variables = Variables::new().with("x", Val::data(&data));
    let mut budget = Budget::default();
    program.evaluate(&variables, &mut budget).unwrap();
    Budget::default().remaining() - budget.remaining()
}

#[test]
fn costs_are_cel_gos() {
    for (source, expected) in [
        ("1", 0),
        ("x", 1),
        ("x.map.a", 3),
        ("x.list[0]", 3),
        ("1 + 2", 1),
        ("has(x.s)", 0),
        ("has(x.map.a)", 1),
        ("true && false", 0),
        ("[1, 2]", 10),
        ("{1: 2}", 30),
        ("'abcdefghijk' == 'abcdefghijk'", 2),
        ("'abc'.contains('b')", 1),
        ("'abcdefghijk'.matches('^a')", 2),
        ("1 in x.list", 5),
        ("x.list.sum() == 6", 6),
    ] {
        assert_eq!(cost(source), expected, "{source}");
    }
}

#[test]
fn budgets_end_evaluations() {
    let range = format!("[{}]", vec!["1"; 200].join(","));
    let deep = format!("{range}.all(a, {range}.all(b, {range}.all(c, a + b + c > 0)))");
    assert_eq!(outcome(&deep), "error: operation cancelled: actual cost limit exceeded");
    // Nothing absorbs it.
    let absorbed = format!("true ? ({deep} || true) : true");
    assert_eq!(outcome(&absorbed), "error: operation cancelled: actual cost limit exceeded");
    let doubled = format!("{}{}", "['aaaaaaaaaa'].map(a, ", "a + a + a + a + a + a + a + a)[0]");
    let big =
        (0..7).fold(doubled, |s, _| format!("[{s}].map(a, a + a + a + a + a + a + a + a)[0]"));
    assert_eq!(outcome(&big), "error: operation cancelled: actual cost limit exceeded");
    let environment = Environment::new();
    let program = Program::compile("[1, 2, 3].all(x, x > 0)", &environment).unwrap();
    let mut budget = Budget::new(30);
    assert!(program.evaluate(&Variables::new(), &mut budget).is_ok() && !budget.is_exhausted());
    program.evaluate(&Variables::new(), &mut budget).ok();
    assert!(budget.is_exhausted() && budget.remaining() == 0);
}

#[test]
fn values_are_bound_where_that_is_switched_on() {
    let source = "cel.bind(a, 1 + 1, [1, 2].exists(x, x == a) && a * a == 4)";
    let run = |environment: &Environment| {
        let program = Program::compile(source, environment).ok()?;
        program.evaluate(&Variables::new(), &mut Budget::default()).ok()?.as_bool()
    };
    assert_eq!(run(&Environment::new().with_bindings()), Some(true));
    assert!(Program::compile(source, &Environment::new()).is_err());
}
