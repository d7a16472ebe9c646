//! What containers answer to gRPC probes.

use timonier_node::fuzz;

use crate::Target;

pub const TARGET: Target = Target {
    name: "grpc",
    run: |input| {
        fuzz::grpc(input);
    },
    seeds: || vec![vec![0, 0, 0, 0, 2, 8, 1], vec![0, 0, 0, 0, 5, 18, 1, 65, 8, 2], vec![0; 5]],
    words: &["\x08", "\x12", "\u{ff}"],
};
