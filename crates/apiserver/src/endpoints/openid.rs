//! The keys of service account tokens, for others who want to verify them.

use http::Response;
use timonier_object::{json, value};

use crate::http::respond::{self, Body};
use crate::server::ApiServer;

/// Answers `/.well-known/openid-configuration` and `/openid/v1/jwks`.
pub fn serve(server: &ApiServer, parts: &[&str]) -> Option<Response<Body>> {
    let issuer = &server.config.issuer;
    match parts {
        [".well-known", "openid-configuration"] => {
            let document = value!({
                "issuer": issuer, "jwks_uri": (format!("{issuer}/openid/v1/jwks")),
                "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            Some(respond::answer(200, "application/json", json::encode(&document)))
        }
        ["openid", "v1", "jwks"] => {
            let keys = value!({ "keys": [(server.token_key.jwk())] });
            Some(respond::answer(200, "application/jwk-set+json", json::encode(&keys)))
        }
        _ => None,
    }
}
