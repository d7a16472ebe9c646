//! What the fuzzer reaches into: decoders that are private otherwise.

use http::{Method, Uri};

use crate::query::{ListQuery, Query, WriteQuery, delete_options};
use crate::request::RequestInfo;

/// Reads a query as the options of every verb; gives how many take it.
pub fn query(text: &str) -> usize {
    let Ok(query) = Query::parse(text) else { return 0 };
    let lists = [false, true].iter().filter(|w| ListQuery::parse(&query, **w).is_ok()).count();
    let kinds = ["CreateOptions", "UpdateOptions", "PatchOptions"];
    let writes = kinds.iter().filter(|k| WriteQuery::parse(&query, k).is_ok()).count();
    lists + writes + usize::from(delete_options(&query).is_ok())
}

/// Reads a URL as every method; gives how many take it.
pub fn url(text: &str) -> usize {
    let Ok(uri) = text.parse::<Uri>() else { return 0 };
    let Ok(query) = Query::parse(uri.query().unwrap_or("")) else { return 0 };
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    methods.iter().filter(|m| RequestInfo::parse(m, &uri, &query).is_ok()).count()
}
