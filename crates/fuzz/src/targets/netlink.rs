//! What the kernel answers: messages with attributes in them.

use timonier_network::fuzz;

use crate::Target;

pub const TARGET: Target = Target {
    name: "netlink",
    run: |input| {
        fuzz::netlink(input);
    },
    seeds: || {
        let attribute = [8u16.to_ne_bytes(), 3u16.to_ne_bytes(), [b'e', b't'], [b'h', 0]].concat();
        let length = (16 + attribute.len()) as u32;
        let head = [&length.to_ne_bytes()[..], &16u16.to_ne_bytes(), &2u16.to_ne_bytes(), &[0; 8]];
        vec![[&head.concat()[..], &attribute[..]].concat()]
    },
    words: &["\x04\0\0\0", "\x10\0\0\0", "\0\0\0\0"],
};
