//! Types and the errors of compiling.

mod common;

use timonier_cel::{Environment, ObjectType, Program, Type};

fn environment() -> Environment {
    let spec = ObjectType::new(
        "Object.spec",
        [
            ("replicas".into(), Type::Int),
            ("namespace".into(), Type::Str),
            ("a-b".into(), Type::Bool),
            ("names".into(), Type::list(Type::Str)),
            ("labels".into(), Type::map(Type::Str, Type::Str)),
        ],
    );
    let object = ObjectType::new("Object", [("spec".into(), Type::object(spec))]);
    Environment::new()
        .with("object", Type::object(object))
        .with("any", Type::Dyn)
        .with("n", Type::Int)
        .with_authorizer()
}

fn compile(source: &str) -> Result<String, String> {
    let program = Program::compile(source, &environment());
    program.map(|p| p.output().to_string()).map_err(|e| e.to_string())
}

#[test]
fn types_of_results() {
    for (source, ty) in [
        ("object.spec.replicas + 1", "int"),
        ("object.spec.__namespace__", "string"),
        ("object.spec.a__dash__b", "bool"),
        ("object.spec.names.map(n, size(n))", "list(int)"),
        ("object.spec.labels.map(k, k)", "list(string)"),
        ("object.spec.?replicas", "optional_type(int)"),
        ("object.?spec.replicas.orValue(1)", "int"),
        ("any.x.y", "dyn"),
        ("any + 1", "int"),
        ("any + any", "dyn"),
        ("any == 1", "bool"),
        ("[]", "list(dyn)"),
        ("[] + [1]", "list(int)"),
        ("[1, any]", "list(dyn)"),
        ("{'a': [1]}", "map(string, list(int))"),
        ("n > 1 ? 'a' : any", "dyn"),
        ("object.spec.names.filter(n, n != '')[0]", "string"),
        ("type(1)", "type(int)"),
        ("authorizer.group('').resource('pods').check('get')", "kubernetes.authorization.Decision"),
        ("authorizer.requestResource.check('get').allowed()", "bool"),
        ("quantity('1').add(1)", "kubernetes.Quantity"),
        ("format.named('uri').value()", "kubernetes.NamedFormat"),
        ("object.spec.labels.transformMap(k, v, size(v))", "map(string, int)"),
        ("object.spec.names.transformMapEntry(i, v, {v: i})", "map(string, int)"),
        ("object == null", "bool"),
        ("[1, 2].max()", "int"),
    ] {
        assert_eq!(compile(source).as_deref(), Ok(ty), "{source}");
    }
}

#[test]
fn errors_are_cel_gos() {
    for (source, error) in [
        ("x", "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^"),
        (
            "object.spec.x == 1",
            "ERROR: <input>:1:12: undefined field 'x'\n | object.spec.x == 1\n | ...........^",
        ),
        (
            "1 + 'a'",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
        ),
        (
            "object.spec.names.foo()",
            "ERROR: <input>:1:22: undeclared reference to 'foo' (in container '')\n | object.spec.names.foo()\n | .....................^",
        ),
        (
            "n.startsWith('a')",
            "ERROR: <input>:1:13: found no matching overload for 'startsWith' applied to 'int.(string)'\n | n.startsWith('a')\n | ............^",
        ),
        (
            "n.all(x, true)",
            "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | n.all(x, true)\n | ^",
        ),
        (
            "[1, 'a']",
            "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^",
        ),
        ("n.x", "ERROR: <input>:1:2: type 'int' does not support field selection\n | n.x\n | .^"),
        (
            "n == 'a' && x",
            "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, string)'\n | n == 'a' && x\n | ..^\nERROR: <input>:1:13: undeclared reference to 'x' (in container '')\n | n == 'a' && x\n | ............^",
        ),
        (
            "object.spec.names.all(n, 1)",
            "ERROR: <input>:1:22: found no matching overload for '_&&_' applied to '(bool, int)'\n | object.spec.names.all(n, 1)\n | .....................^",
        ),
        (
            "Object{a: 1}",
            "ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')\n | Object{a: 1}\n | ......^",
        ),
        (
            "'a'.matches('[')",
            "ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('[')\n | ............^",
        ),
        ("duration('x') == timestamp('y')", "ERROR: <input>:1:10: invalid duration argument"),
    ] {
        let got = compile(source).unwrap_err();
        assert!(got.starts_with(error), "{source}\n{got}");
    }
}
