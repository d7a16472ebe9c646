//! SPDY frames of exec, attach and port-forward.

use timonier_node::fuzz;

use crate::Target;

pub const TARGET: Target = Target {
    name: "spdy",
    run: |input| {
        fuzz::spdy(input);
    },
    seeds: || {
        vec![
            vec![0, 0, 0, 1, 1, 0, 0, 3, b'a', b'b', b'c'],
            vec![0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 9],
            vec![0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 5],
            // A stream whose header block is a stored zlib block without the dictionary.
            [
                &[0x80, 3, 0, 1, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
                &[0x78, 0x9c, 0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            ]
            .concat(),
        ]
    },
    words: &["\x78\u{9c}", "\0\0\0\x01", "\0\x03", "\u{bb}", "streamtype"],
};
