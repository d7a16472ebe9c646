//! AdmissionReview: the question to a hook and its answer.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::{ApiError, GroupVersionKind, GroupVersionResource, Reason};
use timonier_object::{Value, value};

/// The parts of a question.
pub struct Review<'a> {
    /// `v1` or `v1beta1`.
    pub version: &'a str,
    /// Tells questions apart; the answer repeats it.
    pub uid: &'a str,
    pub operation: &'static str,
    pub subresource: &'a str,
    /// What the hook sees.
    pub kind: &'a GroupVersionKind,
    pub resource: &'a GroupVersionResource,
    /// What the client's request was about.
    pub request_kind: &'a GroupVersionKind,
    pub request_resource: &'a GroupVersionResource,
    pub name: &'a str,
    pub namespace: &'a str,
    /// A `UserInfo`.
    pub user: Value,
    pub object: Value,
    pub old: Value,
    pub dry_run: bool,
    /// The options of the request, such as a `CreateOptions`.
    pub options: Value,
}

impl Review<'_> {
    /// The AdmissionReview object.
    pub fn question(self) -> Value {
        let mut request = value!({
            "uid": (self.uid),
            "kind": (kind(self.kind)),
            "resource": (resource(self.resource)),
            "requestKind": (kind(self.request_kind)),
            "requestResource": (resource(self.request_resource)),
            "operation": (self.operation),
            "userInfo": (self.user),
            "object": (self.object),
            "oldObject": (self.old),
            "dryRun": (self.dry_run),
            "options": (self.options)
        });
        for (field, text) in [
            ("subResource", self.subresource),
            ("requestSubResource", self.subresource),
            ("name", self.name),
            ("namespace", self.namespace),
        ] {
            if !text.is_empty() {
                request.set(field, text);
            }
        }
        value!({ "kind": "AdmissionReview",
            "apiVersion": (format!("admission.k8s.io/{}", self.version)),
            "request": (request) })
    }
}

fn kind(k: &GroupVersionKind) -> Value {
    value!({ "group": (&k.group), "version": (&k.version), "kind": (&k.kind) })
}

fn resource(r: &GroupVersionResource) -> Value {
    value!({ "group": (&r.group), "version": (&r.version), "resource": (&r.resource) })
}

/// What a hook answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The refusal, `None` where the hook allows the request.
    pub refusal: Option<ApiError>,
    /// The JSON patch, still in base64; empty for none.
    pub patch: String,
    pub warnings: Vec<String>,
}

impl Answer {
    /// Reads the answer of the hook `name` to the question `uid`. The error says what is wrong
    /// with it, in upstream's words.
    pub fn read(answer: &Value, name: &str, version: &str, uid: &str) -> Result<Self, String> {
        let response = answer.at("response");
        if response.is_null() {
            return Err("webhook response was absent".into());
        }
        let wanted = (format!("admission.k8s.io/{version}"), "AdmissionReview");
        // Upstream asks this of v1 only.
        if version == "v1" {
            if response.at("uid").str() != uid {
                return Err(format!(
                    "expected response.uid={uid:?}, got {:?}",
                    response.at("uid").str()
                ));
            }
            let (api_version, kind) = (answer.api_version(), answer.kind());
            if (api_version, kind) != (wanted.0.as_str(), wanted.1) {
                return Err(format!(
                    "expected webhook response of {}, Kind={}, got {}, Kind={kind}",
                    wanted.0, wanted.1, api_version
                ));
            }
        }
        let patch = response.at("patch").str().to_string();
        if version == "v1" && !patch.is_empty() {
            let kind = response.at("patchType");
            if kind.is_null() {
                return Err("webhook returned response.patch but not response.patchType".into());
            }
            if kind.str() != "JSONPatch" {
                return Err(format!("unexpected response.patchType {:?}", kind.str()));
            }
        }
        let refusal = (!response.at("allowed").as_bool().unwrap_or(false))
            .then(|| refusal(name, response.at("status")));
        let warnings = response.at("warnings").items().iter().map(|w| w.str().to_string());
        Ok(Answer { refusal, patch, warnings: warnings.collect() })
    }
}

/// Upstream's `ToStatusErr`.
fn refusal(name: &str, status: &Value) -> ApiError {
    let denied = format!("admission webhook {name:?} denied the request");
    let reason = status.at("reason").str();
    let message = match (status.at("message").str(), reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = u16::try_from(status.at("code").int_or(0)).unwrap_or(0);
    let code = if (400..600).contains(&code) { code } else { 400 };
    ApiError::new(code, Reason::parse(reason), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(response: Value) -> Result<Answer, String> {
        let answer = value!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": (response) });
        Answer::read(&answer, "h.x.y", "v1", "u")
    }

    #[test]
    fn answers_are_read() {
        let allowed = read(value!({ "uid": "u", "allowed": true, "warnings": ["w"] })).unwrap();
        assert_eq!((allowed.refusal, allowed.warnings), (None, alloc::vec!["w".into()]));
        let refused = |response| read(response).unwrap().refusal.unwrap();
        let bare = refused(value!({ "uid": "u", "allowed": false }));
        let text = "admission webhook \"h.x.y\" denied the request without explanation";
        assert_eq!((bare.code, bare.message.as_str()), (400, text));
        let said = refused(value!({ "uid": "u", "allowed": false,
            "status": { "code": 403, "message": "no", "reason": "Forbidden" } }));
        let text = "admission webhook \"h.x.y\" denied the request: no";
        assert_eq!((said.code, said.message.as_str()), (403, text));
        assert_eq!(said.reason, Reason::Forbidden);
    }

    #[test]
    fn wrong_answers_are_errors() {
        for (response, why) in [
            (Value::Null, "webhook response was absent"),
            (value!({ "uid": "v" }), "expected response.uid=\"u\", got \"v\""),
            (
                value!({ "uid": "u", "patch": "W10=" }),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                value!({ "uid": "u", "patch": "W10=", "patchType": "Merge" }),
                "unexpected response.patchType \"Merge\"",
            ),
        ] {
            assert_eq!(read(response).unwrap_err(), why);
        }
    }
}
