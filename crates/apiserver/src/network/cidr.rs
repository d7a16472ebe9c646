//! Ranges of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range such as `10.96.0.0/16`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    base: u128,
    prefix: u8,
    ipv4: bool,
}

impl Cidr {
    /// Reads a range; bits below the prefix are cut.
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, prefix) = text.split_once('/')?;
        let (ip, prefix): (IpAddr, u8) = (ip.parse().ok()?, prefix.parse().ok()?);
        let ipv4 = ip.is_ipv4();
        let bits = if ipv4 { 32 } else { 128 };
        // Below two addresses there is nothing to hand out.
        (prefix < bits).then(|| {
            let size = bits - prefix;
            let base = if size == 128 { 0 } else { number(&ip) >> size << size };
            Cidr { base, prefix, ipv4 }
        })
    }

    /// Whether the addresses are IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.ipv4
    }

    /// `IPv4` or `IPv6`.
    pub fn family(&self) -> &'static str {
        if self.ipv4 { "IPv4" } else { "IPv6" }
    }

    /// Whether the address can be handed out: in the range, not its first, and of IPv4 not its
    /// last.
    pub fn contains(&self, ip: &IpAddr) -> bool {
        let offset = number(ip).wrapping_sub(self.base);
        ip.is_ipv4() == self.ipv4 && offset >= 1 && offset <= self.last()
    }

    /// The address at an offset from the range's first.
    pub fn nth(&self, offset: u128) -> IpAddr {
        let n = self.base.wrapping_add(offset);
        if self.ipv4 { IpAddr::V4(Ipv4Addr::from(n as u32)) } else { IpAddr::V6(Ipv6Addr::from(n)) }
    }

    /// The largest offset to hand out.
    fn last(&self) -> u128 {
        let bits = if self.ipv4 { 32 } else { 128 };
        // Upstream looks at 64 bits of an IPv6 range at most.
        let size = 1u128 << u32::from(bits - self.prefix).min(64);
        if self.ipv4 { size.saturating_sub(2).max(1) } else { size - 1 }
    }

    /// Addresses to try, the upper part of the range first, from a random place on.
    pub fn candidates(self, random: u64) -> impl Iterator<Item = IpAddr> {
        let last = self.last();
        // Upstream's size of the band for addresses that are chosen: 16 to 256.
        let band = (last / 16).clamp(16, 256).min(last);
        let band = if last <= 16 { 0 } else { band };
        let upper = last - band;
        let start = if upper == 0 { 0 } else { u128::from(random) % upper };
        (0..upper.min(1 << 20))
            .map(move |i| band + 1 + (start + i) % upper)
            .chain(1..=band)
            .map(move |offset| self.nth(offset))
    }
}

fn number(ip: &IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(*ip)),
        IpAddr::V6(ip) => u128::from(*ip),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.nth(0), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_hand_out_every_usable_address_once() {
        let cidr = Cidr::parse("10.96.0.0/24").unwrap();
        let all: Vec<IpAddr> = cidr.candidates(7).collect();
        let set: BTreeSet<IpAddr> = all.iter().copied().collect();
        assert_eq!((all.len(), set.len()), (254, 254));
        assert!(set.iter().all(|ip| cidr.contains(ip)));
        assert!(!cidr.contains(&"10.96.0.0".parse().unwrap()));
        assert!(!cidr.contains(&"10.96.0.255".parse().unwrap()));
        assert!(all[0] > "10.96.0.16".parse::<IpAddr>().unwrap());
        assert_eq!(cidr.to_string(), "10.96.0.0/24");
        assert_eq!(Cidr::parse("fd00::5/108").unwrap().nth(1).to_string(), "fd00::1");
        for bad in ["", "10.0.0.0", "10.0.0.0/32", "10.0.0.0/33", "x/8", "::/129"] {
            assert!(Cidr::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(Cidr::parse("10.0.0.0/30").unwrap().candidates(1).count(), 2);
    }
}
