//! Ranges of IP addresses.

use alloc::format;
use alloc::string::String;
use core::net::IpAddr;

use super::{Opaque, ip};
use crate::error::EvalError;
use crate::functions::convert::quoted;
use crate::functions::{Function, Out, function};
use crate::value::Val;

/// An address and the number of bits that a range's addresses share with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

pub(crate) const FUNCTIONS: &[Function] = &[
    function("isCIDR", &["s:b"], |args, _| match args {
        [Val::Str(s)] => Ok(parse(s).is_ok().into()),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("cidr", &["s:C"], |args, _| match args {
        [Val::Str(s)] => parse(s).map(val).map_err(EvalError::new),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("string", &["C:s"], |args, _| with(args, |c| format!("{}/{}", c.ip, c.bits).into())),
    function("ip", &[".C:I"], |args, _| with(args, |c| ip::val(c.ip))),
    function("prefixLength", &[".C:i"], |args, _| with(args, |c| Val::Int(c.bits.into()))),
    function("masked", &[".C:C"], |args, _| with(args, |c| val(Cidr { ip: c.first(), ..c }))),
    function("containsIP", &[".CI:b", ".Cs:b"], contains_ip),
    function("containsCIDR", &[".CC:b", ".Cs:b"], contains_cidr),
];

fn val<'a>(cidr: Cidr) -> Val<'a> {
    Val::Opaque(Opaque::Cidr(cidr))
}

fn with<'a>(args: &[Val<'a>], run: fn(Cidr) -> Val<'a>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Cidr(cidr))] => Ok(run(*cidr)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn parse(text: &str) -> Result<Cidr, String> {
    let quoted = quoted(text);
    let error = |why: &str| {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({quoted}): {why}"
        )
    };
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| error("no '/'"))?;
    let ip: IpAddr = match address.parse() {
        Ok(ip) => ip,
        Err(_) if address.contains('%') => {
            return Err(error("IPv6 zones cannot be present in a prefix"));
        }
        Err(_) => return Err(error("unable to parse IP")),
    };
    if matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(format!("IPv4-mapped IPv6 address {quoted} is not allowed"));
    }
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let plain = bits == "0" || !bits.starts_with('0') && bits.bytes().all(|c| c.is_ascii_digit());
    match bits.parse::<u8>() {
        Ok(bits) if plain && bits <= most => Ok(Cidr { ip, bits }),
        Ok(_) if plain => Err(error("prefix length out of range")),
        _ => Err(error("bad bits after slash")),
    }
}

impl Cidr {
    /// The address with all bits beyond the prefix cleared.
    fn first(&self) -> IpAddr {
        let rest = |width: u8| u32::from(width.saturating_sub(self.bits));
        match self.ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(rest(32)).unwrap_or(0);
                IpAddr::V4((ip.to_bits() & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(rest(128)).unwrap_or(0);
                IpAddr::V6((ip.to_bits() & mask).into())
            }
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.ip.is_ipv4() == ip.is_ipv4() && Cidr { ip, bits: self.bits }.first() == self.first()
    }
}

fn contains_ip<'a>(args: &[Val<'a>], _: &crate::functions::Site<'_>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Cidr(c)), Val::Opaque(Opaque::Ip(ip))] => Ok(c.contains(*ip).into()),
        [Val::Opaque(Opaque::Cidr(c)), Val::Str(s)] => {
            Ok(c.contains(ip::parse(s).map_err(EvalError::new)?).into())
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn contains_cidr<'a>(args: &[Val<'a>], _: &crate::functions::Site<'_>) -> Out<'a> {
    let (outer, inner) = match args {
        [Val::Opaque(Opaque::Cidr(c)), Val::Opaque(Opaque::Cidr(inner))] => (c, *inner),
        [Val::Opaque(Opaque::Cidr(c)), Val::Str(s)] => (c, parse(s).map_err(EvalError::new)?),
        _ => return Err(EvalError::NoSuchOverload),
    };
    Ok((outer.bits <= inner.bits && outer.contains(inner.ip)).into())
}
