//! Deletes bootstrap tokens that have expired (upstream `pkg/controller/bootstrap`).

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timonier_meta::gvk::resources::SECRETS;
use timonier_meta::{GroupVersionResource, ObjectKey, Time};
use timonier_object::Value;
use timonier_reconcile::{Change, Context, Plan, Reconciler, World, Write};

const NAMESPACE: &str = "kube-system";
const KIND: &str = "bootstrap.kubernetes.io/token";

/// The controller that cleans up.
pub struct TokenCleaner;

impl Reconciler for TokenCleaner {
    fn name(&self) -> &'static str {
        "token-cleaner-controller"
    }

    fn watches(&self) -> Vec<GroupVersionResource> {
        vec![SECRETS]
    }

    fn concerns(&self, change: &Change, _: &World) -> Vec<ObjectKey> {
        let ours = |s: &Value| s.namespace() == NAMESPACE && s.at("type").str() == KIND;
        let concerns = change.new.as_ref().is_some_and(|secret| ours(secret));
        if concerns { vec![change.key.clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &ObjectKey, world: &World, context: &Context<'_>) -> Plan {
        let Some(secret) = world.get(&SECRETS, key).filter(|s| !s.is_deleting()) else {
            return Plan::nothing();
        };
        match expires(secret) {
            // A token without an end never ends; one whose end cannot be read is no token.
            None => Plan::nothing(),
            Some(at) if at > context.now => Plan { requeue_at: Some(at), ..Plan::default() },
            Some(_) => Plan::write(Write::delete(&SECRETS, secret).unchanged(secret)),
        }
    }
}

fn expires(secret: &Value) -> Option<Time> {
    let text = secret.at("data.expiration").as_str()?;
    let time = STANDARD.decode(text).ok().and_then(|b| String::from_utf8(b).ok());
    Some(time.and_then(|t| Time::parse(&t)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;
    use crate::common::testing::{plan_key, short, world};

    #[test]
    fn tokens_end() {
        let key = ObjectKey::new(NAMESPACE, "bootstrap-token-abcdef");
        let token = |expiration: &str| {
            value!({ "apiVersion": "v1", "kind": "Secret", "type": KIND,
                "metadata": { "name": "bootstrap-token-abcdef", "namespace": NAMESPACE },
                "data": { "expiration": (STANDARD.encode(expiration)) } })
        };
        let later = plan_key(&TokenCleaner, &world([token("2026-01-02T00:00:00Z")]), &key);
        assert_eq!(later.requeue_at, Time::parse("2026-01-02T00:00:00Z"));
        for old in ["2026-01-01T00:59:59Z", "yesterday"] {
            let plan = plan_key(&TokenCleaner, &world([token(old)]), &key);
            assert_eq!(short(&plan), ["delete secrets bootstrap-token-abcdef"]);
        }
        let mut endless = token("");
        endless.remove("data.expiration");
        assert_eq!(plan_key(&TokenCleaner, &world([endless]), &key), Plan::nothing());
    }
}
