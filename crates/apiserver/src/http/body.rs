//! Request bodies: bounded reading, and decoding by content type.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use timonier_meta::{ApiError, Reason};

/// The most bytes of a body, as upstream's.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// Reads a whole body. 413 where it is too large.
pub async fn read<B>(body: B) -> Result<Bytes, ApiError>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => {
            Err(ApiError::too_large(&format!("limit is {MAX_BODY}")))
        }
        Err(e) => Err(ApiError::bad_request(format!("reading the body: {e}"))),
    }
}

/// What a body is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediaType {
    Json,
    Yaml,
    Protobuf,
}

/// The content type without its parameters, in lower case.
pub fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// The media type of an object's body; JSON where none is stated. 415 for others.
pub fn media_type(headers: &HeaderMap) -> Result<MediaType, ApiError> {
    if headers.get(CONTENT_ENCODING).is_some_and(|e| e != "identity") {
        return Err(unsupported(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ));
    }
    match content_type(headers).as_str() {
        "" | "application/json" | "*/*" => Ok(MediaType::Json),
        "application/yaml" => Ok(MediaType::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(MediaType::Protobuf),
        _ => Err(unsupported(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// The 415 that names what is taken.
pub fn unsupported(accepted: &str) -> ApiError {
    ApiError::new(
        415,
        Reason::UnsupportedMediaType,
        format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        ),
    )
}
