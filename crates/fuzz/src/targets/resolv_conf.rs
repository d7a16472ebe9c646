//! The host's `resolv.conf`, of which pods get theirs.

use timonier_object::{Value, json};
use timonier_pod::{NodeFacts, dns};

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "resolv-conf",
    run,
    seeds: || {
        texts(&[
            "nameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch a.b c.d\noptions ndots:5 timeout:1\n# x\n; y\n",
            "domain a\nsearch\nnameserver\nsortlist 1\n",
        ])
    },
    words: &["nameserver ", "search ", "options ", "domain ", "ndots:", "\n", "\t", "#", ";", "\r"],
};

fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for policy in ["Default", "ClusterFirst", "None"] {
        let mut pod: Value = json::decode(super::POD.as_bytes()).unwrap_or_default();
        pod.set("spec.dnsPolicy", policy);
        let facts = NodeFacts {
            cluster_domain: "cluster.local".into(),
            cluster_dns: vec!["10.96.0.10".into()],
            ..NodeFacts::default()
        };
        let made = dns::resolv_conf(&pod, &facts, &text);
        // What a pod gets from the file is a file that gives it the same again.
        if policy == "Default" {
            assert_eq!(dns::resolv_conf(&pod, &facts, &made), made, "not the same the second time");
        }
    }
}
