//! `list`: the objects of a collection, in pages that all see one revision.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use timonier_meta::ApiError;
use timonier_object::{Value, json, value};
use timonier_store::{Item, Snapshot};

use crate::call::{Call, Object};
use crate::filter::Filter;
use crate::query::{ListQuery, Match};
use crate::verbs::fresh;
use crate::{storage, versions};

/// A page of a list.
pub struct Page {
    pub items: Vec<Object>,
    pub revision: u64,
    /// Empty where this is the last page.
    pub continue_token: String,
    /// How many follow, where that is known.
    pub remaining: Option<usize>,
}

/// Reads a page.
pub async fn list(call: &Call<'_>, query: &ListQuery) -> Result<Page, ApiError> {
    let filter = Filter::new(call, query)?;
    let prefix = storage::prefix(&call.row, call.namespace());
    let (snapshot, after) = if query.continue_token.is_empty() {
        (snapshot(call, query, &prefix).await?, None)
    } else {
        if query.revision.is_some_and(|r| r > 0) {
            let text = "specifying resource version is not allowed when using continue";
            return Err(ApiError::bad_request(text));
        }
        let token = Token::decode(&query.continue_token)?;
        let snapshot = token.snapshot(call, &prefix).await?;
        (snapshot, Some(format!("{prefix}{}", token.after)))
    };
    if let Some(key) = filter.only_key(call) {
        let found: Vec<Arc<Item>> = snapshot.get(&key).cloned().into_iter().collect();
        let mut items = call.objects(&found).await?;
        items.retain(|object| filter.matches(call, object));
        let revision = snapshot.revision;
        return Ok(Page { items, revision, continue_token: String::new(), remaining: None });
    }
    page(call, query, &filter, &snapshot, &prefix, after.as_deref()).await
}

async fn page(
    call: &Call<'_>,
    query: &ListQuery,
    filter: &Filter,
    snapshot: &Snapshot,
    prefix: &str,
    after: Option<&str>,
) -> Result<Page, ApiError> {
    // With `resourceVersion=0` upstream answers from its cache, which has no pages.
    let whole = query.limit == 0 || query.revision == Some(0);
    let limit = if whole { usize::MAX } else { query.limit };
    let candidates: Vec<Arc<Item>> = snapshot.range(prefix, after).cloned().collect();
    let mut items: Vec<Object> = Vec::new();
    let (mut seen, mut last, mut more) = (0, 0, false);
    'portions: for portion in versions::portions(&candidates) {
        for object in call.objects(portion).await? {
            if filter.matches(call, &object) {
                if items.len() == limit {
                    more = true;
                    break 'portions;
                }
                items.push(object);
                last = seen;
            }
            seen += 1;
        }
    }
    let revision = snapshot.revision;
    let (continue_token, remaining) = match more {
        true => {
            let after = candidates[last].key[prefix.len()..].to_string();
            let remaining = filter.is_everything().then(|| candidates.len() - items.len());
            (Token { revision: Some(revision), after }.encode(), remaining)
        }
        false => (String::new(), None),
    };
    Ok(Page { items, revision, continue_token, remaining })
}

/// The state that the options ask for.
async fn snapshot(call: &Call<'_>, query: &ListQuery, prefix: &str) -> Result<Snapshot, ApiError> {
    let store = &call.server.store;
    let revision = match query.revision {
        None => return fresh::newest(call, prefix).await,
        Some(0) => return Ok(store.snapshot()),
        Some(revision) => revision,
    };
    fresh::wait(call, revision).await?;
    // A page of a stated revision is of exactly that one, unless the client says otherwise.
    let exact = query.matching == Match::Exact || query.matching == Match::Unset && query.limit > 0;
    if !exact {
        return Ok(store.snapshot());
    }
    store
        .snapshot_at(revision)
        .ok_or_else(|| ApiError::expired("The resourceVersion for the provided list is too old."))
}

/// Where the next page starts, in upstream's form.
struct Token {
    /// `None` asks for the newest state.
    revision: Option<u64>,
    /// The last key given out, without the prefix.
    after: String,
}

impl Token {
    fn encode(&self) -> String {
        let revision = self.revision.map_or(Value::from(-1i64), |r| Value::from(r as i64));
        // Upstream states the first key that may follow: the last one and a zero byte.
        let start = format!("{}\0", self.after);
        let token = value!({ "v": "meta.k8s.io/v1", "rv": (revision), "start": start });
        URL_SAFE_NO_PAD.encode(json::encode(&token))
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        let bad = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| bad("illegal base64 data"))?;
        let token = json::decode(&bytes).map_err(|e| bad(&e))?;
        if token.at("v").str() != "meta.k8s.io/v1" {
            return Err(bad(&format!(
                "server does not recognize this encoded version {:?}",
                token.at("v").str()
            )));
        }
        let start = token.at("start").str();
        if start.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
        }
        let revision = match token.at("rv").as_i64() {
            Some(n) if n > 0 => Some(n as u64),
            Some(-1) => None,
            _ => {
                return Err(bad(
                    "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
                ));
            }
        };
        Ok(Token { revision, after: start.trim_end_matches('\0').to_string() })
    }

    async fn snapshot(&self, call: &Call<'_>, prefix: &str) -> Result<Snapshot, ApiError> {
        let Some(revision) = self.revision else { return fresh::newest(call, prefix).await };
        // The first page may be another control plane's.
        fresh::wait(call, revision).await?;
        call.server.store.snapshot_at(revision).ok_or_else(|| {
            let mut error = ApiError::expired(EXPIRED);
            let newest = Token { revision: None, after: self.after.clone() };
            error.continue_token = newest.encode();
            error
        })
    }
}

const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_noise_is_refused() {
        let token = Token { revision: Some(7), after: "ns/a".into() };
        let back = Token::decode(&token.encode()).unwrap();
        assert_eq!((back.revision, &*back.after), (Some(7), "ns/a"));
        for bad in ["", "x", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ", "!!!", "ü"] {
            assert_eq!(Token::decode(bad).err().unwrap().code, 400, "{bad}");
        }
    }
}
