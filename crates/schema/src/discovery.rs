//! Discovery documents, legacy and aggregated, as upstream's server gives them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

use sha2::{Digest, Sha256};
use smol_str::SmolStr;
use timonier_meta::{GroupVersion, GroupVersionKind};
use timonier_object::{Value, value};

use crate::aggregation::Aggregation;
use crate::catalogue::Catalogue;
use crate::row::{ResourceRow, Subresource, Verbs};

/// The built-in groups with upstream's priorities: clients resolve names in that order.
const PRIORITIES: [(&str, i64); 21] = [
    // Upstream always puts this one first.
    ("apiregistration.k8s.io", 20_001),
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("resource.k8s.io", 15_900),
];
/// The priority of the groups of custom resources, and of their versions.
const CUSTOM: (i64, i64) = (1000, 100);
/// The priority of the versions of built-in groups.
const BUILT_IN_VERSION: i64 = 15;

/// `/api`: `APIVersions`. The address is the server's, as `host:port`.
pub fn api_versions(server_address: &str) -> Value {
    value!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [
            { "clientCIDR": "0.0.0.0/0", "serverAddress": server_address }
        ],
    })
}

/// `/apis`: `APIGroupList`, all groups but the core one.
pub fn group_list(catalogue: &Catalogue, aggregation: &Aggregation) -> Value {
    let groups = groups(catalogue, aggregation);
    let named = groups.iter().filter(|(group, _)| !group.is_empty());
    value!({
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": (named.map(|(group, versions)| group_fields(group, versions)).collect::<Vec<_>>()),
    })
}

/// `/apis/{group}`: `APIGroup`.
pub fn group(catalogue: &Catalogue, aggregation: &Aggregation, group: &str) -> Option<Value> {
    let (name, versions) =
        groups(catalogue, aggregation).into_iter().find(|(g, _)| g == group && !g.is_empty())?;
    let mut out = value!({ "kind": "APIGroup", "apiVersion": "v1" });
    for (key, field) in group_fields(&name, &versions).entries() {
        out.set(key, field.clone());
    }
    Some(out)
}

/// `/api/v1` and `/apis/{group}/{version}`: `APIResourceList`; `None` where nothing is served.
pub fn resources(catalogue: &Catalogue, gv: &GroupVersion) -> Option<Value> {
    let mut resources = Vec::new();
    for row in catalogue.group_version(gv) {
        resources.push(legacy_resource(row));
        resources.extend(row.subresources.iter().map(|s| legacy_subresource(row, s)));
    }
    resources.sort_by(|a, b| a.at("name").str().cmp(b.at("name").str()));
    (!resources.is_empty()).then(|| {
        value!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": (gv.to_string()),
            "resources": resources,
        })
    })
}

/// `/api` (`core`) and `/apis` in the aggregated form: `APIGroupDiscoveryList` of
/// `apidiscovery.k8s.io` in this version (`v2` or `v2beta1`).
pub fn aggregated(
    catalogue: &Catalogue,
    aggregation: &Aggregation,
    core: bool,
    version: &str,
) -> Value {
    let groups = groups(catalogue, aggregation);
    let wanted = groups.iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = wanted
        .map(|(group, versions)| {
            let mut metadata = Value::object();
            if !core {
                metadata.set("name", group);
            }
            let versions: Vec<Value> = versions
                .iter()
                .map(|v| aggregated_version(catalogue, aggregation, group, v))
                .collect();
            value!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    value!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": (format!("apidiscovery.k8s.io/{version}")),
        "metadata": {},
        "items": items,
    })
}

type Groups = Vec<(SmolStr, Vec<SmolStr>)>;

/// Groups in their order with their versions, the preferred one first: by upstream's priorities,
/// then by name.
fn groups(catalogue: &Catalogue, aggregation: &Aggregation) -> Groups {
    let mut all: BTreeMap<SmolStr, (i64, Vec<(i64, SmolStr)>)> = BTreeMap::new();
    let mut add = |gv: GroupVersion, (group, version): (i64, i64)| {
        let (priority, versions) = all.entry(gv.group).or_default();
        *priority = group.max(*priority);
        versions.push((version, gv.version));
    };
    for gv in catalogue.group_versions() {
        let built_in = PRIORITIES.iter().find(|(group, _)| *group == gv.group);
        if aggregation.get(&gv).is_none() {
            add(gv, built_in.map_or(CUSTOM, |(_, priority)| (*priority, BUILT_IN_VERSION)));
        }
    }
    for (remote, _) in aggregation.remotes() {
        add(remote.gv.clone(), (remote.group_priority, remote.version_priority));
    }
    let mut groups: Vec<_> = all.into_iter().collect();
    // They are in order of their names already.
    groups.sort_by_key(|(_, (priority, _))| Reverse(*priority));
    let versions = |(group, (_, mut versions)): (SmolStr, (i64, Vec<(i64, SmolStr)>))| {
        versions.sort_by(|(p, a), (q, b)| q.cmp(p).then_with(|| version_order(a, b)));
        (group, versions.into_iter().map(|(_, version)| version).collect())
    };
    groups.into_iter().map(versions).collect()
}

fn group_fields(group: &str, versions: &[SmolStr]) -> Value {
    let version = |v: &SmolStr| value!({ "groupVersion": (format!("{group}/{v}")), "version": v });
    value!({
        "name": group,
        "versions": (versions.iter().map(version).collect::<Vec<_>>()),
        "preferredVersion": (versions.first().map(version)),
    })
}

fn legacy_resource(row: &ResourceRow) -> Value {
    let mut out = value!({
        "name": (&row.gvr.resource),
        "singularName": (&row.singular),
        "namespaced": (row.namespaced),
        "kind": (&row.gvk.kind),
        "verbs": (verbs(row.verbs)),
    });
    names(&mut out, row);
    if row.stored {
        out.set("storageVersionHash", storage_version_hash(row));
    }
    out
}

fn names(out: &mut Value, row: &ResourceRow) {
    for (key, names) in [("shortNames", &row.short_names), ("categories", &row.categories)] {
        if !names.is_empty() {
            out.set(key, names.clone());
        }
    }
}

/// The first bytes of a hash of the kind as it is stored, as upstream's `StorageVersionHash`.
fn storage_version_hash(row: &ResourceRow) -> Value {
    let stored = &row.storage;
    let text = format!("{}/{}/{}", stored.group, stored.version, row.gvk.kind);
    let digest = Sha256::digest(text.as_bytes());
    Value::from(crate::base64::encode(&digest[..8]))
}

fn legacy_subresource(row: &ResourceRow, sub: &Subresource) -> Value {
    let mut out = value!({
        "name": (format!("{}/{}", row.gvr.resource, sub.name)),
        "singularName": "",
        "namespaced": (row.namespaced),
        "kind": (&sub.kind.kind),
        "verbs": (verbs(sub.verbs)),
    });
    if sub.kind.group_version() != row.gvr.group_version() {
        out.set("group", &sub.kind.group);
        out.set("version", &sub.kind.version);
    }
    out
}

fn verbs(verbs: Verbs) -> Vec<Value> {
    verbs.names().map(Value::from).collect()
}

fn aggregated_version(
    catalogue: &Catalogue,
    aggregation: &Aggregation,
    group: &SmolStr,
    version: &SmolStr,
) -> Value {
    let gv = GroupVersion { group: group.clone(), version: version.clone() };
    if let Some((remote, told)) = aggregation.get(&gv) {
        return Aggregation::entry(remote, told);
    }
    let resources: Vec<Value> = catalogue.group_version(&gv).map(|r| aggregated_row(r)).collect();
    value!({ "version": version, "resources": resources, "freshness": "Current" })
}

fn aggregated_row(row: &ResourceRow) -> Value {
    let mut out = value!({
        "resource": (&row.gvr.resource),
        "responseKind": (response_kind(row, &row.gvk)),
        "scope": (if row.namespaced { "Namespaced" } else { "Cluster" }),
        "singularResource": (&row.singular),
        "verbs": (verbs(row.verbs)),
    });
    names(&mut out, row);
    let mut subs: Vec<&Subresource> = row.subresources.iter().collect();
    subs.sort_by(|a, b| a.name.cmp(&b.name));
    if !subs.is_empty() {
        let of = |s: &&Subresource| {
            value!({
                "subresource": (&s.name),
                "responseKind": (response_kind(row, &s.kind)),
                "verbs": (verbs(s.verbs)),
            })
        };
        out.set("subresources", subs.iter().map(of).collect::<Vec<_>>());
    }
    out
}

/// The kind, with its group and version only where they are not the resource's.
fn response_kind(row: &ResourceRow, gvk: &GroupVersionKind) -> Value {
    let own = gvk.group_version() == row.gvr.group_version();
    let (group, version) = if own { ("", "") } else { (&*gvk.group, &*gvk.version) };
    value!({ "group": group, "version": version, "kind": (&gvk.kind) })
}

/// Orders versions of a group by preference, most preferred first: `v2`, `v1`, `v1beta1`,
/// `v1alpha1`, then others by name; as upstream's `CompareKubeAwareVersionStrings`.
pub fn version_order(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor of `v1beta2`; stability 2 is stable.
fn parse(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let number = |s: &str| (!s.starts_with('0')).then(|| s.parse::<u32>().ok()).flatten();
    let major = number(&rest[..end])?;
    match &rest[end..] {
        "" => Some((2, major, 0)),
        tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
            (Some(minor), _) => Some((1, major, number(minor)?)),
            (_, Some(minor)) => Some((0, major, number(minor)?)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregation::tests::{aggregation, api_service};

    #[test]
    fn legacy_documents_are_upstreams() {
        let c = Catalogue::builtin();
        let apps = resources(&c, &GroupVersion::new_static("apps", "v1")).unwrap();
        let names: Vec<&str> =
            apps.at("resources").items().iter().map(|r| r.at("name").str()).collect();
        assert_eq!(
            names[..5],
            [
                "controllerrevisions",
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale"
            ]
        );
        let deployments = &apps.at("resources").items()[3];
        assert_eq!(deployments.at("storageVersionHash").str(), "8aSe+NMegvE=");
        assert_eq!(deployments.at("shortNames"), &value!(["deploy"]));
        let scale = &apps.at("resources").items()[4];
        assert_eq!((scale.at("group").str(), scale.at("version").str()), ("autoscaling", "v1"));
        assert!(resources(&c, &GroupVersion::new_static("apps", "v2")).is_none());
        let none = Aggregation::default();
        let hpa = group(&c, &none, "autoscaling").unwrap();
        assert_eq!(hpa.at("preferredVersion.groupVersion").str(), "autoscaling/v2");
        assert!(group(&c, &none, "").is_none());
        let list = group_list(&c, &none);
        let names: Vec<&str> =
            list.at("groups").items().iter().map(|g| g.at("name").str()).collect();
        let order = PRIORITIES.map(|(name, _)| name);
        assert!(names.iter().eq(order.iter().filter(|name| !name.is_empty())), "{names:?}");
        assert_eq!(api_versions("1.2.3.4:6443").at("versions"), &value!(["v1"]));
    }

    #[test]
    fn aggregated_documents_are_upstreams() {
        let c = Catalogue::builtin();
        let none = Aggregation::default();
        let core = aggregated(&c, &none, true, "v2");
        assert_eq!(core.at("items").items().len(), 1);
        let pods = core.at("items").items()[0].at("versions").items()[0].at("resources").items();
        let pods = pods.iter().find(|r| r.at("resource").str() == "pods").unwrap();
        assert_eq!(
            pods.at("subresources").items()[3],
            value!({
                "subresource": "eviction",
                "responseKind": { "group": "policy", "version": "v1", "kind": "Eviction" },
                "verbs": ["create"],
            })
        );
        assert_eq!(pods.at("responseKind"), &value!({ "group": "", "version": "", "kind": "Pod" }));
        let named = aggregated(&c, &none, false, "v2beta1");
        assert_eq!(named.api_version(), "apidiscovery.k8s.io/v2beta1");
        assert_eq!(named.at("items").items()[1].name(), "apps");
    }

    #[test]
    fn groups_of_others_are_among_our_own() {
        let c = Catalogue::builtin();
        let services = [
            api_service("v1alpha1", "wardle.example.com", 2000),
            api_service("v1beta1", "wardle.example.com", 2000),
            api_service("v9", "apps", 100),
        ];
        let a = aggregation(&services, value!([{ "resource": "flunders" }]));
        let list = group_list(&c, &a);
        let last = list.at("groups").items().last().unwrap();
        assert_eq!(last.at("name").str(), "wardle.example.com");
        assert_eq!(last.at("preferredVersion.version").str(), "v1beta1");
        let apps = group(&c, &a, "apps").unwrap();
        let versions: Vec<&str> =
            apps.at("versions").items().iter().map(|v| v.at("version").str()).collect();
        assert_eq!(versions, ["v9", "v1"]);
        let document = aggregated(&c, &a, false, "v2");
        let wardle = document.at("items").items().last().unwrap();
        assert_eq!(
            wardle.at("versions").items()[1],
            value!({ "version": "v1alpha1", "freshness": "Current",
                "resources": [{ "resource": "flunders" }] })
        );
    }

    #[test]
    fn versions_are_ordered_as_upstream_prefers_them() {
        let mut all = ["foo", "v1alpha1", "v1", "v2beta1", "v10", "v1beta2", "v2", "bar", "v01"];
        all.sort_by(|a, b| version_order(a, b));
        assert_eq!(all, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "bar", "foo", "v01"]);
    }
}
