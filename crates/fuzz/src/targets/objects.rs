//! Objects on their way in: decoded by their kind's schema, defaulted, validated.

use timonier_meta::Time;
use timonier_object::{Value, json};
use timonier_schema::{decode, defaults, rules};

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "objects",
    run,
    seeds: || {
        texts(&[
            super::POD,
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":2,"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},"selector":{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"type":"NodePort","clusterIPs":["10.0.0.1"],"ipFamilies":["IPv4"],"ports":[{"name":"a","port":80,"targetPort":"web","nodePort":30000}],"sessionAffinity":"ClientIP"}}"#,
            r#"{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"c"},"spec":{"schedule":"*/5 0-3,7 1 JAN mon#2","timeZone":"Europe/Paris","jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}}}"#,
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"type":"kubernetes.io/tls","data":{"tls.crt":"YQ==","tls.key":""},"stringData":{"a":"b"}}"#,
            r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"n"},"spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],"ports":[{"port":80,"endPort":90}]}]}}"#,
            r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"},"spec":{"taints":[{"key":"a","effect":"NoSchedule"}],"podCIDRs":["10.0.0.0/24"]},"status":{"allocatable":{"cpu":"4"}}}"#,
        ])
    },
    words: &[
        "\"",
        ":",
        "{",
        "}",
        "[",
        "]",
        ",",
        "null",
        "\"metadata\":",
        "\"spec\":",
        "\"kind\":",
        "Job",
        "DaemonSet",
        "StatefulSet",
        "Ingress",
        "ConfigMap",
        "PersistentVolume",
        "ResourceQuota",
        "100%",
        "-1",
        "1Ki",
        "*/0",
        "@every 1s",
        "CRON_TZ=",
        "é",
    ],
};

fn run(input: &[u8]) {
    let Ok(mut object) = json::decode(input) else { return };
    let Some(kind) = object.gvk() else { return };
    let catalogue = super::catalogue();
    let Some(row) = catalogue.by_kind(&kind) else { return };
    let original = object.clone();
    if decode::decode(row, &mut object).is_err() {
        return;
    }
    let mut again = object.clone();
    assert_eq!(decode::decode(row, &mut again), Ok(Vec::new()), "decoding leaves something to say");
    assert_eq!(again, object, "decoding twice is not the same as once");
    let now = Time::from_unix(1_800_000_000);
    defaults::default_object(row, &mut object, now);
    let mut twice: Value = object.clone();
    defaults::default_object(row, &mut twice, now);
    assert_eq!(twice, object, "defaulting twice is not the same as once");
    drop(rules::validate_create(row, &object));
    drop(rules::validate_update(row, "", &object, &original));
}
