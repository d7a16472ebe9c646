//! The path of a field in an object and the errors found there, as upstream's
//! `k8s.io/apimachinery/pkg/util/validation/field` prints them.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

/// A path such as `spec.containers[0].name` or `metadata.labels[app]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FieldPath(String);

impl FieldPath {
    /// The path of a top-level field; the empty string is the object itself.
    pub fn new(root: &str) -> Self {
        FieldPath(root.to_string())
    }

    /// The path of a field below this one. The name may contain dots.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            FieldPath(name.to_string())
        } else {
            FieldPath(format!("{}.{name}", self.0))
        }
    }

    /// The path of an array item.
    pub fn index(&self, i: usize) -> Self {
        FieldPath(format!("{}[{i}]", self.0))
    }

    /// The path of a map entry.
    pub fn key(&self, key: &str) -> Self {
        FieldPath(format!("{}[{key}]", self.0))
    }

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for FieldPath {
    fn from(text: &str) -> Self {
        FieldPath::new(text)
    }
}

/// What is wrong with a field. Names and texts are upstream's `field.ErrorType`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ErrorKind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl ErrorKind {
    /// The `reason` of a Status cause.
    pub fn cause(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "FieldValueNotFound",
            ErrorKind::Required => "FieldValueRequired",
            ErrorKind::Duplicate => "FieldValueDuplicate",
            ErrorKind::Invalid => "FieldValueInvalid",
            ErrorKind::NotSupported => "FieldValueNotSupported",
            ErrorKind::Forbidden => "FieldValueForbidden",
            ErrorKind::TooLong => "FieldValueTooLong",
            ErrorKind::TooMany => "FieldValueTooMany",
            ErrorKind::Internal => "InternalError",
            ErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "Not found",
            ErrorKind::Required => "Required value",
            ErrorKind::Duplicate => "Duplicate value",
            ErrorKind::Invalid | ErrorKind::TypeInvalid => "Invalid value",
            ErrorKind::NotSupported => "Unsupported value",
            ErrorKind::Forbidden => "Forbidden",
            ErrorKind::TooLong => "Too long",
            ErrorKind::TooMany => "Too many",
            ErrorKind::Internal => "Internal error",
        }
    }
}

/// One thing wrong with one field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    pub kind: ErrorKind,
    pub path: FieldPath,
    /// The offending value as it is printed, quoted where it is a string; empty where the kind
    /// prints none.
    pub value: String,
    pub detail: String,
}

impl FieldError {
    fn new(kind: ErrorKind, path: &FieldPath, value: String, detail: impl Into<String>) -> Self {
        FieldError { kind, path: path.clone(), value, detail: detail.into() }
    }

    /// The field must be set.
    pub fn required(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, path, String::new(), detail)
    }

    /// The string is not allowed here.
    pub fn invalid_str(path: &FieldPath, value: &str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, quote(value), detail)
    }

    /// The value, already printed as JSON or Go would, is not allowed here.
    pub fn invalid(
        path: &FieldPath,
        printed: impl fmt::Display,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::Invalid, path, printed.to_string(), detail)
    }

    /// The value has the wrong type.
    pub fn type_invalid(
        path: &FieldPath,
        printed: impl fmt::Display,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(ErrorKind::TypeInvalid, path, printed.to_string(), detail)
    }

    /// A second value where only one may be.
    pub fn duplicate(path: &FieldPath, printed: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Duplicate, path, printed.to_string(), "")
    }

    /// A duplicate string.
    pub fn duplicate_str(path: &FieldPath, value: &str) -> Self {
        Self::new(ErrorKind::Duplicate, path, quote(value), "")
    }

    /// Not one of the supported values.
    pub fn not_supported(path: &FieldPath, value: &str, supported: &[&str]) -> Self {
        let mut list = String::new();
        for (i, s) in supported.iter().enumerate() {
            if i > 0 {
                list.push_str(", ");
            }
            list.push_str(&quote(s));
        }
        Self::new(ErrorKind::NotSupported, path, quote(value), format!("supported values: {list}"))
    }

    /// The field may not be set or changed here.
    pub fn forbidden(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, path, String::new(), detail)
    }

    /// The value is longer than `max` bytes.
    pub fn too_long(path: &FieldPath, max: usize) -> Self {
        Self::new(
            ErrorKind::TooLong,
            path,
            String::new(),
            format!("may not be more than {max} bytes"),
        )
    }

    /// More items than `max`.
    pub fn too_many(path: &FieldPath, actual: usize, max: usize) -> Self {
        Self::new(
            ErrorKind::TooMany,
            path,
            actual.to_string(),
            format!("must have at most {max} items"),
        )
    }

    /// What refers to nothing.
    pub fn not_found(path: &FieldPath, value: &str) -> Self {
        Self::new(ErrorKind::NotFound, path, quote(value), "")
    }

    /// The message without the path, as a Status cause carries it.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_string();
        if !self.value.is_empty() {
            text.push_str(": ");
            text.push_str(&self.value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// A string in double quotes with Go's escapes.
pub fn quote(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_upstream() {
        let path = FieldPath::new("spec").child("containers").index(0).child("name");
        assert_eq!(
            FieldError::required(&path, "").to_string(),
            "spec.containers[0].name: Required value"
        );
        assert_eq!(
            FieldError::not_supported(&"spec.type".into(), "x", &["A", "B"]).to_string(),
            "spec.type: Unsupported value: \"x\": supported values: \"A\", \"B\""
        );
        assert_eq!(
            FieldError::invalid(&"spec.replicas".into(), -1, "must be greater than or equal to 0")
                .to_string(),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
    }
}
