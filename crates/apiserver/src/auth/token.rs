//! Service account tokens: JSON web tokens that this API server signs and verifies.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use smol_str::SmolStr;
use timonier_meta::gvk::resources;
use timonier_meta::{Duration, GroupVersionResource, Time};
use timonier_object::{Value, value};
use timonier_policy::User;

use crate::server::ApiServer;

/// Tokens of an object that is being deleted hold this much longer, as upstream's do.
const AFTER_DELETION: Duration = Duration::from_secs(60);

/// Signs and verifies tokens with one ECDSA P-256 key.
pub struct TokenKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    jwk: Value,
    id: String,
}

impl TokenKey {
    /// Reads a PKCS#8 private key on the curve P-256. The error says what is wrong with it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem)
            .map_err(|e| format!("service account key: {e:?}"))?;
        let encoding = EncodingKey::from_ec_der(der.secret_pkcs8_der());
        let fail = |e: jsonwebtoken::errors::Error| format!("service account key: {e}");
        let mut jwk = Jwk::from_encoding_key(&encoding, Algorithm::ES256).map_err(fail)?;
        let id = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).map_err(fail)?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        let decoding = DecodingKey::from_jwk(&jwk).map_err(fail)?;
        let text = serde_json::to_vec(&jwk).map_err(|e| e.to_string())?;
        let jwk = timonier_object::json::decode(&text)?;
        Ok(TokenKey { encoding, decoding, jwk, id })
    }

    /// The public key as a JSON web key.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// Signs the claims.
    pub fn sign(&self, claims: &Value) -> Result<String, String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|e| e.to_string())
    }

    /// Checks the signature and gives the claims; times and audiences are the caller's to check.
    fn verify(&self, token: &str) -> Result<Value, String> {
        let mut rules = Validation::new(Algorithm::ES256);
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        jsonwebtoken::decode::<Value>(token, &self.decoding, &rules)
            .map(|data| data.claims)
            .map_err(|e| e.to_string())
    }
}

/// A token that holds.
pub struct Verified {
    pub user: User,
    /// Those of the asked-for audiences that the token is for.
    pub audiences: Vec<String>,
}

/// Checks a token: signature, issuer, times, audience, and that the account and the object it is
/// bound to still exist with the same uid. Without `audiences` the API server's own count. The
/// error says what is wrong, for the log.
pub fn authenticate(
    server: &ApiServer,
    token: &str,
    audiences: &[String],
) -> Result<Verified, String> {
    let claims = server.token_key.verify(token)?;
    let now = server.env.now();
    if claims.at("iss").str() != server.config.issuer {
        return Err("another issuer".into());
    }
    check_times(&claims, now)?;
    let wanted = if audiences.is_empty() { &server.config.audiences[..] } else { audiences };
    let of_token: Vec<&str> = match claims.at("aud") {
        Value::Str(one) => vec![one],
        many => many.items().iter().map(Value::str).collect(),
    };
    let matching: Vec<String> =
        wanted.iter().filter(|a| of_token.contains(&a.as_str())).cloned().collect();
    if matching.is_empty() {
        return Err(format!(
            "token audiences {of_token:?} is invalid for the target audiences {wanted:?}"
        ));
    }
    let user = bound_user(server, &claims, now)?;
    Ok(Verified { user, audiences: matching })
}

fn check_times(claims: &Value, now: Time) -> Result<(), String> {
    let seconds = |name: &str| claims.get(name).and_then(Value::as_i64);
    if seconds("exp").is_none_or(|exp| now.unix() >= exp) {
        return Err("service account token has expired".into());
    }
    if seconds("nbf").is_some_and(|nbf| now.unix() + 10 < nbf) {
        return Err("service account token is not valid yet".into());
    }
    Ok(())
}

/// The user, after looking up what the token is bound to.
fn bound_user(server: &ApiServer, claims: &Value, now: Time) -> Result<User, String> {
    let private = claims.get("kubernetes.io").ok_or("no kubernetes.io claim")?;
    let namespace = private.at("namespace").str();
    let account = private.at("serviceaccount");
    let (name, uid) = (account.at("name").str(), account.at("uid").str());
    if claims.at("sub").str() != format!("system:serviceaccount:{namespace}:{name}") {
        return Err("subject and account differ".into());
    }
    let check = |resource: GroupVersionResource, namespace: &str, of: &Value| {
        let (name, uid) = (of.at("name").str(), of.at("uid").str());
        let found = server.peek(&resource, namespace, name).ok_or(format!("{name:?} is gone"))?;
        if found.uid() != uid {
            return Err(format!("{name:?} is another one now"));
        }
        match found.deleted() {
            Some(at) if at + AFTER_DELETION < now => Err(format!("{name:?} is deleted")),
            _ => Ok(()),
        }
    };
    check(resources::SERVICEACCOUNTS, namespace, account)?;
    let mut user = User::service_account(namespace, name, uid);
    let mut extra = |key: &str, value: SmolStr| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}").into(), vec![value]);
    };
    if let Some(id) = claims.get("jti").and_then(Value::as_str) {
        extra("credential-id", format!("JTI={id}").into());
    }
    for (kind, resource) in [("pod", resources::PODS), ("secret", resources::SECRETS)] {
        if let Some(bound) = private.get(kind) {
            check(resource, namespace, bound)?;
            if kind == "pod" {
                extra("pod-name", bound.at("name").smol());
                extra("pod-uid", bound.at("uid").smol());
            }
        }
    }
    if let Some(node) = private.get("node") {
        // A token bound to a node alone ends with the node; beside a pod the node is only told.
        if private.get("pod").is_none() {
            check(resources::NODES, "", node)?;
        }
        extra("node-name", node.at("name").smol());
        extra("node-uid", node.at("uid").smol());
    }
    Ok(user)
}

/// What a new token says.
pub struct Claims<'a> {
    pub namespace: &'a str,
    /// Name and uid of the account.
    pub account: (&'a str, &'a str),
    /// `pod`, `secret` or `node`, with name and uid.
    pub bound: Option<(&'a str, &'a str, &'a str)>,
    /// The pod's node, with name and uid.
    pub node: Option<(&'a str, &'a str)>,
    pub audiences: &'a [String],
    /// Seconds from now.
    pub expires_in: i64,
    /// Seconds from now after which a use is worth a warning.
    pub warn_after: Option<i64>,
}

/// Builds the claims of a token issued now.
pub fn claims(issuer: &str, id: &str, now: Time, c: &Claims<'_>) -> Value {
    let of = |(name, uid): (&str, &str)| value!({ "name": name, "uid": uid });
    let mut private = value!({ "namespace": (c.namespace) });
    if let Some(node) = c.node {
        private.set("node", of(node));
    }
    if let Some((kind, name, uid)) = c.bound {
        private.set(kind, of((name, uid)));
    }
    private.set("serviceaccount", of(c.account));
    if let Some(seconds) = c.warn_after {
        private.set("warnafter", now.unix() + seconds);
    }
    let audiences: Vec<Value> = c.audiences.iter().map(Value::from).collect();
    value!({
        "aud": (Value::array(audiences)), "exp": (now.unix() + c.expires_in), "iat": (now.unix()),
        "iss": issuer, "jti": id, "kubernetes.io": (private), "nbf": (now.unix()),
        "sub": (format!("system:serviceaccount:{}:{}", c.namespace, c.account.0)),
    })
}
