//! Addresses as names, for reverse look-ups.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V4: &str = ".in-addr.arpa";
const V6: &str = ".ip6.arpa";

/// The address of a reverse name; `None` for any other name.
pub fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(V4) {
        let octets: Vec<u8> =
            octets.split('.').map(|o| o.parse().ok()).collect::<Option<Vec<u8>>>()?;
        let [d, c, b, a] = octets[..] else { return None };
        return Some(Ipv4Addr::new(a, b, c, d).into());
    }
    let nibbles = name.strip_suffix(V6)?;
    if nibbles.len() != 63 {
        return None;
    }
    let mut bits = 0u128;
    for (i, nibble) in nibbles.split('.').enumerate() {
        if nibble.len() != 1 || i >= 32 {
            return None;
        }
        bits |= u128::from(nibble.chars().next()?.to_digit(16)?) << (4 * i);
    }
    Some(Ipv6Addr::from_bits(bits).into())
}

/// The reverse name of an address.
pub fn name_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(a) => {
            let [a, b, c, d] = a.octets();
            format!("{d}.{c}.{b}.{a}{V4}")
        }
        IpAddr::V6(a) => {
            let bits = a.to_bits();
            let nibbles: Vec<String> =
                (0..32).map(|i| format!("{:x}", bits >> (4 * i) & 0xf)).collect();
            format!("{}{V6}", nibbles.join("."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_turn_into_each_other() {
        for (address, name) in [
            ("10.96.0.1", "1.0.96.10.in-addr.arpa"),
            (
                "2001:db8::1",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(name_of(address), name);
            assert_eq!(address_of(name), Some(address));
        }
        for bad in ["0.96.10.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "256.1.1.1.in-addr.arpa", "x"]
        {
            assert_eq!(address_of(bad), None, "{bad}");
        }
    }
}
