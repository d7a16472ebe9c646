//! What expressions of admission may use, and compiling them: policies and match conditions. Both
//! those who validate expressions and those who evaluate them compile here.

mod declared;
pub mod device;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_cel::{Environment, ObjectType, Program, Type};
use timonier_meta::SmolStr;

pub use declared::{kind_of_resource, type_of_kind};

/// Who may be asked besides the object and the request.
#[derive(Clone, Copy, Default)]
pub struct Uses {
    /// Whether there is a `params`.
    pub params: bool,
    /// Whether there is an `authorizer`.
    pub authorizer: bool,
}

/// The variables of an admission request: `object`, `oldObject`, `request`, `namespaceObject` and
/// what `uses` says.
pub fn environment(uses: Uses) -> Environment {
    let mut environment = Environment::new()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request_type())
        .with("namespaceObject", namespace_type());
    if uses.params {
        environment.declare("params", Type::Dyn);
    }
    if uses.authorizer {
        environment = environment.with_authorizer();
    }
    environment
}

/// The same with `variables`, whose fields have those types.
pub fn with_variables(environment: Environment, variables: &[(SmolStr, Type)]) -> Environment {
    let fields = variables.iter().cloned();
    let ty = ObjectType::with_names("kubernetes.variables", fields);
    environment.with("variables", Type::object(ty))
}

/// Compiles an expression that must give one of the types; any, where there are none. The error
/// is upstream's.
pub fn compile(
    source: &str,
    environment: &Environment,
    wanted: &[Type],
) -> Result<Program, String> {
    let program =
        Program::compile(source, environment).map_err(|e| format!("compilation failed: {e}"))?;
    if wanted.is_empty() || wanted.iter().any(|ty| program.gives(ty)) {
        return Ok(program);
    }
    let name = |ty: &Type| match ty {
        Type::Null => String::from("null_type"),
        other => format!("{other}"),
    };
    let names: Vec<String> = wanted.iter().map(name).collect();
    Err(match names.as_slice() {
        [one] => format!("must evaluate to {one}"),
        many => format!("must evaluate to one of [{}]", many.join(" ")),
    })
}

fn object(name: &str, fields: &[(&'static str, Type)]) -> Type {
    let fields = fields.iter().map(|(n, ty)| (SmolStr::new_static(n), ty.clone()));
    Type::object(ObjectType::with_names(name, fields))
}

/// Upstream's `AdmissionRequest` without the objects.
fn request_type() -> Type {
    let text = Type::Str;
    let named = |name: &str, what| {
        object(name, &[("group", Type::Str), ("version", Type::Str), (what, Type::Str)])
    };
    let kind = named("kubernetes.GroupVersionKind", "kind");
    let resource = named("kubernetes.GroupVersionResource", "resource");
    let user = object(
        "kubernetes.UserInfo",
        &[
            ("username", text.clone()),
            ("uid", text.clone()),
            ("groups", Type::list(Type::Str)),
            ("extra", Type::map(Type::Str, Type::list(Type::Str))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text.clone()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text.clone()),
            ("name", text.clone()),
            ("namespace", text.clone()),
            ("operation", text),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

/// What expressions may know of the namespace.
fn namespace_type() -> Type {
    let texts = Type::map(Type::Str, Type::Str);
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Type::Str),
            ("generateName", Type::Str),
            ("namespace", Type::Str),
            ("labels", texts.clone()),
            ("annotations", texts),
            ("UID", Type::Str),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::Str),
            ("finalizers", Type::list(Type::Str)),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(Type::Str))]);
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", Type::Str),
            ("type", Type::Str),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::Str),
            ("reason", Type::Str),
        ],
    );
    let status = object(
        "kubernetes.NamespaceStatus",
        &[("conditions", Type::list(condition)), ("phase", Type::Str)],
    );
    object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_must_be_what_is_wanted() {
        let environment = environment(Uses { params: false, authorizer: true });
        let with = |source: &str, wanted: &[Type]| compile(source, &environment, wanted).err();
        assert_eq!(
            with("object.spec.replicas <= 5 && request.namespace != ''", &[Type::Bool]),
            None
        );
        assert_eq!(with("namespaceObject.metadata.labels.size() > 0", &[Type::Bool]), None);
        assert_eq!(with("1", &[Type::Bool]).unwrap(), "must evaluate to bool");
        assert_eq!(with("object.x", &[Type::Bool]).unwrap(), "must evaluate to bool");
        assert_eq!(
            with("1", &[Type::Str, Type::Null]).unwrap(),
            "must evaluate to one of [string null_type]"
        );
        assert_eq!(
            with("params.x == 1", &[Type::Bool]).unwrap(),
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.x == 1\n | ^"
        );
        assert!(with("request.nothing == ''", &[Type::Bool]).unwrap().contains("undefined field"));
    }
}
