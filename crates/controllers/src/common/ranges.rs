//! IPv4 ranges, such as `10.244.0.0/16`.

use core::fmt;
use core::net::Ipv4Addr;

/// A range of IPv4 addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    first: u32,
    bits: u8,
}

impl Range {
    /// Reads `a.b.c.d/n`; bits below the mask do not count.
    pub fn parse(text: &str) -> Option<Range> {
        let (address, bits) = text.split_once('/')?;
        let bits: u8 = bits.parse().ok().filter(|b| *b <= 32)?;
        let address: Ipv4Addr = address.parse().ok()?;
        Some(Range { first: u32::from(address) & mask(bits), bits })
    }

    /// The first address that a host can have.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.first.saturating_add(1))
    }

    /// Whether the address is in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.bits) == self.first
    }

    /// Whether an address is in both.
    pub fn overlaps(&self, other: &Range) -> bool {
        let bits = self.bits.min(other.bits);
        self.first & mask(bits) == other.first & mask(bits)
    }

    /// The range cut into ranges of this mask; none where they would be larger than it.
    pub fn parts(self, bits: u8) -> impl Iterator<Item = Range> {
        let fits = bits >= self.bits && bits <= 32;
        let count = if fits { 1u64 << (bits - self.bits) } else { 0 };
        let step = if fits { 1u64 << (32 - bits) } else { 0 };
        (0..count).map(move |n| Range { first: self.first + (n * step) as u32, bits })
    }
}

fn mask(bits: u8) -> u32 {
    if bits == 0 { 0 } else { u32::MAX << (32 - bits) }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.bits)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn ranges_are_cut_and_compared() {
        let all = Range::parse("10.244.0.9/22").unwrap();
        let parts: Vec<_> = all.parts(24).map(|p| p.to_string()).collect();
        assert_eq!(parts, ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]);
        assert_eq!(all.parts(20).count(), 0);
        let part = Range::parse("10.244.3.0/24").unwrap();
        assert!(all.overlaps(&part) && part.overlaps(&all));
        assert!(!part.overlaps(&Range::parse("10.244.4.0/24").unwrap()));
        assert!(part.contains(Ipv4Addr::new(10, 244, 3, 255)));
        assert!(!part.contains(Ipv4Addr::new(10, 244, 4, 0)));
        assert_eq!(part.gateway(), Ipv4Addr::new(10, 244, 3, 1));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/64", "x/8"] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
        assert!(Range::parse("0.0.0.0/0").unwrap().overlaps(&part));
    }
}
