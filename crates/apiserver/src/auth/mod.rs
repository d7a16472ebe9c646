//! Who makes a request: client certificate, bearer token, or nobody.

pub mod impersonate;
pub mod token;
pub mod x509;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use timonier_meta::ApiError;
use timonier_policy::User;

use crate::server::ApiServer;

/// Finds the user behind a connection and its headers: the client certificate first, then a
/// bearer token, else anonymous. 401 where a token is given and is not valid.
pub fn authenticate(
    server: &ApiServer,
    peer: Option<&User>,
    headers: &HeaderMap,
) -> Result<User, ApiError> {
    if let Some(user) = peer {
        return Ok(user.clone());
    }
    match bearer_token(headers) {
        Some(token) => {
            token::authenticate(server, token, &[]).map(|verified| verified.user).map_err(|why| {
                tracing::debug!(why, "bearer token refused");
                ApiError::unauthorized()
            })
        }
        None => Ok(User::anonymous()),
    }
}

/// The token of `Authorization: Bearer …`, or of the WebSocket protocol that browsers use.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
