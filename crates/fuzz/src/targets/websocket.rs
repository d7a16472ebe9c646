//! WebSocket messages of exec, attach and port-forward.

use timonier_node::fuzz;

use crate::Target;

pub const TARGET: Target = Target {
    name: "websocket",
    run,
    seeds: || {
        vec![
            vec![0x82, 0x84, 1, 2, 3, 4, 1, b'a' ^ 2, b'b' ^ 3, b'c' ^ 4],
            vec![0x81, 0x85, 0, 0, 0, 0, b'0', b'Y', b'Q', b'=', b'='],
            vec![0x88, 0x82, 0, 0, 0, 0, 3, 0xe8],
            vec![0x02, 0x81, 0, 0, 0, 0, 1, 0x80, 0x81, 0, 0, 0, 0, 2, 0x89, 0x80, 0, 0, 0, 0],
            vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
        ]
    },
    words: &["\0\0\0\0", "\x7e", "\x7f"],
};

fn run(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let Ok(runtime) = runtime else { return };
    for base64 in [false, true] {
        runtime.block_on(fuzz::websocket(input, base64));
    }
}
