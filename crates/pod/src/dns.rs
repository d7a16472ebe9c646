//! A pod's host name, `/etc/hosts` and `/etc/resolv.conf`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_object::Value;

use crate::downward::NodeFacts;
use crate::spec;

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// The pod's host name and, with a subdomain, its domain.
pub fn hostname(pod: &Value, cluster_domain: &str) -> (String, Option<String>) {
    let override_ = pod.at("spec.hostnameOverride").str();
    if !override_.is_empty() {
        return (override_.to_string(), None);
    }
    let stated = pod.at("spec.hostname").str();
    let name = if stated.is_empty() { truncated(pod.name()) } else { stated.to_string() };
    let subdomain = pod.at("spec.subdomain").str();
    let domain = (!subdomain.is_empty())
        .then(|| format!("{subdomain}.{}.svc.{cluster_domain}", pod.namespace()));
    if pod.at("spec.setHostnameAsFQDN").bool()
        && let Some(domain) = &domain
    {
        return (format!("{name}.{domain}"), Some(domain.clone()));
    }
    (name, domain)
}

/// A host name has 63 characters at most and does not end in `-` or `.`.
fn truncated(name: &str) -> String {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].trim_end_matches(['-', '.']).to_string()
}

/// The content of `/etc/hosts`. `host_file` is the node's own, for pods on its network.
pub fn hosts_file(
    pod: &Value,
    pod_ips: &[SmolStr],
    cluster_domain: &str,
    host_file: &str,
) -> String {
    let mut out = String::new();
    if spec::host_network(pod) {
        out.push_str("# Kubernetes-managed hosts file (host network).\n");
        out.push_str(host_file);
    } else {
        out.push_str("# Kubernetes-managed hosts file.\n");
        out.push_str("127.0.0.1\tlocalhost\n");
        out.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
        out.push_str("fe00::0\tip6-localnet\n");
        out.push_str("fe00::0\tip6-mcastprefix\n");
        out.push_str("fe00::1\tip6-allnodes\n");
        out.push_str("fe00::2\tip6-allrouters\n");
        let (name, domain) = hostname(pod, cluster_domain);
        for ip in pod_ips {
            match &domain {
                Some(domain) => {
                    // With setHostnameAsFQDN only the kernel's name is the long one.
                    let short = name.strip_suffix(domain.as_str());
                    let short = short.and_then(|s| s.strip_suffix('.')).unwrap_or(&name);
                    out.push_str(&format!("{ip}\t{short}.{domain}\t{short}\n"));
                }
                None => out.push_str(&format!("{ip}\t{name}\n")),
            }
        }
    }
    let aliases = pod.at("spec.hostAliases").items();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names: Vec<&str> = alias.at("hostnames").items().iter().map(Value::str).collect();
        out.push_str(&format!("{}\t{}\n", alias.at("ip").str(), names.join("\t")));
    }
    out
}

#[derive(Default)]
struct Resolv {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Resolv {
    fn parse(text: &str) -> Self {
        let mut out = Resolv::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => out.nameservers.extend(words.next().map(String::from)),
                // The last of several counts.
                Some("search") => out.searches = words.map(String::from).collect(),
                Some("options") => out.options = words.map(String::from).collect(),
                _ => {}
            }
        }
        out
    }

    fn merge(&mut self, config: &Value) {
        let strings = |path: &str| config.at(path).items().iter().map(|v| v.str().to_string());
        for server in strings("nameservers") {
            push_new(&mut self.nameservers, server);
        }
        for search in strings("searches") {
            push_new(&mut self.searches, search);
        }
        for option in config.at("options").items() {
            let name = option.at("name").str();
            let text = match option.at("value").str() {
                "" => name.to_string(),
                value => format!("{name}:{value}"),
            };
            self.options.retain(|o| o.split(':').next() != Some(name));
            self.options.push(text);
        }
    }

    fn print(mut self) -> String {
        self.nameservers.truncate(MAX_NAMESERVERS);
        self.searches.truncate(MAX_SEARCHES);
        while self.searches.join(" ").len() > MAX_SEARCH_CHARS {
            self.searches.pop();
        }
        let mut out = String::new();
        if !self.searches.is_empty() {
            out.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.nameservers {
            out.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            out.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        out
    }
}

fn push_new(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// The content of `/etc/resolv.conf`. `host_file` is the node's own.
pub fn resolv_conf(pod: &Value, node: &NodeFacts, host_file: &str) -> String {
    let host = || Resolv::parse(host_file);
    let policy = match pod.at("spec.dnsPolicy").str() {
        "ClusterFirst" | "" if spec::host_network(pod) => "Default",
        "" => "ClusterFirst",
        policy => policy,
    };
    let mut out = match policy {
        "None" => Resolv::default(),
        "ClusterFirst" | "ClusterFirstWithHostNet" if !node.cluster_dns.is_empty() => {
            let domain = &node.cluster_domain;
            let mut searches = alloc::vec![
                format!("{}.svc.{domain}", pod.namespace()),
                format!("svc.{domain}"),
                domain.to_string(),
            ];
            for search in host().searches {
                push_new(&mut searches, search);
            }
            Resolv {
                nameservers: node.cluster_dns.iter().map(SmolStr::to_string).collect(),
                searches,
                options: alloc::vec!["ndots:5".into()],
            }
        }
        _ => host(),
    };
    out.merge(pod.at("spec.dnsConfig"));
    out.print()
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    fn node() -> NodeFacts {
        NodeFacts {
            cluster_domain: "cluster.local".into(),
            cluster_dns: alloc::vec!["10.96.0.10".into()],
            ..NodeFacts::default()
        }
    }

    const HOST: &str = "# x\nnameserver 1.1.1.1\nsearch corp.example\noptions rotate\n";

    #[test]
    fn cluster_first() {
        let pod = value!({ "metadata": { "namespace": "java" }, "spec": { "dnsPolicy": "ClusterFirst",
            "dnsConfig": { "nameservers": ["8.8.8.8"], "searches": ["a.b"],
                "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }] } } });
        assert_eq!(
            resolv_conf(&pod, &node(), HOST),
            "search java.svc.cluster.local svc.cluster.local cluster.local corp.example a.b\n\
             nameserver 10.96.0.10\nnameserver 8.8.8.8\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn default_none_and_host_network() {
        let host = "search corp.example\nnameserver 1.1.1.1\noptions rotate\n";
        let pod = value!({ "spec": { "dnsPolicy": "Default" } });
        assert_eq!(resolv_conf(&pod, &node(), HOST), host);
        let pod = value!({ "spec": { "dnsPolicy": "ClusterFirst", "hostNetwork": true } });
        assert_eq!(resolv_conf(&pod, &node(), HOST), host);
        let pod = value!({ "spec": { "dnsPolicy": "None", "dnsConfig": { "nameservers": ["9.9.9.9"] } } });
        assert_eq!(resolv_conf(&pod, &node(), HOST), "nameserver 9.9.9.9\n");
    }

    #[test]
    fn names_and_hosts() {
        let pod = value!({ "metadata": { "name": "web-0", "namespace": "n" },
            "spec": { "subdomain": "web", "hostAliases": [{ "ip": "1.2.3.4", "hostnames": ["a", "b"] }] } });
        assert_eq!(
            hostname(&pod, "cluster.local"),
            ("web-0".to_string(), Some("web.n.svc.cluster.local".to_string()))
        );
        let text = hosts_file(&pod, &["10.0.0.5".into()], "cluster.local", "");
        assert!(text.contains("10.0.0.5\tweb-0.web.n.svc.cluster.local\tweb-0\n"));
        let mut full = pod.clone();
        full.set("spec.setHostnameAsFQDN", true);
        assert_eq!(hostname(&full, "cluster.local").0, "web-0.web.n.svc.cluster.local");
        assert_eq!(hosts_file(&full, &["10.0.0.5".into()], "cluster.local", ""), text);
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
        let long = value!({ "metadata": { "name": (format!("{}-x", "a".repeat(62))) } });
        assert_eq!(hostname(&long, "c").0, "a".repeat(62));
    }
}
