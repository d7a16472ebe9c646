//! Who makes a request.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use smol_str::SmolStr;

/// The groups that upstream gives a meaning.
pub mod groups {
    /// May do everything.
    pub const MASTERS: &str = "system:masters";
    /// Everybody who proved who they are.
    pub const AUTHENTICATED: &str = "system:authenticated";
    /// Everybody who did not.
    pub const UNAUTHENTICATED: &str = "system:unauthenticated";
    /// The kubelets.
    pub const NODES: &str = "system:nodes";
    /// Whoever holds a bootstrap token: nodes that join.
    pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
    /// All service accounts.
    pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
}

/// An authenticated (or anonymous) user, as upstream's `user.Info`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    pub name: SmolStr,
    pub uid: SmolStr,
    pub groups: Vec<SmolStr>,
    pub extra: BTreeMap<SmolStr, Vec<SmolStr>>,
}

impl User {
    /// A user who proved to be `name`; `system:authenticated` is added.
    pub fn authenticated(
        name: impl Into<SmolStr>,
        groups: impl IntoIterator<Item = SmolStr>,
    ) -> Self {
        let mut user = User { name: name.into(), ..User::default() };
        user.groups.extend(groups);
        if !user.in_group(groups::AUTHENTICATED) {
            user.groups.push(SmolStr::new_static(groups::AUTHENTICATED));
        }
        user
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        User {
            name: SmolStr::new_static("system:anonymous"),
            groups: alloc::vec![SmolStr::new_static(groups::UNAUTHENTICATED)],
            ..User::default()
        }
    }

    /// The user behind a service account.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let mut user = User::authenticated(
            format!("system:serviceaccount:{namespace}:{name}"),
            [
                SmolStr::new_static(groups::SERVICE_ACCOUNTS),
                SmolStr::from(format!("{}:{namespace}", groups::SERVICE_ACCOUNTS)),
            ],
        );
        user.uid = uid.into();
        user
    }

    /// Whether the user is in the group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The service account that the user is, if it is one.
    pub fn as_service_account(&self) -> Option<ServiceAccountName<'_>> {
        ServiceAccountName::parse(&self.name)
    }
}

/// Namespace and name of a service account, out of a user's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServiceAccountName<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
}

impl<'a> ServiceAccountName<'a> {
    /// Reads `system:serviceaccount:NAMESPACE:NAME`.
    pub fn parse(user_name: &'a str) -> Option<Self> {
        let (namespace, name) =
            user_name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':'))
            .then_some(ServiceAccountName { namespace, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_accounts_read_back() {
        let user = User::service_account("ns", "sa", "u");
        let name = user.as_service_account().unwrap();
        assert_eq!((name.namespace, name.name), ("ns", "sa"));
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
        );
        for bad in ["system:serviceaccount:a", "system:serviceaccount::b", "x", ""] {
            assert_eq!(ServiceAccountName::parse(bad), None, "{bad}");
        }
    }
}
