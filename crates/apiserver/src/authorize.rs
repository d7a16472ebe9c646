//! Whether a request may be: nodes by what runs on them, all others by the policy; servers of
//! further APIs also by the binding that names them.

use timonier_meta::gvk::resources::{CLUSTERROLEBINDINGS, PODS};
use timonier_object::Value;
use timonier_policy::node::{self, Rule};
use timonier_policy::{Attributes, Authorizer, Decision, delegator};

use crate::server::ApiServer;

impl Authorizer for ApiServer {
    fn authorize(&self, a: &Attributes<'_>) -> Decision {
        let Some(name) = node::node_name(a.user) else { return self.authorize_other(a) };
        match node::rule(name, a) {
            Rule::Allow => Decision::Allow(String::new()),
            Rule::Related if self.is_related(name, a) => Decision::Allow(String::new()),
            Rule::Related => Decision::NoOpinion(format!(
                "no relationship found between node '{name}' and this object"
            )),
            Rule::Refuse(why) => match self.policy.authorize(a) {
                Decision::NoOpinion(_) => Decision::NoOpinion(why),
                decision => decision,
            },
            Rule::Other => self.policy.authorize(a),
        }
    }
}

impl ApiServer {
    fn authorize_other(&self, a: &Attributes<'_>) -> Decision {
        match self.policy.authorize(a) {
            Decision::NoOpinion(_) if delegator::may(a) && self.is_delegator(a) => {
                Decision::Allow(String::new())
            }
            decision => decision,
        }
    }

    fn is_delegator(&self, a: &Attributes<'_>) -> bool {
        let Some(account) = a.user.as_service_account() else { return false };
        let bindings = self.peek_all(&CLUSTERROLEBINDINGS, "");
        bindings.iter().any(|binding| delegator::is_bound(binding, &account))
    }

    /// Whether a pod on the node refers to the object of the request, or is it. Reads the pods of
    /// one namespace, which is what a node asks about once for every object that a pod reads.
    fn is_related(&self, node: &str, a: &Attributes<'_>) -> bool {
        let runs_here = |pod: &Value| pod.at("spec.nodeName").str() == node;
        if a.resource == "pods" {
            return self.peek(&PODS, a.namespace, a.name).is_some_and(|pod| runs_here(&pod));
        }
        let pods = self.peek_all(&PODS, a.namespace);
        pods.iter().any(|pod| runs_here(pod) && node::refers(pod, a.resource, a.name))
    }
}
