//! Group, version, kind, resource, and the key of an object.

use core::fmt;

use smol_str::SmolStr;

/// An API group and version, such as `apps/v1`; the core group is the empty string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct GroupVersion {
    pub group: SmolStr,
    pub version: SmolStr,
}

impl GroupVersion {
    /// A group and version from static names.
    pub const fn new_static(group: &'static str, version: &'static str) -> Self {
        GroupVersion { group: SmolStr::new_static(group), version: SmolStr::new_static(version) }
    }

    /// Reads an `apiVersion` value: `v1` or `apps/v1`. `None` with more than one slash.
    pub fn parse(api_version: &str) -> Option<Self> {
        match api_version.split_once('/') {
            None => Some(GroupVersion { group: SmolStr::default(), version: api_version.into() }),
            Some((group, version)) if !version.contains('/') => {
                Some(GroupVersion { group: group.into(), version: version.into() })
            }
            Some(_) => None,
        }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

/// A kind in a group and version, such as `apps/v1, Kind=Deployment`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct GroupVersionKind {
    pub group: SmolStr,
    pub version: SmolStr,
    pub kind: SmolStr,
}

impl GroupVersionKind {
    /// A kind from static names.
    pub const fn new_static(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
    ) -> Self {
        GroupVersionKind {
            group: SmolStr::new_static(group),
            version: SmolStr::new_static(version),
            kind: SmolStr::new_static(kind),
        }
    }

    /// The group and version of this kind.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.group_version(), self.kind)
    }
}

/// A resource (the plural in a URL) in a group and version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct GroupVersionResource {
    pub group: SmolStr,
    pub version: SmolStr,
    pub resource: SmolStr,
}

impl GroupVersionResource {
    /// A resource from static names.
    pub const fn new_static(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
    ) -> Self {
        GroupVersionResource {
            group: SmolStr::new_static(group),
            version: SmolStr::new_static(version),
            resource: SmolStr::new_static(resource),
        }
    }

    /// The resource without its version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }

    /// The group and version of this resource.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }
    }
}

impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Resource={}", self.group_version(), self.resource)
    }
}

/// A resource in a group, whatever its version: `deployments.apps`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct GroupResource {
    pub group: SmolStr,
    pub resource: SmolStr,
}

impl GroupResource {
    /// A resource from static names.
    pub const fn new_static(group: &'static str, resource: &'static str) -> Self {
        GroupResource { group: SmolStr::new_static(group), resource: SmolStr::new_static(resource) }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.resource)
        } else {
            write!(f, "{}.{}", self.resource, self.group)
        }
    }
}

/// Namespace and name of an object; the namespace is empty for cluster-scoped objects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ObjectKey {
    pub namespace: SmolStr,
    pub name: SmolStr,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<SmolStr>, name: impl Into<SmolStr>) -> Self {
        ObjectKey { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// The built-in resources that more than one crate names.
pub mod resources {
    use super::GroupVersionResource as R;

    macro_rules! resources {
        ($($name:ident = $group:literal, $version:literal, $plural:literal;)*) => {
            $(#[doc = concat!("`", $plural, "` of `", $group, "/", $version, "`.")]
            pub const $name: R = R::new_static($group, $version, $plural);)*
        };
    }

    resources! {
        NAMESPACES = "", "v1", "namespaces";
        NODES = "", "v1", "nodes";
        PODS = "", "v1", "pods";
        PODTEMPLATES = "", "v1", "podtemplates";
        SERVICES = "", "v1", "services";
        ENDPOINTS = "", "v1", "endpoints";
        EVENTS = "", "v1", "events";
        SECRETS = "", "v1", "secrets";
        CONFIGMAPS = "", "v1", "configmaps";
        APISERVICES = "apiregistration.k8s.io", "v1", "apiservices";
        CLUSTERROLEBINDINGS = "rbac.authorization.k8s.io", "v1", "clusterrolebindings";
        SERVICEACCOUNTS = "", "v1", "serviceaccounts";
        REPLICATIONCONTROLLERS = "", "v1", "replicationcontrollers";
        PERSISTENTVOLUMES = "", "v1", "persistentvolumes";
        PERSISTENTVOLUMECLAIMS = "", "v1", "persistentvolumeclaims";
        RESOURCEQUOTAS = "", "v1", "resourcequotas";
        LIMITRANGES = "", "v1", "limitranges";
        DEPLOYMENTS = "apps", "v1", "deployments";
        REPLICASETS = "apps", "v1", "replicasets";
        DAEMONSETS = "apps", "v1", "daemonsets";
        STATEFULSETS = "apps", "v1", "statefulsets";
        CONTROLLERREVISIONS = "apps", "v1", "controllerrevisions";
        JOBS = "batch", "v1", "jobs";
        CRONJOBS = "batch", "v1", "cronjobs";
        ENDPOINTSLICES = "discovery.k8s.io", "v1", "endpointslices";
        LEASES = "coordination.k8s.io", "v1", "leases";
        INGRESSES = "networking.k8s.io", "v1", "ingresses";
        NETWORKPOLICIES = "networking.k8s.io", "v1", "networkpolicies";
        PRIORITYCLASSES = "scheduling.k8s.io", "v1", "priorityclasses";
        RUNTIMECLASSES = "node.k8s.io", "v1", "runtimeclasses";
        STORAGECLASSES = "storage.k8s.io", "v1", "storageclasses";
        PODDISRUPTIONBUDGETS = "policy", "v1", "poddisruptionbudgets";
        CERTIFICATESIGNINGREQUESTS = "certificates.k8s.io", "v1", "certificatesigningrequests";
        CUSTOMRESOURCEDEFINITIONS = "apiextensions.k8s.io", "v1", "customresourcedefinitions";
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn api_version_reads_and_prints() {
        for text in ["v1", "apps/v1", "discovery.k8s.io/v1"] {
            assert_eq!(GroupVersion::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(GroupVersion::parse("a/b/c"), None);
    }

    #[test]
    fn group_resource_prints_as_upstream_does_in_errors() {
        assert_eq!(resources::PODS.group_resource().to_string(), "pods");
        assert_eq!(resources::DEPLOYMENTS.group_resource().to_string(), "deployments.apps");
    }
}
