//! Address ranges.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address range in CIDR form. The host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cidr {
    network: IpAddr,
    length: u8,
}

impl Cidr {
    /// The range around an address; host bits are cleared. `None` where the length does not fit
    /// the address family.
    pub fn new(address: IpAddr, length: u8) -> Option<Cidr> {
        let network = match address {
            IpAddr::V4(a) if length <= 32 => IpAddr::V4(Ipv4Addr::from_bits(
                a.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0),
            )),
            IpAddr::V6(a) if length <= 128 => IpAddr::V6(Ipv6Addr::from_bits(
                a.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0),
            )),
            _ => return None,
        };
        Some(Cidr { network, length })
    }

    /// Reads `10.244.0.0/16`. Host bits are cleared, as Go's `net.ParseCIDR` does for the network.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, length) = text.trim().split_once('/')?;
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Cidr::new(address.parse().ok()?, length.parse().ok()?)
    }

    /// The range of one address.
    pub fn host(address: IpAddr) -> Cidr {
        Cidr { network: address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The first address.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// The number of network bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        match self.network {
            IpAddr::V4(a) => {
                let host = u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() | host))
            }
            IpAddr::V6(a) => {
                let host = u128::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() | host))
            }
        }
    }

    /// The address `offset` after the first; `None` outside the range.
    pub fn nth(&self, offset: u32) -> Option<IpAddr> {
        let address = match self.network {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits().checked_add(offset)?)),
            IpAddr::V6(a) => {
                IpAddr::V6(Ipv6Addr::from_bits(a.to_bits().checked_add(u128::from(offset))?))
            }
        };
        self.contains(address).then_some(address)
    }

    /// Whether an address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        Cidr::new(address, self.length)
            .is_some_and(|c| c.network == self.network && address.is_ipv4() == self.is_ipv4())
    }

    /// Whether an address is in both.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The range cut into ranges of this length; none where they would be larger than it. Only
    /// ranges of IPv4 are cut.
    pub fn parts(self, length: u8) -> impl Iterator<Item = Cidr> {
        let first = match self.network {
            IpAddr::V4(a) if (self.length..=32).contains(&length) => Some(a.to_bits()),
            _ => None,
        };
        let count = first.map_or(0, |_| 1u64 << (length - self.length));
        let part = move |n: u64| {
            let bits = first? + ((n << (32 - length)) as u32);
            Some(Cidr { network: Ipv4Addr::from_bits(bits).into(), length })
        };
        (0..count).filter_map(part)
    }

    /// Whether the range is one of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.network.is_ipv4()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_cut_and_compared() {
        let range = |text: &str| Cidr::parse(text).unwrap();
        let all = range("10.244.0.9/22");
        let parts: alloc::vec::Vec<_> = all.parts(24).map(|p| p.to_string()).collect();
        assert_eq!(parts, ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]);
        assert_eq!(all.parts(20).count() + all.parts(33).count(), 0);
        assert_eq!(range("fd00::/48").parts(64).count(), 0);
        assert_eq!(range("0.0.0.0/0").parts(1).count(), 2);
        let part = range("10.244.3.0/24");
        assert!(all.overlaps(&part) && part.overlaps(&all));
        assert!(!part.overlaps(&range("10.244.4.0/24")));
        assert!(range("0.0.0.0/0").overlaps(&part) && !range("::/0").overlaps(&part));
    }

    #[test]
    fn ranges_read_contain_and_count() {
        let c = Cidr::parse("10.244.3.9/24").unwrap();
        assert_eq!(c.to_string(), "10.244.3.0/24");
        assert_eq!(c.last(), ip("10.244.3.255"));
        assert_eq!(c.nth(1), Some(ip("10.244.3.1")));
        assert_eq!(c.nth(256), None);
        assert!(c.contains(ip("10.244.3.77")) && !c.contains(ip("10.244.4.1")));
        assert!(!Cidr::parse("0.0.0.0/0").unwrap().contains(ip("::1")));
        assert!(Cidr::parse("0.0.0.0/0").unwrap().contains(ip("255.1.2.3")));
        assert_eq!(Cidr::parse("fd00::1/64").unwrap().last(), ip("fd00::ffff:ffff:ffff:ffff"));
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+3", "x/8", "10.0.0.0/", "::/129"] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
    }
}
