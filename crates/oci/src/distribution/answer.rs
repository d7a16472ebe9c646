//! Answers and refusals in the protocol's form.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use crate::error::Error;

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub type Answer = Response<Body>;

/// A request that is not done, with the protocol's code for the reason.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into() }
    }

    pub fn unauthorized() -> Refusal {
        Refusal::new(401, "UNAUTHORIZED", "authentication required")
    }

    pub fn into_answer(self) -> Answer {
        let error = serde_json::json!({
            "errors": [{ "code": self.code, "message": self.message, "detail": null }]
        });
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = json(status, error.to_string().into_bytes());
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"timonier\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}

/// What goes wrong on our side is told without its details.
impl From<Error> for Refusal {
    fn from(e: Error) -> Refusal {
        match e {
            Error::Corrupt(text) | Error::Invalid(text) => {
                Refusal::new(400, "MANIFEST_INVALID", text)
            }
            Error::TooLarge(text) => Refusal::new(413, "SIZE_INVALID", text),
            other => {
                tracing::error!("registry: {other}");
                let full = other.to_string().contains("No space left");
                let text = if full { "the registry's disk is full" } else { "internal error" };
                Refusal::new(if full { 507 } else { 500 }, "UNKNOWN", text)
            }
        }
    }
}

pub fn empty(status: u16) -> Answer {
    let mut answer = Response::new(full(Bytes::new()));
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub fn json(status: StatusCode, bytes: Vec<u8>) -> Answer {
    let mut answer = Response::new(full(bytes.into()));
    *answer.status_mut() = status;
    set(&mut answer, "content-type", "application/json");
    answer
}

/// Sets a header; values are ours, so what no header can hold is left out.
pub fn set(answer: &mut Answer, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
