//! Quantities: as text they are read back the same.

use std::hint::black_box;

use timonier_meta::Quantity;

use crate::{Target, texts};

pub const TARGET: Target = Target {
    name: "quantity",
    run,
    seeds: || {
        texts(&[
            "0",
            "1",
            "-1.5",
            "100m",
            "1.5Gi",
            "12e6",
            "3E-3",
            "+.5k",
            "9223372036854775807",
            "1n",
            "5u",
            "7Ei",
            "0.0000000001",
            "1e-99",
        ])
    },
    words: &[
        "m",
        "k",
        "M",
        "G",
        "T",
        "P",
        "E",
        "n",
        "u",
        "Ki",
        "Mi",
        "Gi",
        "Ti",
        "Pi",
        "Ei",
        "e",
        "E-",
        ".",
        "-",
        "+",
        "000000000000000000000",
        "999999999999999999999",
    ],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(quantity) = Quantity::parse(text) else { return };
    let again = quantity.to_string();
    let Ok(read) = Quantity::parse(&again) else { panic!("{again:?} cannot be read back") };
    assert_eq!(read, quantity, "read back from {again:?}");
    assert_eq!(read.to_string(), again);
    black_box((
        quantity.value(),
        quantity.milli_value(),
        quantity.as_f64(),
        quantity.is_negative(),
    ));
}
