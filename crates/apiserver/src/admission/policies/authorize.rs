//! The authorizer, as expressions ask it.

use timonier_cel::{Decision, Question};
use timonier_policy::{Attributes, Authorizer, Decision as Says, User};

use crate::call::Call;

/// Asks for the user of a request, or for a service account.
pub struct Asker<'a> {
    pub call: &'a Call<'a>,
}

impl timonier_cel::Authorizer for Asker<'_> {
    /// Selectors are not told to the authorizer: it then answers for everything, which is never
    /// more than it would allow.
    fn check(&self, question: &Question) -> Decision {
        let account = question
            .service_account
            .as_ref()
            .map(|(namespace, name)| User::service_account(namespace, name, ""));
        let user = account.as_ref().unwrap_or(self.call.user);
        let attributes = match &question.path {
            Some(path) => Attributes::of_path(user, &question.verb, path),
            None => Attributes {
                user,
                verb: &question.verb,
                is_resource: true,
                group: &question.group,
                version: "*",
                resource: &question.resource,
                subresource: &question.subresource,
                namespace: &question.namespace,
                name: &question.name,
                path: "",
                fields: None,
            },
        };
        match self.call.server.authorize(&attributes) {
            Says::Allow(reason) => Decision { allowed: true, reason, error: None },
            Says::Deny(reason) | Says::NoOpinion(reason) => {
                Decision { allowed: false, reason, error: None }
            }
        }
    }
}
