//! Answers to names of the cluster, as the Kubernetes DNS specification 1.1 has them and
//! upstream's CoreDNS gives them (its `kubernetes` plug-in with `pods insecure`).
//!
//! Names come without their final dot, in lower case.

mod index;
mod reverse;

pub use index::Index;
pub use reverse::{address_of, name_of};

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smol_str::SmolStr;

/// What the answers need to know of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone {
    /// Such as `cluster.local`.
    pub domain: SmolStr,
    /// The address of the cluster's DNS.
    pub server: IpAddr,
    /// Seconds that an answer may be kept.
    pub ttl: u32,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    A,
    Aaaa,
    Cname,
    Srv,
    Ptr,
    Txt,
    Ns,
    Soa,
    Any,
    Other,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub name: String,
    /// Seconds.
    pub ttl: u32,
    pub data: Data,
}

/// A record's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    Srv { priority: u16, weight: u16, port: u16, target: String },
    Ptr(String),
    Txt(String),
    Ns(String),
    Soa { server: String, contact: String, serial: u32, minimum: u32 },
}

/// The answer to a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Not a name of the cluster: others know.
    Elsewhere,
    /// There is no such name.
    NoName,
    /// The name is there, without such a record.
    NoData,
    Found {
        answers: Vec<Record>,
        additionals: Vec<Record>,
    },
}

impl Answer {
    fn of(answers: Vec<Record>) -> Answer {
        if answers.is_empty() {
            Answer::NoData
        } else {
            Answer::Found { answers, additionals: Vec::new() }
        }
    }
}
