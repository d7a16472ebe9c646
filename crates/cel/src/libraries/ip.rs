//! IP addresses.

use alloc::format;
use alloc::string::{String, ToString};
use core::net::IpAddr;

use super::Opaque;
use crate::error::EvalError;
use crate::functions::convert::quoted;
use crate::functions::{Function, Out, function};
use crate::value::Val;

pub(crate) const FUNCTIONS: &[Function] = &[
    function("isIP", &["s:b"], |args, _| match args {
        [Val::Str(s)] => Ok(parse(s).is_ok().into()),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("ip", &["s:I"], |args, _| match args {
        [Val::Str(s)] => parse(s).map(val).map_err(EvalError::new),
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("ip.isCanonical", &["s:b"], |args, _| match args {
        [Val::Str(s)] => match parse(s) {
            Ok(ip) => Ok((ip.to_string() == s.as_str()).into()),
            Err(why) => Err(EvalError::new(why)),
        },
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("string", &["I:s"], |args, _| with(args, |ip| ip.to_string().into())),
    function("family", &[".I:i"], |args, _| {
        with(args, |ip| Val::Int(if ip.is_ipv4() { 4 } else { 6 }))
    }),
    function("isUnspecified", &[".I:b"], |args, _| with(args, |ip| ip.is_unspecified().into())),
    function("isLoopback", &[".I:b"], |args, _| with(args, |ip| ip.is_loopback().into())),
    function("isLinkLocalMulticast", &[".I:b"], |args, _| {
        with(args, |ip| link_local_multicast(ip).into())
    }),
    function("isLinkLocalUnicast", &[".I:b"], |args, _| {
        with(args, |ip| link_local_unicast(ip).into())
    }),
    function("isGlobalUnicast", &[".I:b"], |args, _| with(args, |ip| global_unicast(ip).into())),
];

pub(super) fn val<'a>(ip: IpAddr) -> Val<'a> {
    Val::Opaque(Opaque::Ip(ip))
}

fn with<'a>(args: &[Val<'a>], run: fn(IpAddr) -> Val<'a>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Ip(ip))] => Ok(run(*ip)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// Reads an address; zones and IPv4 mapped into IPv6 are refused, as upstream does.
pub(super) fn parse(text: &str) -> Result<IpAddr, String> {
    let quoted = quoted(text);
    let ip: IpAddr = match text.parse() {
        Ok(ip) => ip,
        Err(_) if text.contains('%') => {
            return Err(format!("IP address {quoted} with zone value is not allowed"));
        }
        Err(_) => {
            return Err(format!(
                "IP Address {quoted} parse error during conversion from string: ParseAddr({quoted}): unable to parse IP"
            ));
        }
    };
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {quoted} is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.octets()[0] == 0xff && ip.octets()[1] & 0x0f == 2,
    }
}

fn link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn global_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast
        || ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || link_local_unicast(ip))
}
