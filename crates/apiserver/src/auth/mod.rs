//! Who makes a request: client certificate, bearer token, or nobody.

pub mod bootstrap_token;
pub mod impersonate;
pub mod token;
pub mod x509;

use std::str::Utf8Error;

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
    let Some(token) = bearer_token(headers) else { return Ok(User::anonymous()) };
    let token = token.map_err(|_| ApiError::unauthorized())?;
    verify(server, token, &[]).map(|verified| verified.user).map_err(|why| {
        tracing::debug!(why, "bearer token refused");
        ApiError::unauthorized()
    })
}

/// Finds the user behind a bearer token of any kind. Without `audiences` the API server's own
/// count. The error says what is wrong, for the log.
pub fn verify(
    server: &ApiServer,
    token: &str,
    audiences: &[String],
) -> Result<token::Verified, String> {
    let Some((id, secret)) = bootstrap_token::parse(token) else {
        return token::authenticate(server, token, audiences);
    };
    // Such a token is for nobody in particular, which means for the API server.
    let own = &server.config.audiences;
    let wanted = if audiences.is_empty() { own } else { audiences };
    let audiences: Vec<String> = wanted.iter().filter(|a| own.contains(a)).cloned().collect();
    if audiences.is_empty() {
        return Err(format!("the token is not for the audiences {wanted:?}"));
    }
    let user = bootstrap_token::authenticate(server, id, secret)?;
    Ok(token::Verified { user, audiences })
}

/// The token of `Authorization: Bearer …`; an error where it is no text, which is no token of
/// anybody, but not nobody's request either.
fn bearer_token(headers: &HeaderMap) -> Option<Result<&str, Utf8Error>> {
    let value = headers.get(AUTHORIZATION)?.as_bytes().trim_ascii();
    let scheme = value.split_at_checked(7).filter(|(s, _)| s.eq_ignore_ascii_case(b"bearer "));
    let token = scheme?.1.trim_ascii();
    (!token.is_empty()).then(|| std::str::from_utf8(token))
}
