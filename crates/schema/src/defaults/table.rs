//! Defaults that depend on nothing.

/// By definition: the fields and their defaults as JSON.
pub(super) const CONSTANTS: &[(&str, &[(&str, &str)])] = &[
    (
        "admissionregistration.v1.MatchResources",
        &[("matchPolicy", "\"Equivalent\""), ("namespaceSelector", "{}"), ("objectSelector", "{}")],
    ),
    (
        "admissionregistration.v1.MutatingWebhook",
        &[
            ("failurePolicy", "\"Fail\""),
            ("matchPolicy", "\"Equivalent\""),
            ("namespaceSelector", "{}"),
            ("objectSelector", "{}"),
            ("timeoutSeconds", "10"),
            ("reinvocationPolicy", "\"Never\""),
        ],
    ),
    ("admissionregistration.v1.NamedRuleWithOperations", &[("scope", "\"*\"")]),
    ("admissionregistration.v1.RuleWithOperations", &[("scope", "\"*\"")]),
    ("admissionregistration.v1.ServiceReference", &[("port", "443")]),
    ("admissionregistration.v1.ValidatingAdmissionPolicySpec", &[("failurePolicy", "\"Fail\"")]),
    (
        "admissionregistration.v1.ValidatingWebhook",
        &[
            ("failurePolicy", "\"Fail\""),
            ("matchPolicy", "\"Equivalent\""),
            ("namespaceSelector", "{}"),
            ("objectSelector", "{}"),
            ("timeoutSeconds", "10"),
        ],
    ),
    ("apiextensions.v1.CustomResourceDefinitionSpec", &[("conversion", "{\"strategy\":\"None\"}")]),
    ("apiextensions.v1.ServiceReference", &[("port", "443")]),
    ("apiregistration.v1.ServiceReference", &[("port", "443")]),
    (
        "apps.v1.DaemonSet",
        &[("spec.updateStrategy.type", "\"RollingUpdate\""), ("spec.revisionHistoryLimit", "10")],
    ),
    (
        "apps.v1.Deployment",
        &[
            ("spec.replicas", "1"),
            ("spec.strategy.type", "\"RollingUpdate\""),
            ("spec.revisionHistoryLimit", "10"),
            ("spec.progressDeadlineSeconds", "600"),
        ],
    ),
    ("apps.v1.ReplicaSet", &[("spec.replicas", "1")]),
    (
        "apps.v1.StatefulSet",
        &[
            ("spec.podManagementPolicy", "\"OrderedReady\""),
            ("spec.persistentVolumeClaimRetentionPolicy", "{}"),
            ("spec.replicas", "1"),
            ("spec.revisionHistoryLimit", "10"),
        ],
    ),
    (
        "apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy",
        &[("whenDeleted", "\"Retain\""), ("whenScaled", "\"Retain\"")],
    ),
    ("authentication.v1.TokenRequestSpec", &[("expirationSeconds", "3600")]),
    ("autoscaling.v1.HorizontalPodAutoscaler", &[("spec.minReplicas", "1")]),
    ("autoscaling.v2.HorizontalPodAutoscaler", &[("spec.minReplicas", "1")]),
    (
        "batch.v1.CronJob",
        &[
            ("spec.concurrencyPolicy", "\"Allow\""),
            ("spec.suspend", "false"),
            ("spec.successfulJobsHistoryLimit", "3"),
            ("spec.failedJobsHistoryLimit", "1"),
        ],
    ),
    (
        "batch.v1.Job",
        &[
            ("spec.completionMode", "\"NonIndexed\""),
            ("spec.suspend", "false"),
            ("spec.manualSelector", "false"),
        ],
    ),
    ("batch.v1.PodFailurePolicyOnPodConditionsPattern", &[("status", "\"True\"")]),
    ("core.v1.ConfigMapVolumeSource", &[("defaultMode", "420")]),
    (
        "core.v1.Container",
        &[
            ("terminationMessagePath", "\"/dev/termination-log\""),
            ("terminationMessagePolicy", "\"File\""),
        ],
    ),
    ("core.v1.DownwardAPIVolumeSource", &[("defaultMode", "420")]),
    (
        "core.v1.EphemeralContainer",
        &[
            ("terminationMessagePath", "\"/dev/termination-log\""),
            ("terminationMessagePolicy", "\"File\""),
        ],
    ),
    ("core.v1.HTTPGetAction", &[("path", "\"/\""), ("scheme", "\"HTTP\"")]),
    ("core.v1.HostPathVolumeSource", &[("type", "\"\"")]),
    ("core.v1.NamespaceStatus", &[("phase", "\"Active\"")]),
    ("core.v1.ObjectFieldSelector", &[("apiVersion", "\"v1\"")]),
    (
        "core.v1.PersistentVolume",
        &[
            ("status.phase", "\"Pending\""),
            ("spec.persistentVolumeReclaimPolicy", "\"Retain\""),
            ("spec.volumeMode", "\"Filesystem\""),
        ],
    ),
    ("core.v1.PersistentVolumeClaim", &[("status.phase", "\"Pending\"")]),
    ("core.v1.PersistentVolumeClaimSpec", &[("volumeMode", "\"Filesystem\"")]),
    ("core.v1.Pod", &[("spec.enableServiceLinks", "true")]),
    (
        "core.v1.PodSpec",
        &[
            ("dnsPolicy", "\"ClusterFirst\""),
            ("restartPolicy", "\"Always\""),
            ("securityContext", "{}"),
            ("terminationGracePeriodSeconds", "30"),
            ("schedulerName", "\"default-scheduler\""),
        ],
    ),
    (
        "core.v1.Probe",
        &[
            ("timeoutSeconds", "1"),
            ("periodSeconds", "10"),
            ("successThreshold", "1"),
            ("failureThreshold", "3"),
        ],
    ),
    ("core.v1.ProjectedVolumeSource", &[("defaultMode", "420")]),
    ("core.v1.Secret", &[("type", "\"Opaque\"")]),
    ("core.v1.SecretVolumeSource", &[("defaultMode", "420")]),
    ("core.v1.Service", &[("spec.sessionAffinity", "\"None\""), ("spec.type", "\"ClusterIP\"")]),
    ("core.v1.ServiceAccountTokenProjection", &[("expirationSeconds", "3600")]),
    ("discovery.v1.EndpointPort", &[("name", "\"\""), ("protocol", "\"TCP\"")]),
    (
        "flowcontrol.v1.ExemptPriorityLevelConfiguration",
        &[("nominalConcurrencyShares", "0"), ("lendablePercent", "0")],
    ),
    ("flowcontrol.v1.FlowSchemaSpec", &[("matchingPrecedence", "1000")]),
    (
        "flowcontrol.v1.LimitedPriorityLevelConfiguration",
        &[("nominalConcurrencyShares", "30"), ("lendablePercent", "0")],
    ),
    (
        "flowcontrol.v1.QueuingConfiguration",
        &[("handSize", "8"), ("queues", "64"), ("queueLengthLimit", "50")],
    ),
    ("networking.v1.NetworkPolicyPort", &[("protocol", "\"TCP\"")]),
    ("rbac.v1.ClusterRoleBinding", &[("roleRef.apiGroup", "\"rbac.authorization.k8s.io\"")]),
    ("rbac.v1.RoleBinding", &[("roleRef.apiGroup", "\"rbac.authorization.k8s.io\"")]),
    ("scheduling.v1.PriorityClass", &[("preemptionPolicy", "\"PreemptLowerPriority\"")]),
    (
        "storage.v1.CSIDriver",
        &[
            ("spec.attachRequired", "true"),
            ("spec.podInfoOnMount", "false"),
            ("spec.storageCapacity", "false"),
            ("spec.fsGroupPolicy", "\"ReadWriteOnceWithFSType\""),
            ("spec.volumeLifecycleModes", "[\"Persistent\"]"),
            ("spec.requiresRepublish", "false"),
            ("spec.seLinuxMount", "false"),
        ],
    ),
    (
        "storage.v1.StorageClass",
        &[("reclaimPolicy", "\"Delete\""), ("volumeBindingMode", "\"Immediate\"")],
    ),
];
