//! What selectors of devices may use: `device` with `driver`, `attributes` and `capacity`, and
//! `cel.bind`.

use alloc::format;
use alloc::string::String;

use timonier_cel::{Environment, Program, Type};

use super::object;

/// The variable `device`, as upstream's `dynamic-resource-allocation/cel` declares it without the
/// features that are off by default.
pub fn environment() -> Environment {
    let by_domain = |of: Type| Type::map(Type::Str, Type::map(Type::Str, of));
    let device = object(
        "kubernetes.DRADevice",
        &[
            ("driver", Type::Str),
            ("attributes", by_domain(Type::Dyn)),
            ("capacity", by_domain(Type::Opaque("kubernetes.Quantity"))),
        ],
    );
    Environment::new().with("device", device).with_bindings()
}

/// Compiles a selector, which must give a bool or what only a device can tell. The error is
/// upstream's. Its estimate of the highest cost is not made here; evaluations have a budget.
pub fn compile(source: &str) -> Result<Program, String> {
    let program = Program::compile(source, &environment())
        .map_err(|error| format!("compilation failed: {error}"))?;
    match program.output() {
        Type::Bool | Type::Dyn => Ok(program),
        other => Err(format!("must evaluate to bool or the unknown type, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_compile() {
        for source in [
            "device.driver == 'dra.example.com'",
            "device.attributes['dra.example.com'].name",
            "device.attributes['dra.example.com']['name'] == 'fish'",
            "cel.bind(dra, device.attributes['dra.example.com'], dra.one && dra.other)",
            "device.capacity['dra.example.com'].name.isGreaterThan(quantity('1Ki'))",
            "'dra.example.com' in device.attributes",
            "device.attributes['dra.example.com'].name.isGreaterThan(semver('0.0.1'))",
            "device.attributes['dra.example.com'].services.split('example').size() >= 2",
            "device.attributes.exists_one(x, x == 'dra.example.com')",
        ] {
            assert_eq!(compile(source).err(), None, "{source}");
        }
        let wrong = |source: &str| compile(source).err().unwrap_or_default();
        assert_eq!(wrong("1"), "must evaluate to bool or the unknown type, not int");
        assert!(wrong("?!").starts_with("compilation failed: ERROR: <input>:1:1: Syntax error"));
        let why = wrong("device.allowMultipleAllocations == true");
        assert!(why.contains("undefined field 'allowMultipleAllocations'"), "{why}");
        assert!(
            wrong("cel.bind(1, 2, true)").contains("variable names must be simple identifiers")
        );
    }
}
