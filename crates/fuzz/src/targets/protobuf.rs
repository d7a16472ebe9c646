//! Protobuf as Kubernetes wraps it: what is decoded can be encoded as JSON.

use timonier_schema::protobuf;

use crate::Target;

pub const TARGET: Target = Target {
    name: "protobuf",
    run,
    seeds: || {
        let meta = field(1, &field(1, b"name"));
        let labelled = field(
            1,
            &[field(1, b"n"), field(11, &[field(1, b"k"), field(2, b"v")].concat())].concat(),
        );
        let container = [
            field(1, b"main"),
            field(2, b"nginx"),
            field(8, &field(1, &[field(1, b"cpu"), field(2, &field(1, b"100m"))].concat())),
        ]
        .concat();
        vec![
            unknown(
                "v1",
                "ConfigMap",
                &[meta.clone(), field(2, &[field(1, b"k"), field(2, b"v")].concat())].concat(),
            ),
            unknown(
                "v1",
                "Pod",
                &[labelled, field(2, &[field(2, &container), vec![0x20, 30]].concat())].concat(),
            ),
            unknown(
                "v1",
                "Secret",
                &[meta.clone(), field(2, &[field(1, b"k"), field(2, &[0, 255])].concat())].concat(),
            ),
            unknown("apps/v1", "Deployment", &[meta, field(2, &[0x08, 3])].concat()),
            unknown("meta.k8s.io/v1", "DeleteOptions", &[0x08, 0]),
        ]
    },
    words: &[
        "k8s\0", "\x0a", "\x12", "\x1a", "\x08", "\x0a\x00", "\u{7f}", "v1", "Pod", "Node", "List",
        "\x0b", "\x0c",
    ],
};

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// `runtime.Unknown` behind its magic bytes.
fn unknown(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
}

fn run(input: &[u8]) {
    if let Ok(value) = protobuf::decode(super::catalogue(), input) {
        super::assert_encodes(&value);
    }
}
