//! The error of the API: upstream's `metav1.Status` with its reasons and texts.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::{FieldError, GroupResource, GroupVersionKind};

/// `metav1.StatusReason`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

impl Reason {
    /// The text of the reason, empty for an unknown one.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unknown => "",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Gone => "Gone",
            Reason::Invalid => "Invalid",
            Reason::ServerTimeout => "ServerTimeout",
            Reason::Timeout => "Timeout",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::BadRequest => "BadRequest",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::InternalError => "InternalError",
            Reason::Expired => "Expired",
            Reason::ServiceUnavailable => "ServiceUnavailable",
        }
    }

    /// The reason with this text; `Unknown` for another.
    pub fn parse(text: &str) -> Reason {
        use Reason::*;
        [
            Unauthorized,
            Forbidden,
            NotFound,
            AlreadyExists,
            Conflict,
            Gone,
            Invalid,
            ServerTimeout,
            Timeout,
            TooManyRequests,
            BadRequest,
            MethodNotAllowed,
            NotAcceptable,
            RequestEntityTooLarge,
            UnsupportedMediaType,
            InternalError,
            Expired,
            ServiceUnavailable,
        ]
        .into_iter()
        .find(|r| r.as_str() == text)
        .unwrap_or(Unknown)
    }
}

/// `metav1.StatusCause`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// A failed request: everything a `metav1.Status` of `Failure` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    pub reason: Reason,
    pub message: String,
    /// `details.name`, `.group`, `.kind` (a resource's plural or a kind), `.uid`.
    pub name: String,
    pub group: String,
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    /// Seconds; 0 means not set.
    pub retry_after_seconds: u32,
    /// `metadata.continue`: where an expired list can go on; mostly empty.
    pub continue_token: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for ApiError {}

impl ApiError {
    /// An error with a code, a reason and a message, and no details.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        ApiError {
            code,
            reason,
            message: message.into(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
            continue_token: String::new(),
        }
    }

    /// Adds the details of the object that the error is about.
    pub fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        self.group = resource.group.to_string();
        self.kind = resource.resource.to_string();
        self.name = name.to_string();
        self
    }

    /// Upstream `errors.NewNotFound`.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(404, Reason::NotFound, format!("{resource} {name:?} not found"))
            .about(resource, name)
    }

    /// Upstream `errors.NewAlreadyExists`.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(409, Reason::AlreadyExists, format!("{resource} {name:?} already exists"))
            .about(resource, name)
    }

    /// Upstream `errors.NewConflict`.
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        Self::new(
            409,
            Reason::Conflict,
            format!("Operation cannot be fulfilled on {resource} {name:?}: {why}"),
        )
        .about(resource, name)
    }

    /// The conflict of an update that was decided on an old resource version.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Upstream `errors.NewForbidden`.
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let what = match (resource.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {name:?} is forbidden: {why}"),
        };
        Self::new(403, Reason::Forbidden, what).about(resource, name)
    }

    /// Upstream `errors.NewInvalid`: 422 with a cause per field.
    pub fn invalid(kind: &GroupVersionKind, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if kind.group.is_empty() {
            kind.kind.to_string()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let body = match list.as_slice() {
            [] => "<nil>".to_string(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut error =
            Self::new(422, Reason::Invalid, format!("{qualified} {name:?} is invalid: {body}"));
        error.group = kind.group.to_string();
        error.kind = kind.kind.to_string();
        error.name = name.to_string();
        error.causes = errors
            .iter()
            .map(|e| Cause {
                reason: e.kind.cause().to_string(),
                message: e.body(),
                field: e.path.to_string(),
            })
            .collect();
        error
    }

    /// Upstream `errors.NewBadRequest`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// Upstream `errors.NewUnauthorized`.
    pub fn unauthorized() -> Self {
        Self::new(401, Reason::Unauthorized, "Unauthorized")
    }

    /// Upstream `errors.NewMethodNotSupported`.
    pub fn method_not_supported(resource: &GroupResource, verb: &str) -> Self {
        Self::new(
            405,
            Reason::MethodNotAllowed,
            format!(
                "{verb} is not supported on resources of kind {resource:?}",
                resource = resource.to_string()
            ),
        )
        .about(resource, "")
    }

    /// Upstream `errors.NewResourceExpired`: 410, for a revision that is compacted.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    /// Upstream `errors.NewInternalError`.
    pub fn internal(why: impl fmt::Display) -> Self {
        let mut error =
            Self::new(500, Reason::InternalError, format!("Internal error occurred: {why}"));
        error.causes = alloc::vec![Cause { message: why.to_string(), ..Cause::default() }];
        error
    }

    /// Upstream `errors.NewServiceUnavailable`.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::new(503, Reason::ServiceUnavailable, why)
    }

    /// Upstream `errors.NewTooManyRequests`.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut error = Self::new(429, Reason::TooManyRequests, message);
        error.retry_after_seconds = retry_after_seconds;
        error
    }

    /// Upstream `errors.NewRequestEntityTooLargeError`.
    pub fn too_large(why: &str) -> Self {
        Self::new(413, Reason::RequestEntityTooLarge, format!("Request entity is too large: {why}"))
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// Whether the write lost against another.
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// Whether the object exists already.
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldPath;

    #[test]
    fn texts_are_upstreams() {
        let pods = GroupResource::new_static("", "pods");
        assert_eq!(ApiError::not_found(&pods, "a").message, "pods \"a\" not found");
        assert_eq!(
            ApiError::modified(&GroupResource::new_static("apps", "deployments"), "web").message,
            "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply your changes to the latest version and try again"
        );
        let kind = GroupVersionKind::new_static("apps", "v1", "Deployment");
        let error = FieldError::required(&FieldPath::new("spec.selector"), "");
        assert_eq!(
            ApiError::invalid(&kind, "web", &[error]).message,
            "Deployment.apps \"web\" is invalid: spec.selector: Required value"
        );
    }
}
