//! DNS requests.

use timonier_node::fuzz;

use crate::Target;

pub const TARGET: Target = Target {
    name: "dns",
    run,
    seeds: || {
        [
            ("nginx.java.svc.cluster.local", 1),
            ("_http._tcp.web.default.svc.cluster.local", 33),
            ("1.0.96.10.in-addr.arpa", 12),
            ("example.com", 28),
            ("ns.dns.cluster.local", 255),
        ]
        .iter()
        .map(|(name, kind)| question(name, *kind))
        .collect()
    },
    words: &[
        "\x07cluster\x05local",
        "\x03svc",
        "\x07in-addr\x04arpa",
        "\x03ip6",
        "\0",
        "\u{c0}\x0c",
        "\0\x01",
        "\0\u{29}",
        "\x3f",
    ],
};

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

fn run(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(fuzz::dns(input));
}
