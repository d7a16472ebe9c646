//! The schemas of `k8s-openapi`: descriptions, formats, required fields.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::{runtime, version};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use schemars::SchemaGenerator;
use serde_json::Value;

use crate::facts::Struct;

/// Schemas by their short names, such as `core.v1.Pod`.
pub struct Schemas(BTreeMap<String, Value>);

macro_rules! add {
    ($generator:ident: $($ty:ty),* $(,)?) => { $( $generator.subschema_for::<$ty>(); )* };
}

impl Schemas {
    /// Collects the schemas of all stable kinds and what they refer to.
    pub fn collect() -> Schemas {
        let mut g = SchemaGenerator::default();
        core_kinds(&mut g);
        group_kinds(&mut g);
        add!(g: meta::APIGroup, meta::APIGroupList, meta::APIResourceList, meta::APIVersions,
            meta::DeleteOptions, meta::Status, runtime::RawExtension,
            version::Info, apiextensions::CustomResourceDefinition, apiregistration::APIService);
        let all = g.take_definitions(true);
        Schemas(all.into_iter().map(|(name, v)| (short(&name), v)).collect())
    }

    fn property(&self, definition: &str, field: &str) -> Option<&Value> {
        self.0.get(definition)?.get("properties")?.get(field)
    }

    pub fn description(&self, definition: &str, field: Option<&str>) -> String {
        let of = match field {
            Some(field) => self.property(definition, field),
            None => self.0.get(definition),
        };
        let text = of.and_then(|v| v.get("description")).and_then(Value::as_str).unwrap_or("");
        text.replace('\0', "")
    }

    pub fn format(&self, definition: &str, field: &str) -> String {
        let of = self.property(definition, field);
        of.and_then(|v| v.get("format")).and_then(Value::as_str).unwrap_or("").to_string()
    }

    pub fn required(&self, definition: &str, field: &str) -> bool {
        let list = self.0.get(definition).and_then(|d| d.get("required"));
        list.and_then(Value::as_array).is_some_and(|l| l.iter().any(|r| r == field))
    }

    /// Fails the build where the facts and the schema disagree about a struct's fields.
    pub fn check(&self, s: &Struct) {
        let Some(properties) = self.0.get(&s.name).and_then(|d| d.get("properties")) else {
            return;
        };
        let properties = properties.as_object().expect("properties are an object");
        for f in &s.fields {
            assert!(properties.contains_key(&f.name), "{}: only facts have {}", s.name, f.name);
        }
        for name in properties.keys() {
            assert!(s.fields.iter().any(|f| f.name == *name), "{}: facts lack {name}", s.name);
        }
    }
}

/// `io.k8s.api.core.v1.Pod` to `core.v1.Pod`.
fn short(name: &str) -> String {
    let roots = [
        "io.k8s.api.",
        "io.k8s.apiextensions-apiserver.pkg.apis.",
        "io.k8s.apimachinery.pkg.apis.",
        "io.k8s.apimachinery.pkg.api.",
        "io.k8s.apimachinery.pkg.util.",
        "io.k8s.apimachinery.pkg.",
        "io.k8s.kube-aggregator.pkg.apis.",
    ];
    roots.iter().find_map(|r| name.strip_prefix(r)).unwrap_or(name).to_string()
}

fn core_kinds(g: &mut SchemaGenerator) {
    use k8s_openapi::api::core::v1::*;
    add!(g: Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node,
        PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate, ReplicationController,
        ResourceQuota, Secret, Service, ServiceAccount);
}

fn group_kinds(g: &mut SchemaGenerator) {
    use k8s_openapi::api::*;
    add!(g:
        admissionregistration::v1::MutatingWebhookConfiguration,
        admissionregistration::v1::ValidatingAdmissionPolicy,
        admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        admissionregistration::v1::ValidatingWebhookConfiguration,
        apps::v1::ControllerRevision, apps::v1::DaemonSet, apps::v1::Deployment,
        apps::v1::ReplicaSet, apps::v1::StatefulSet,
        authentication::v1::SelfSubjectReview, authentication::v1::TokenRequest,
        authentication::v1::TokenReview,
        authorization::v1::LocalSubjectAccessReview, authorization::v1::SelfSubjectAccessReview,
        authorization::v1::SelfSubjectRulesReview, authorization::v1::SubjectAccessReview,
        autoscaling::v1::HorizontalPodAutoscaler, autoscaling::v1::Scale,
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::CronJob, batch::v1::Job,
        certificates::v1::CertificateSigningRequest, coordination::v1::Lease,
        discovery::v1::EndpointSlice, events::v1::Event,
        flowcontrol::v1::FlowSchema, flowcontrol::v1::PriorityLevelConfiguration,
        networking::v1::Ingress, networking::v1::IngressClass, networking::v1::IPAddress,
        networking::v1::NetworkPolicy, networking::v1::ServiceCIDR,
        node::v1::RuntimeClass, policy::v1::Eviction, policy::v1::PodDisruptionBudget,
        rbac::v1::ClusterRole, rbac::v1::ClusterRoleBinding, rbac::v1::Role, rbac::v1::RoleBinding,
        resource::v1::DeviceClass, resource::v1::ResourceClaim,
        resource::v1::ResourceClaimTemplate, resource::v1::ResourceSlice,
        scheduling::v1::PriorityClass,
        storage::v1::CSIDriver, storage::v1::CSINode, storage::v1::CSIStorageCapacity,
        storage::v1::StorageClass, storage::v1::VolumeAttachment,
        storage::v1::VolumeAttributesClass,
    );
}
