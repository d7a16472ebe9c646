//! Bound service account tokens of one pod: asked for, and renewed at 80% of their life.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use timonier_client::{Client, WriteOptions};
use timonier_meta::gvk::resources;
use timonier_meta::{Duration, Time};
use timonier_object::{Value, value};
use timonier_pod::sources::TokenSpec;

/// A token is renewed after a day at the latest (upstream's rule).
const LONGEST_USE: Duration = Duration::from_secs(24 * 3600);
/// After a failed renewal.
const RETRY: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
struct Token {
    text: String,
    renew_at: Time,
    expires_at: Time,
}

/// The tokens of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(BTreeMap<TokenSpec, Token>);

impl Tokens {
    /// When the first token is to be renewed.
    pub fn renew_at(&self) -> Option<Time> {
        self.0.values().map(|t| t.renew_at).min()
    }

    /// Takes what a fetch brought; tokens fetched meanwhile by another stay where newer.
    pub fn merge(&mut self, other: Tokens) {
        self.0.extend(other.0);
    }

    /// All wanted tokens, those that are due asked for anew. An old one that is still valid
    /// outlives a failed renewal.
    pub async fn fetch(
        &mut self,
        client: &Arc<dyn Client>,
        pod: &Value,
        wanted: &BTreeSet<TokenSpec>,
        now: Time,
    ) -> BTreeMap<TokenSpec, Result<String, String>> {
        self.0.retain(|spec, _| wanted.contains(spec));
        let mut out = BTreeMap::new();
        for spec in wanted {
            if let Some(token) = self.0.get(spec)
                && token.renew_at > now
            {
                out.insert(spec.clone(), Ok(token.text.clone()));
                continue;
            }
            let result = request(client, pod, spec, now).await;
            let old = self.0.get_mut(spec).filter(|t| t.expires_at > now);
            let result = match (result, old) {
                (Ok(token), _) => {
                    let text = token.text.clone();
                    self.0.insert(spec.clone(), token);
                    Ok(text)
                }
                (Err(error), Some(old)) => {
                    tracing::warn!(%error, "renewing a service account token failed");
                    old.renew_at = now + RETRY;
                    Ok(old.text.clone())
                }
                (Err(error), None) => Err(error),
            };
            out.insert(spec.clone(), result);
        }
        out
    }
}

async fn request(
    client: &Arc<dyn Client>,
    pod: &Value,
    spec: &TokenSpec,
    now: Time,
) -> Result<Token, String> {
    let account = match pod.at("spec.serviceAccountName").str() {
        "" => "default",
        name => name,
    };
    let audiences = match spec.audience.as_str() {
        "" => Value::array([]),
        audience => value!([audience]),
    };
    let body = value!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "metadata": {},
        "spec": { "audiences": audiences, "expirationSeconds": (spec.expiration_seconds),
            "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": (pod.name()),
                                "uid": (pod.uid()) } } });
    let options = WriteOptions::default();
    let answer = client
        .create(&resources::SERVICEACCOUNTS, pod.namespace(), account, "token", body, &options)
        .await
        .map_err(|e| format!("failed to fetch token: {e}"))?;
    let text = answer.at("status.token").str();
    if text.is_empty() {
        return Err("failed to fetch token: the answer holds none".into());
    }
    let life = Duration::from_secs(spec.expiration_seconds);
    let expires_at = answer.time("status.expirationTimestamp").unwrap_or(now + life);
    let use_for = Duration((expires_at - now).0 / 10 * 8).min(LONGEST_USE);
    Ok(Token { text: text.to_string(), renew_at: now + use_for, expires_at })
}
