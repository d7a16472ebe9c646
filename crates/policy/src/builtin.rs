//! The rules that hold without any role: masters, our own components, discovery.

use alloc::string::String;

use crate::{Attributes, Authorizer, Decision, groups};

/// Allows `system:masters` and our own components everything, everybody the health, version and
/// discovery paths, authenticated users the schemas and the questions about themselves, nodes that
/// join a certificate request, and service accounts the issuer of their tokens. It has no opinion on
/// the rest, which is refused where no other authorizer allows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builtin;

impl Authorizer for Builtin {
    fn authorize(&self, a: &Attributes<'_>) -> Decision {
        if a.user.in_group(groups::MASTERS) || is_component(a) {
            return Decision::Allow(String::new());
        }
        let proven = a.user.in_group(groups::AUTHENTICATED);
        if !a.is_resource && a.verb_reads() && (is_public(a.path) || proven && describes(a.path)) {
            return Decision::Allow(String::new());
        }
        if a.user.in_group(groups::SERVICE_ACCOUNTS) && reads_who_issues_tokens(a) {
            return Decision::Allow(String::new());
        }
        if a.user.in_group(groups::BOOTSTRAPPERS) && asks_for_a_certificate(a) {
            return Decision::Allow(String::new());
        }
        if a.user.in_group(groups::AUTHENTICATED) && asks_about_itself(a) {
            return Decision::Allow(String::new());
        }
        Decision::NoOpinion(String::new())
    }
}

impl Attributes<'_> {
    fn verb_reads(&self) -> bool {
        matches!(self.verb, "get" | "head")
    }
}

/// The control plane's own identities. What nodes may do is decided in [`crate::node`].
fn is_component(a: &Attributes<'_>) -> bool {
    let name = a.user.name.as_str();
    ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"].contains(&name)
}

fn is_public(path: &str) -> bool {
    ["/healthz", "/livez", "/readyz", "/version", "/api", "/apis"]
        .into_iter()
        .any(|root| is_under(path, root))
}

/// The schemas are megabytes that have to be made: not for everybody who can connect.
fn describes(path: &str) -> bool {
    is_under(path, "/openapi")
}

fn is_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Upstream's role `system:service-account-issuer-discovery`.
fn reads_who_issues_tokens(a: &Attributes<'_>) -> bool {
    !a.is_resource
        && a.verb_reads()
        && matches!(a.path, "/.well-known/openid-configuration" | "/openid/v1/jwks")
}

/// Upstream's role `system:node-bootstrapper`.
fn asks_for_a_certificate(a: &Attributes<'_>) -> bool {
    a.is_resource
        && (a.group, a.resource, a.subresource)
            == ("certificates.k8s.io", "certificatesigningrequests", "")
        && matches!(a.verb, "create" | "get" | "list" | "watch")
}

/// Upstream's role `system:basic-user`.
fn asks_about_itself(a: &Attributes<'_>) -> bool {
    a.is_resource
        && a.verb == "create"
        && matches!(
            (a.group, a.resource),
            ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews")
                | ("authentication.k8s.io", "selfsubjectreviews")
        )
}

#[cfg(test)]
mod tests {
    use smol_str::SmolStr;

    use super::*;
    use crate::User;

    fn allowed(user: &User, verb: &str, path: &str, group: &str, resource: &str) -> bool {
        let is_resource = path.is_empty();
        let a = Attributes {
            is_resource,
            group,
            resource,
            version: "v1",
            ..Attributes::of_path(user, verb, path)
        };
        matches!(Builtin.authorize(&a), Decision::Allow(_))
    }

    #[test]
    fn who_may_do_what() {
        let master = User::authenticated("kubernetes-admin", [SmolStr::new("system:masters")]);
        let node = User::authenticated("system:node:a", [SmolStr::new("system:nodes")]);
        let scheduler = User::authenticated("system:kube-scheduler", []);
        let account = User::service_account("default", "default", "u");
        let nobody = User::anonymous();
        for user in [&master, &scheduler] {
            assert!(allowed(user, "delete", "", "", "pods"));
            assert!(allowed(user, "get", "/metrics", "", ""));
        }
        for user in [&account, &nobody, &node] {
            assert!(!allowed(user, "get", "", "", "pods"));
            assert!(!allowed(user, "get", "/metrics", "", ""));
            assert!(!allowed(user, "post", "/version", "", ""));
            for path in ["/livez", "/readyz/ping", "/version", "/apis/apps/v1"] {
                assert!(allowed(user, "get", path, "", ""), "{path}");
            }
            assert_eq!(allowed(user, "get", "/openapi/v3", "", ""), user != &nobody);
            assert!(!allowed(user, "get", "/apisx", "", ""));
        }
        for path in ["/.well-known/openid-configuration", "/openid/v1/jwks"] {
            assert!(
                allowed(&account, "get", path, "", "") && !allowed(&nobody, "get", path, "", "")
            );
        }
        let joining = User::authenticated("system:bootstrap:a", [groups::BOOTSTRAPPERS.into()]);
        let (certificates, csr) = ("certificates.k8s.io", "certificatesigningrequests");
        assert!(allowed(&joining, "create", "", certificates, csr));
        assert!(!allowed(&joining, "update", "", certificates, csr));
        assert!(!allowed(&joining, "get", "", "", "secrets"));
        assert!(!allowed(&account, "create", "", certificates, csr));
        let group = "authentication.k8s.io";
        assert!(allowed(&account, "create", "", group, "selfsubjectreviews"));
        assert!(!allowed(&nobody, "create", "", group, "selfsubjectreviews"));
        assert!(!allowed(&account, "create", "", group, "tokenreviews"));
    }
}
