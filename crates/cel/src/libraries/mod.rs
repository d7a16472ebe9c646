//! Kubernetes' own types: one library, one file.

pub(crate) mod authorizer;
pub(crate) mod cidr;
pub(crate) mod ip;
pub(crate) mod named_format;
pub(crate) mod quantity;
pub(crate) mod semver;
pub(crate) mod url;

use alloc::sync::Arc;
use core::net::IpAddr;

use timonier_meta::Quantity;

/// A value of a library.
#[derive(Clone, Debug)]
pub enum Opaque<'a> {
    Url(Arc<url::Url>),
    Quantity(Quantity),
    Ip(IpAddr),
    Cidr(cidr::Cidr),
    Semver(Arc<semver::Version>),
    Format(&'static named_format::Format),
    Authorizer(authorizer::Check<'a>),
    PathCheck(authorizer::Check<'a>),
    GroupCheck(authorizer::Check<'a>),
    ResourceCheck(authorizer::Check<'a>),
    Decision(Arc<authorizer::Decision>),
}

impl Opaque<'_> {
    /// The name of the type.
    pub(crate) fn type_name(&self) -> &'static str {
        let letter = match self {
            Opaque::Url(_) => 'U',
            Opaque::Quantity(_) => 'Q',
            Opaque::Ip(_) => 'I',
            Opaque::Cidr(_) => 'C',
            Opaque::Semver(_) => 'V',
            Opaque::Format(_) => 'F',
            Opaque::Authorizer(_) => 'a',
            Opaque::PathCheck(_) => 'P',
            Opaque::GroupCheck(_) => 'G',
            Opaque::ResourceCheck(_) => 'R',
            Opaque::Decision(_) => 'O',
        };
        opaque_type(letter).unwrap_or("")
    }
}

impl PartialEq for Opaque<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Opaque::Url(a), Opaque::Url(b)) => a.text == b.text,
            (Opaque::Quantity(a), Opaque::Quantity(b)) => a == b,
            (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
            (Opaque::Cidr(a), Opaque::Cidr(b)) => a == b,
            (Opaque::Semver(a), Opaque::Semver(b)) => a.cmp(b).is_eq(),
            (Opaque::Format(a), Opaque::Format(b)) => a.name == b.name,
            (Opaque::Decision(a), Opaque::Decision(b)) => a == b,
            _ => false,
        }
    }
}

/// The type that a letter stands for in signatures.
pub(crate) fn opaque_type(letter: char) -> Option<&'static str> {
    Some(match letter {
        'U' => "kubernetes.URL",
        'Q' => "kubernetes.Quantity",
        'I' => "net.IP",
        'C' => "net.CIDR",
        'V' => "kubernetes.Semver",
        'F' => "kubernetes.NamedFormat",
        'a' => authorizer::TYPE,
        'P' => "kubernetes.authorization.PathCheck",
        'G' => "kubernetes.authorization.GroupCheck",
        'R' => authorizer::RESOURCE_TYPE,
        'O' => "kubernetes.authorization.Decision",
        _ => return None,
    })
}
