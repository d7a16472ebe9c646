//! API aggregation: group-versions that servers behind Services answer for, by their APIServices.
//!
//! ```text
//! APIServices ─► Remote ─┐                 ┌─► route: which requests go there
//! discovery ───► Told ───┴─► Aggregation ──┼─► discovery, both forms (crate::discovery)
//! Service, EndpointSlices ─► availability  └─► OpenAPI (crate::openapi)
//! ```
//!
//! Everything here is decided; connections are the API server's.

mod availability;
mod legacy;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use smol_str::SmolStr;
use timonier_meta::GroupVersion;
use timonier_object::{Value, value};

pub use availability::{Verdict, local, reachable, with_condition};

/// An APIService with a Service: who answers for a group-version.
#[derive(Clone, PartialEq, Debug)]
pub struct Remote {
    /// The name of the APIService.
    pub name: SmolStr,
    pub gv: GroupVersion,
    pub namespace: SmolStr,
    pub service: SmolStr,
    pub port: u16,
    /// Base64 of PEM; empty where the system's authorities are believed.
    pub ca_bundle: SmolStr,
    /// Whether any certificate is believed.
    pub insecure: bool,
    pub group_priority: i64,
    pub version_priority: i64,
    /// Whether its condition `Available` is true.
    pub available: bool,
}

impl Remote {
    /// Reads an APIService; `None` where this server answers itself.
    pub fn of(api_service: &Value) -> Option<Self> {
        let spec = api_service.at("spec");
        let service = spec.at("service");
        if service.is_null() {
            return None;
        }
        Some(Remote {
            name: api_service.name().into(),
            gv: GroupVersion { group: spec.at("group").smol(), version: spec.at("version").smol() },
            namespace: service.at("namespace").smol(),
            service: service.at("name").smol(),
            port: u16::try_from(service.at("port").int_or(443)).ok()?,
            ca_bundle: spec.at("caBundle").smol(),
            insecure: spec.at("insecureSkipTLSVerify").bool(),
            group_priority: spec.at("groupPriorityMinimum").int_or(0),
            version_priority: spec.at("versionPriority").int_or(0),
            available: api_service.condition_is_true("Available"),
        })
    }

    /// The root of what it answers for: `/apis/<group>/<version>`, or `/api/v1`.
    pub fn path(&self) -> String {
        match self.gv.group.as_str() {
            "" => format!("/api/{}", self.gv.version),
            group => format!("/apis/{group}/{}", self.gv.version),
        }
    }

    /// The name that its certificate must have.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}

/// What a server behind an APIService last said of itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Told {
    /// Its resources, as the aggregated form of discovery lists them.
    pub resources: Value,
    /// Whether the last question for them was answered.
    pub fresh: bool,
    /// Where its OpenAPI v3 document is: the entry of its index; null where it has none.
    pub openapi_v3: Value,
    /// Its OpenAPI v2 document; null where it has none.
    pub openapi_v2: Arc<Value>,
}

impl Told {
    /// Reads the resources of a group-version out of an `APIGroupDiscoveryList`.
    pub fn resources_of(list: &Value, gv: &GroupVersion) -> Option<Value> {
        let groups = list.at("items").items();
        let group = groups.iter().find(|g| g.name() == gv.group)?;
        let versions = group.at("versions").items();
        let version = versions.iter().find(|v| v.at("version").str() == gv.version)?;
        Some(version.at("resources").clone())
    }

    /// Makes the resources of an `APIResourceList`, which servers give that know no other form.
    pub fn resources_of_legacy(list: &Value) -> Value {
        legacy::resources(list)
    }
}

/// The group-versions that others answer for. It does not change: a change makes a new one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Aggregation {
    remotes: BTreeMap<GroupVersion, (Remote, Told)>,
}

impl Aggregation {
    /// The group-versions of these servers; of two APIServices for one the later counts.
    pub fn new(remotes: impl IntoIterator<Item = (Remote, Told)>) -> Self {
        Aggregation { remotes: remotes.into_iter().map(|r| (r.0.gv.clone(), r)).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.remotes.is_empty()
    }

    /// The servers and what they said, in order of their group-versions.
    pub fn remotes(&self) -> impl Iterator<Item = &(Remote, Told)> {
        self.remotes.values()
    }

    /// Who answers for a group-version.
    pub fn get(&self, gv: &GroupVersion) -> Option<&(Remote, Told)> {
        self.remotes.get(gv)
    }

    /// Who answers for a request's path; `None` where this server does. OpenAPI documents of a
    /// group-version are its server's too.
    pub fn route(&self, path: &str) -> Option<&Remote> {
        if self.remotes.is_empty() {
            return None;
        }
        let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let mut parts = path.strip_prefix('/')?.split('/');
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let gv = GroupVersion { group: group.into(), version: version.into() };
        self.remotes.get(&gv).map(|(remote, _)| remote)
    }

    /// The entry of a group-version in the aggregated form of discovery.
    pub(crate) fn entry(remote: &Remote, told: &Told) -> Value {
        let fresh = if told.fresh { "Current" } else { "Stale" };
        let mut entry = value!({ "version": (&remote.gv.version), "freshness": fresh });
        if !told.resources.is_empty() {
            entry.set("resources", &told.resources);
        }
        entry
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn api_service(version: &str, group: &str, priority: i64) -> Value {
        value!({ "metadata": { "name": (format!("{version}.{group}")) },
            "spec": { "group": group, "version": version, "groupPriorityMinimum": priority,
                "versionPriority": 15, "caBundle": "Yg==",
                "service": { "namespace": "ns", "name": "s", "port": 7443 } },
            "status": { "conditions": [{ "type": "Available", "status": "True" }] } })
    }

    pub(crate) fn aggregation(services: &[Value], resources: Value) -> Aggregation {
        let told = Told { resources, fresh: true, ..Told::default() };
        Aggregation::new(services.iter().map(|s| (Remote::of(s).unwrap(), told.clone())))
    }

    #[test]
    fn services_are_read() {
        let remote = Remote::of(&api_service("v1", "a.b", 2000)).unwrap();
        assert_eq!((remote.path().as_str(), remote.host().as_str()), ("/apis/a.b/v1", "s.ns.svc"));
        assert!(remote.available && !remote.insecure && remote.port == 7443);
        assert!(Remote::of(&value!({ "spec": { "group": "apps", "version": "v1" } })).is_none());
    }

    #[test]
    fn paths_lead_to_their_server() {
        let a = aggregation(&[api_service("v1", "a.b", 2000)], Value::Null);
        for path in ["/apis/a.b/v1", "/apis/a.b/v1/", "/apis/a.b/v1/x/y", "/openapi/v3/apis/a.b/v1"]
        {
            assert!(a.route(path).is_some(), "{path}");
        }
        for path in
            ["/apis/a.b", "/apis/a.b/v10", "/apis/a/v1", "/api/v1/pods", "/", "", "/x/a.b/v1"]
        {
            assert!(a.route(path).is_none(), "{path}");
        }
    }

    #[test]
    fn resources_come_out_of_both_forms() {
        let gv = GroupVersion::new_static("a.b", "v1");
        let list = value!({ "items": [{ "metadata": { "name": "a.b" }, "versions": [
            { "version": "v1", "resources": [{ "resource": "xs" }] }] }] });
        assert_eq!(Told::resources_of(&list, &gv), Some(value!([{ "resource": "xs" }])));
        assert_eq!(Told::resources_of(&list, &GroupVersion::new_static("a.b", "v2")), None);
        let legacy = value!({ "kind": "APIResourceList", "groupVersion": "a.b/v1", "resources": [
            { "name": "xs", "singularName": "x", "namespaced": true, "kind": "X",
              "verbs": ["get"], "shortNames": ["x1"] },
            { "name": "xs/scale", "singularName": "", "namespaced": true, "group": "autoscaling",
              "version": "v1", "kind": "Scale", "verbs": ["get"] },
            { "name": "ys/status", "singularName": "", "namespaced": false, "kind": "Y",
              "verbs": ["get"] } ] });
        assert_eq!(
            Told::resources_of_legacy(&legacy),
            value!([
                { "resource": "xs", "responseKind": { "group": "", "version": "", "kind": "X" },
                  "scope": "Namespaced", "singularResource": "x", "verbs": ["get"],
                  "shortNames": ["x1"], "subresources": [
                    { "subresource": "scale", "verbs": ["get"], "responseKind":
                        { "group": "autoscaling", "version": "v1", "kind": "Scale" } } ] },
                { "resource": "ys", "scope": "Cluster", "singularResource": "", "verbs": null,
                  "subresources": [
                    { "subresource": "status", "verbs": ["get"], "responseKind":
                        { "group": "", "version": "", "kind": "Y" } } ] }
            ])
        );
    }
}
