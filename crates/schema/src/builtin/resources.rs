//! The stable resources of Kubernetes v1.35 as upstream's discovery shows them.

use smol_str::SmolStr;
use timonier_meta::{GroupVersionKind, GroupVersionResource};

use crate::row::{InitialStatus, NameRule, ResourceRow, Selectable, Strategy, Subresource, Verbs};

type Gv = (&'static str, &'static str);

/// A row of the table below.
#[derive(Clone, Copy)]
pub(super) struct Resource {
    gv: Gv,
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    verbs: Verbs,
    subs: &'static [Sub],
    /// `label` or `label=path|path`.
    selectable: &'static [&'static str],
    strategy: Strategy,
    storage: Gv,
    stored: bool,
}

#[derive(Clone, Copy)]
struct Sub {
    name: &'static str,
    /// The kind, where it is not the resource's own.
    kind: Option<(Gv, &'static str)>,
    verbs: Verbs,
}

const CORE: Gv = ("", "v1");
const ADMISSION: Gv = ("admissionregistration.k8s.io", "v1");
const APIEXTENSIONS: Gv = ("apiextensions.k8s.io", "v1");
const APIREGISTRATION: Gv = ("apiregistration.k8s.io", "v1");
const APPS: Gv = ("apps", "v1");
const AUTHENTICATION: Gv = ("authentication.k8s.io", "v1");
const AUTHORIZATION: Gv = ("authorization.k8s.io", "v1");
const AUTOSCALING: Gv = ("autoscaling", "v1");
const AUTOSCALING2: Gv = ("autoscaling", "v2");
const BATCH: Gv = ("batch", "v1");
const CERTIFICATES: Gv = ("certificates.k8s.io", "v1");
const COORDINATION: Gv = ("coordination.k8s.io", "v1");
const DISCOVERY: Gv = ("discovery.k8s.io", "v1");
const EVENTS: Gv = ("events.k8s.io", "v1");
const FLOWCONTROL: Gv = ("flowcontrol.apiserver.k8s.io", "v1");
const NETWORKING: Gv = ("networking.k8s.io", "v1");
const NODE: Gv = ("node.k8s.io", "v1");
const POLICY: Gv = ("policy", "v1");
const RBAC: Gv = ("rbac.authorization.k8s.io", "v1");
const RESOURCE: Gv = ("resource.k8s.io", "v1");
const SCHEDULING: Gv = ("scheduling.k8s.io", "v1");
const STORAGE: Gv = ("storage.k8s.io", "v1");

const STATUS: Sub = own("status", Verbs::CHANGE);
const SCALE: Sub = sub("scale", AUTOSCALING, "Scale", Verbs::CHANGE);

/// Every row. The default is a namespaced, stored resource with all verbs.
pub(super) static RESOURCES: &[Resource] = &[
    review(CORE, "bindings", "Binding", true),
    row(CORE, "componentstatuses", "ComponentStatus").short(&["cs"]).cluster().read_only(),
    row(CORE, "configmaps", "ConfigMap").short(&["cm"]),
    row(CORE, "endpoints", "Endpoints").short(&["ep"]).put_creates(),
    row(CORE, "events", "Event").short(&["ev"]).put_creates().select(&[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source=source.component|reportingComponent",
        "type",
    ]),
    row(CORE, "limitranges", "LimitRange").short(&["limits"]).put_creates(),
    row(CORE, "namespaces", "Namespace")
        .short(&["ns"])
        .cluster()
        .verbs(Verbs::ONE_BY_ONE)
        .names(NameRule::Label)
        .phase("Active")
        .subs(&[own("finalize", Verbs::UPDATE), STATUS])
        .select(&["status.phase"]),
    row(CORE, "nodes", "Node")
        .short(&["no"])
        .cluster()
        .subs(&[sub("proxy", CORE, "NodeProxyOptions", Verbs::PROXY), STATUS])
        .keep_status()
        .select(&["spec.unschedulable"]),
    row(CORE, "persistentvolumeclaims", "PersistentVolumeClaim")
        .returned()
        .short(&["pvc"])
        .subs(&[STATUS])
        .phase("Pending"),
    row(CORE, "persistentvolumes", "PersistentVolume")
        .returned()
        .short(&["pv"])
        .cluster()
        .subs(&[STATUS])
        .phase("Pending"),
    row(CORE, "pods", "Pod")
        .returned()
        .short(&["po"])
        .all()
        .generation()
        .phase("Pending")
        .subs(&[
            sub("attach", CORE, "PodAttachOptions", Verbs::STREAM),
            sub("binding", CORE, "Binding", Verbs::CREATE),
            own("ephemeralcontainers", Verbs::CHANGE),
            sub("eviction", POLICY, "Eviction", Verbs::CREATE),
            sub("exec", CORE, "PodExecOptions", Verbs::STREAM),
            own("log", Verbs::GET),
            sub("portforward", CORE, "PodPortForwardOptions", Verbs::STREAM),
            sub("proxy", CORE, "PodProxyOptions", Verbs::PROXY),
            own("resize", Verbs::CHANGE),
            STATUS,
        ])
        .select(&[
            "spec.nodeName",
            "spec.host=spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]),
    row(CORE, "podtemplates", "PodTemplate").returned().generation(),
    row(CORE, "replicationcontrollers", "ReplicationController")
        .short(&["rc"])
        .all()
        .generation()
        .subs(&[SCALE, STATUS])
        .select(&["status.replicas"]),
    row(CORE, "resourcequotas", "ResourceQuota").returned().short(&["quota"]).subs(&[STATUS]),
    row(CORE, "secrets", "Secret").select(&["type"]),
    row(CORE, "serviceaccounts", "ServiceAccount").returned().short(&["sa"]).subs(&[sub(
        "token",
        AUTHENTICATION,
        "TokenRequest",
        Verbs::CREATE,
    )]),
    row(CORE, "services", "Service")
        .returned()
        .short(&["svc"])
        .all()
        .put_creates()
        .names(NameRule::Label1035)
        .subs(&[sub("proxy", CORE, "ServiceProxyOptions", Verbs::PROXY), STATUS])
        .select(&["spec.clusterIP", "spec.type"]),
    row(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration").extension(),
    row(ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy")
        .extension()
        .subs(&[STATUS]),
    row(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding")
        .extension(),
    row(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration").extension(),
    row(APIEXTENSIONS, "customresourcedefinitions", "CustomResourceDefinition")
        .short(&["crd", "crds"])
        .extension()
        .names(NameRule::Special)
        .subs(&[STATUS]),
    row(APIREGISTRATION, "apiservices", "APIService")
        .categories(&["api-extensions"])
        .cluster()
        .conditional()
        .names(NameRule::Special)
        .subs(&[STATUS]),
    row(APPS, "controllerrevisions", "ControllerRevision"),
    row(APPS, "daemonsets", "DaemonSet").short(&["ds"]).all().generation().subs(&[STATUS]),
    row(APPS, "deployments", "Deployment")
        .short(&["deploy"])
        .all()
        .generation()
        .subs(&[SCALE, STATUS]),
    row(APPS, "replicasets", "ReplicaSet").short(&["rs"]).all().generation().subs(&[SCALE, STATUS]),
    row(APPS, "statefulsets", "StatefulSet")
        .short(&["sts"])
        .all()
        .generation()
        .subs(&[SCALE, STATUS]),
    review(AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview", false),
    review(AUTHENTICATION, "tokenreviews", "TokenReview", false),
    review(AUTHORIZATION, "localsubjectaccessreviews", "LocalSubjectAccessReview", true),
    review(AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
    review(AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
    review(AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview", false),
    HPA,
    HPA.version(AUTOSCALING2),
    row(BATCH, "cronjobs", "CronJob").short(&["cj"]).all().generation().subs(&[STATUS]),
    row(BATCH, "jobs", "Job")
        .all()
        .generation()
        .subs(&[STATUS])
        .select(&["status.successful=status.succeeded"]),
    row(CERTIFICATES, "certificatesigningrequests", "CertificateSigningRequest")
        .short(&["csr"])
        .cluster()
        .names(NameRule::PathSegment)
        .subs(&[own("approval", Verbs::CHANGE), STATUS])
        .select(&["spec.signerName"]),
    row(COORDINATION, "leases", "Lease").put_creates().conditional(),
    row(DISCOVERY, "endpointslices", "EndpointSlice").generation(),
    row(EVENTS, "events", "Event").short(&["ev"]).put_creates().stored_as(CORE).select(&[
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ]),
    row(FLOWCONTROL, "flowschemas", "FlowSchema").cluster().generation().subs(&[STATUS]),
    row(FLOWCONTROL, "prioritylevelconfigurations", "PriorityLevelConfiguration")
        .cluster()
        .generation()
        .subs(&[STATUS]),
    row(NETWORKING, "ingressclasses", "IngressClass").cluster().generation(),
    row(NETWORKING, "ingresses", "Ingress").short(&["ing"]).generation().subs(&[STATUS]),
    row(NETWORKING, "ipaddresses", "IPAddress").short(&["ip"]).cluster().names(NameRule::Ip),
    row(NETWORKING, "networkpolicies", "NetworkPolicy").short(&["netpol"]).generation(),
    row(NETWORKING, "servicecidrs", "ServiceCIDR").cluster().subs(&[STATUS]).keep_status(),
    row(NODE, "runtimeclasses", "RuntimeClass").cluster().put_creates().conditional(),
    row(POLICY, "poddisruptionbudgets", "PodDisruptionBudget")
        .short(&["pdb"])
        .generation()
        .conditional()
        .subs(&[STATUS]),
    row(RBAC, "clusterrolebindings", "ClusterRoleBinding").cluster().rbac(),
    row(RBAC, "clusterroles", "ClusterRole").cluster().rbac(),
    row(RBAC, "rolebindings", "RoleBinding").rbac(),
    row(RBAC, "roles", "Role").rbac(),
    row(RESOURCE, "deviceclasses", "DeviceClass").returned().cluster().generation(),
    row(RESOURCE, "resourceclaims", "ResourceClaim").returned().subs(&[STATUS]),
    row(RESOURCE, "resourceclaimtemplates", "ResourceClaimTemplate").returned(),
    row(RESOURCE, "resourceslices", "ResourceSlice")
        .returned()
        .cluster()
        .generation()
        .select(&["spec.nodeName", "spec.driver"]),
    row(SCHEDULING, "priorityclasses", "PriorityClass").short(&["pc"]).cluster().generation(),
    row(STORAGE, "csidrivers", "CSIDriver").returned().cluster().conditional(),
    row(STORAGE, "csinodes", "CSINode").returned().cluster().conditional(),
    row(STORAGE, "csistoragecapacities", "CSIStorageCapacity").conditional(),
    row(STORAGE, "storageclasses", "StorageClass").returned().short(&["sc"]).cluster(),
    row(STORAGE, "volumeattachments", "VolumeAttachment")
        .returned()
        .cluster()
        .conditional()
        .subs(&[STATUS]),
    row(STORAGE, "volumeattributesclasses", "VolumeAttributesClass")
        .returned()
        .short(&["vac"])
        .cluster(),
];

const HPA: Resource = row(AUTOSCALING, "horizontalpodautoscalers", "HorizontalPodAutoscaler")
    .short(&["hpa"])
    .all()
    .subs(&[STATUS])
    .stored_as(AUTOSCALING2);

const fn row(gv: Gv, plural: &'static str, kind: &'static str) -> Resource {
    Resource {
        gv,
        plural,
        kind,
        short: &[],
        categories: &[],
        namespaced: true,
        verbs: Verbs::ALL,
        subs: &[],
        selectable: &[],
        strategy: Strategy {
            create_on_update: false,
            unconditional_update: true,
            generation: false,
            initial_status: InitialStatus::Keep,
            names: NameRule::Subdomain,
            delete_returns_object: false,
        },
        storage: gv,
        stored: true,
    }
}

/// A resource that is posted and answered.
const fn review(gv: Gv, plural: &'static str, kind: &'static str, namespaced: bool) -> Resource {
    Resource { namespaced, verbs: Verbs::CREATE, stored: false, ..row(gv, plural, kind) }
}

fn kind_of(gv: Gv, kind: &'static str) -> GroupVersionKind {
    GroupVersionKind::new_static(gv.0, gv.1, kind)
}

fn selectable(text: &'static str) -> Selectable {
    let (label, paths) = text.split_once('=').unwrap_or((text, text));
    Selectable {
        label: SmolStr::new_static(label),
        paths: paths.split('|').map(SmolStr::new_static).collect(),
    }
}

const fn own(name: &'static str, verbs: Verbs) -> Sub {
    Sub { name, kind: None, verbs }
}

const fn sub(name: &'static str, gv: Gv, kind: &'static str, verbs: Verbs) -> Sub {
    Sub { name, kind: Some((gv, kind)), verbs }
}

impl Resource {
    /// The catalogue's row.
    pub(super) fn row(&self) -> ResourceRow {
        let package = super::package(self.gv.0, self.gv.1);
        let name = alloc::format!("{package}.{}", self.kind);
        let smol =
            |names: &[&'static str]| names.iter().copied().map(SmolStr::new_static).collect();
        ResourceRow {
            gvr: GroupVersionResource::new_static(self.gv.0, self.gv.1, self.plural),
            gvk: kind_of(self.gv, self.kind),
            list_kind: alloc::format!("{}List", self.kind).into(),
            singular: self.kind.to_ascii_lowercase().into(),
            short_names: smol(self.short),
            categories: smol(self.categories),
            namespaced: self.namespaced,
            verbs: self.verbs,
            subresources: self.subs.iter().map(|s| self.subresource(s)).collect(),
            selectable: self.selectable.iter().map(|text| selectable(text)).collect(),
            strategy: self.strategy,
            storage: GroupVersionResource::new_static(self.storage.0, self.storage.1, self.plural),
            stored: self.stored,
            fingerprint: 0,
            conversion: None,
            version: None,
            validations: None,
            arena: None,
            root: super::definition(&name).expect("every built-in kind has facts"),
        }
    }

    fn subresource(&self, s: &Sub) -> Subresource {
        let (gv, kind) = s.kind.unwrap_or((self.gv, self.kind));
        Subresource { name: SmolStr::new_static(s.name), kind: kind_of(gv, kind), verbs: s.verbs }
    }

    const fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }

    const fn all(self) -> Self {
        self.categories(&["all"])
    }

    const fn categories(mut self, categories: &'static [&'static str]) -> Self {
        self.categories = categories;
        self
    }

    const fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }

    const fn verbs(mut self, verbs: Verbs) -> Self {
        self.verbs = verbs;
        self
    }

    /// Computed on each read.
    const fn read_only(mut self) -> Self {
        self.verbs = Verbs::READ;
        self.stored = false;
        self
    }

    const fn subs(mut self, subs: &'static [Sub]) -> Self {
        self.subs = subs;
        let mut i = 0;
        while i < subs.len() {
            let is_status = matches!(subs[i].name.as_bytes(), b"status");
            if is_status && matches!(self.strategy.initial_status, InitialStatus::Keep) {
                self.strategy.initial_status = InitialStatus::Drop;
            }
            i += 1;
        }
        self
    }

    const fn select(mut self, selectable: &'static [&'static str]) -> Self {
        self.selectable = selectable;
        self
    }

    const fn put_creates(mut self) -> Self {
        self.strategy.create_on_update = true;
        self
    }

    /// An update must say on which resource version it builds.
    const fn conditional(mut self) -> Self {
        self.strategy.unconditional_update = false;
        self
    }

    const fn generation(mut self) -> Self {
        self.strategy.generation = true;
        self
    }

    const fn names(mut self, names: NameRule) -> Self {
        self.strategy.names = names;
        self
    }

    const fn phase(mut self, phase: &'static str) -> Self {
        self.strategy.initial_status = InitialStatus::Phase(phase);
        self
    }

    const fn keep_status(mut self) -> Self {
        self.strategy.initial_status = InitialStatus::Keep;
        self
    }

    /// What extends the API: cluster-scoped, counted, updated conditionally.
    const fn extension(self) -> Self {
        self.cluster().generation().conditional().categories(&["api-extensions"])
    }

    const fn returned(mut self) -> Self {
        self.strategy.delete_returns_object = true;
        self
    }

    const fn rbac(self) -> Self {
        self.put_creates().names(NameRule::PathSegment)
    }

    const fn version(mut self, gv: Gv) -> Self {
        self.gv = gv;
        self
    }

    const fn stored_as(mut self, gv: Gv) -> Self {
        self.storage = gv;
        self
    }
}
