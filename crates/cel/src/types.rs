//! Types, as the checker knows them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use smol_str::SmolStr;

/// A type of the language. Prints as cel-go prints types in errors.
#[derive(Clone, PartialEq, Debug)]
pub enum Type {
    /// Known only at run time.
    Dyn,
    /// Of an expression with an error; fits everywhere.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Str,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<ListType>),
    /// Keys and values.
    Map(Arc<(Type, Type)>),
    Object(Arc<ObjectType>),
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    /// A type of a library, such as `kubernetes.Quantity`.
    Opaque(&'static str),
    /// A type that is still open.
    Param(u32),
}

/// The type of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct ListType {
    pub item: Type,
    pub kind: ListKind,
}

/// What `x-kubernetes-list-type` says: equality and `+` go by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListKind {
    Atomic,
    Set,
    /// With the keys that tell items apart.
    Map(Vec<SmolStr>),
}

/// An object with known fields, such as a schema gives.
#[derive(Debug)]
pub struct ObjectType {
    /// The name that errors print, such as `Object.spec`.
    pub name: SmolStr,
    fields: Vec<Field>,
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Field {
    /// The name in expressions; see [`escape`].
    pub name: SmolStr,
    /// The name in objects.
    pub key: SmolStr,
    pub ty: Type,
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl ObjectType {
    /// A type with fields named as in objects; names that expressions cannot spell are escaped,
    /// names that no escape helps are left out.
    pub fn new(
        name: impl Into<SmolStr>,
        fields: impl IntoIterator<Item = (SmolStr, Type)>,
    ) -> Self {
        let field = |(key, ty): (SmolStr, Type)| escape(&key).map(|name| Field { name, key, ty });
        let mut fields: Vec<Field> = fields.into_iter().filter_map(field).collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        ObjectType { name: name.into(), fields }
    }

    /// A type with fields whose names are the same in expressions and in objects.
    pub fn with_names(
        name: impl Into<SmolStr>,
        fields: impl IntoIterator<Item = (SmolStr, Type)>,
    ) -> Self {
        let field = |(key, ty): (SmolStr, Type)| Field { name: key.clone(), key, ty };
        let mut fields: Vec<Field> = fields.into_iter().map(field).collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        ObjectType { name: name.into(), fields }
    }

    /// The field of that name in expressions.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let index = self.fields.binary_search_by(|f| f.name.as_str().cmp(name)).ok()?;
        Some(&self.fields[index])
    }

    /// The field of that name in objects.
    pub(crate) fn by_key(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.key == key)
    }
}

impl Type {
    /// A list without set or map semantics.
    pub fn list(item: Type) -> Self {
        Type::List(Arc::new(ListType { item, kind: ListKind::Atomic }))
    }

    /// A map.
    pub fn map(key: Type, value: Type) -> Self {
        Type::Map(Arc::new((key, value)))
    }

    /// An object.
    pub fn object(object: ObjectType) -> Self {
        Type::Object(Arc::new(object))
    }

    /// A value that may be missing.
    pub fn optional(inner: Type) -> Self {
        Type::Optional(Arc::new(inner))
    }

    /// Whether anything may be done with the value until it is there.
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::Str => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(list) => write!(f, "list({})", list.item),
            Type::Map(map) => write!(f, "map({}, {})", map.0, map.1),
            Type::Object(object) => f.write_str(&object.name),
            Type::Optional(inner) => write!(f, "optional_type({inner})"),
            Type::Type(inner) => write!(f, "type({inner})"),
            Type::Opaque(name) => f.write_str(name),
            Type::Param(n) => write!(f, "_var{n}"),
        }
    }
}

/// The words that no field may be called in expressions.
const WORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The name of an object's field in expressions, as Kubernetes escapes it: `__` becomes
/// `__underscores__`, `.` `__dot__`, `-` `__dash__`, `/` `__slash__`, and a word of the language
/// stands between underscores. `None` where the name cannot be spelled.
pub fn escape(key: &str) -> Option<SmolStr> {
    if WORDS.contains(&key) {
        return Some(alloc::format!("__{key}__").into());
    }
    let first = key.chars().next()?;
    if first.is_ascii_digit() {
        return None;
    }
    if key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !key.contains("__") {
        return Some(key.into());
    }
    let mut out = alloc::string::String::new();
    let mut chars = key.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '_' if chars.peek() == Some(&'_') => {
                chars.next();
                out.push_str("__underscores__");
            }
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        for (key, name) in [
            ("a", Some("a")),
            ("namespace", Some("__namespace__")),
            ("a.b-c/d", Some("a__dot__b__dash__c__slash__d")),
            ("a__b", Some("a__underscores__b")),
            ("$ref", None),
            ("1a", None),
            ("", None),
        ] {
            assert_eq!(escape(key).as_deref(), name, "{key}");
        }
    }
}
