//! What the fuzzer reaches into: decoders that are private otherwise.

use crate::netlink::message;

/// Reads what a netlink socket gave; gives how many attributes there are, two deep.
pub fn netlink(bytes: &[u8]) -> usize {
    let count = |body: &[u8]| -> usize {
        let inner = |value: &[u8]| {
            drop((message::text(value), message::be32(value), message::native32(value)));
            message::attributes(value).count()
        };
        message::attributes(body).map(|(_, value)| 1 + inner(value)).sum()
    };
    message::messages(bytes).iter().map(|m| count(&m.body)).sum()
}
