//! nf_tables over netlink: a transaction is one batch of messages in one send.

mod dump;
mod expr;
pub mod kernel;

pub use dump::{chains, elements, has_table};
pub use expr::{Expr, Register, Verdict};

use std::io;

use crate::netlink::Socket;
use crate::netlink::message::{Writer, flag};
use crate::{Error, Result};
use kernel as k;

/// An attribute holds at most 64 KiB; lists of elements are split well below.
const LIST_LIMIT: usize = 48 << 10;

/// The value of a map's elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Values {
    None,
    Verdict,
    /// Bytes of this length.
    Bytes(u32),
}

/// A set or map.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    pub name: &'static str,
    /// The lengths of the key's fields in bytes, each a multiple of 4.
    pub key: &'static [u32],
    pub values: Values,
    /// Keys are ranges.
    pub ranges: bool,
    /// Rules add elements, at most so many; 0 where they do not.
    pub dynamic: u32,
}

/// An element as bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ElementBytes {
    pub key: Vec<u8>,
    /// The last key of a range.
    pub end: Option<Vec<u8>>,
    pub value: Option<Data>,
}

/// A map's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    Bytes(Vec<u8>),
    Verdict(Verdict),
}

/// A base chain's place.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// `nat` or `filter`.
    pub kind: &'static str,
    pub hook: u32,
    pub priority: i32,
}

/// One transaction on one table of IPv4.
pub struct Batch<'a> {
    table: &'a str,
    writer: Writer,
    sequence: u32,
    /// What each message does, for errors.
    labels: Vec<String>,
}

impl<'a> Batch<'a> {
    /// An empty transaction.
    pub fn new(table: &'a str) -> Batch<'a> {
        let mut batch = Batch { table, writer: Writer::default(), sequence: 1, labels: Vec::new() };
        batch.writer.begin(k::BATCH_BEGIN, flag::REQUEST, 1, &[0, 0, 0, 10]).end();
        batch
    }

    /// Makes the table, unless it is there.
    pub fn add_table(&mut self) {
        self.message(
            k::NEW_TABLE,
            flag::CREATE,
            || "add table".into(),
            |w, table| {
                w.text(1, table);
            },
        );
    }

    /// Removes the table with all that it holds.
    pub fn delete_table(&mut self) {
        self.message(
            k::DELETE_TABLE,
            0,
            || "delete table".into(),
            |w, table| {
                w.text(1, table);
            },
        );
    }

    /// Makes a chain, with a hook a base chain, unless it is there.
    pub fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        self.message(
            k::NEW_CHAIN,
            flag::CREATE,
            || format!("add chain {name}"),
            |w, table| {
                w.text(1, table).text(3, name);
                if let Some(hook) = hook {
                    w.nest(4, |w| {
                        w.be32(1, hook.hook).be32(2, hook.priority as u32);
                    });
                    w.text(7, hook.kind);
                }
            },
        );
    }

    /// Removes a chain that nothing refers to.
    pub fn delete_chain(&mut self, name: &str) {
        self.message(
            k::DELETE_CHAIN,
            0,
            || format!("delete chain {name}"),
            |w, table| {
                w.text(1, table).text(3, name);
            },
        );
    }

    /// Removes a chain's rules.
    pub fn flush_chain(&mut self, name: &str) {
        self.message(
            k::DELETE_RULE,
            0,
            || format!("flush chain {name}"),
            |w, table| {
                w.text(1, table).text(2, name);
            },
        );
    }

    /// Appends a rule.
    pub fn add_rule(&mut self, chain: &str, rule: &[Expr]) {
        let flags = flag::CREATE | flag::APPEND;
        self.message(
            k::NEW_RULE,
            flags,
            || format!("add rule to {chain}"),
            |w, table| {
                w.text(1, table).text(2, chain);
                w.nest(4, |w| rule.iter().for_each(|e| e.write(w)));
            },
        );
    }

    /// Makes a set or map, unless it is there.
    pub fn add_set(&mut self, set: &Set) {
        let id = self.sequence + 1;
        self.message(
            k::NEW_SET,
            flag::CREATE,
            || format!("add set {}", set.name),
            |w, table| {
                let concatenated = set.key.len() > 1;
                let mut flags = match set.values {
                    Values::None => 0,
                    Values::Verdict | Values::Bytes(_) => 8,
                };
                flags |= if set.ranges { 4 } else { 0 };
                flags |= if set.ranges && concatenated { 0x80 } else { 0 };
                flags |= if set.dynamic > 0 { 0x30 } else { 0 };
                w.text(1, table).text(2, set.name).be32(3, flags);
                w.be32(4, 0).be32(5, set.key.iter().sum());
                match set.values {
                    Values::None => {}
                    Values::Verdict => {
                        w.be32(6, k::VERDICT_DATA);
                    }
                    Values::Bytes(length) => {
                        w.be32(6, 0).be32(7, length);
                    }
                }
                w.nest(9, |w| {
                    if set.dynamic > 0 {
                        w.be32(1, set.dynamic);
                    }
                    if set.ranges && concatenated {
                        w.nest(2, |w| {
                            for length in set.key {
                                w.nest(1, |w| {
                                    w.be32(1, *length);
                                });
                            }
                        });
                    }
                });
                w.be32(10, id);
            },
        );
    }

    /// Removes all elements.
    pub fn flush_set(&mut self, set: &str) {
        self.message(
            k::DELETE_ELEMENT,
            0,
            || format!("flush set {set}"),
            |w, table| {
                w.text(1, table).text(2, set);
            },
        );
    }

    /// Adds elements that are not there yet.
    pub fn add_elements(&mut self, set: &str, elements: &[ElementBytes]) {
        let flags = flag::CREATE | flag::EXCL;
        self.elements(k::NEW_ELEMENT, flags, "add to", set, elements);
    }

    /// Removes elements that are there.
    pub fn delete_elements(&mut self, set: &str, elements: &[ElementBytes]) {
        self.elements(k::DELETE_ELEMENT, 0, "delete from", set, elements);
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        verb: &str,
        set: &str,
        elements: &[ElementBytes],
    ) {
        let mut rest = elements.iter().peekable();
        while rest.peek().is_some() {
            self.message(
                kind,
                flags,
                || format!("{verb} {set}"),
                |w, table| {
                    w.text(1, table).text(2, set);
                    w.nest(3, |w| {
                        while let Some(element) = rest.next_if(|_| w.len() < LIST_LIMIT) {
                            write_element(w, element, kind == k::NEW_ELEMENT);
                        }
                    });
                },
            );
        }
    }

    /// Carries the transaction out: all of it, or with an error nothing.
    pub fn commit(mut self, socket: &mut Socket) -> Result<()> {
        if self.labels.is_empty() {
            return Ok(());
        }
        // The acknowledgement of the last message stands for all.
        self.writer.add_flags(flag::ACK);
        let last = self.sequence;
        self.writer.begin(k::BATCH_END, flag::REQUEST, last + 1, &[0, 0, 0, 10]).end();
        let failed = |what: String, source: io::Error| Error::Io {
            what: format!("nf_tables table {}: {what}", self.table),
            source,
        };
        socket.send(self.writer.bytes()).map_err(|e| failed("send".into(), e))?;
        match socket.batch_answer(1, last).map_err(|e| failed("answer".into(), e))? {
            Ok(()) => Ok(()),
            Err((sequence, source)) => {
                let label = self.labels.get((sequence as usize).wrapping_sub(2));
                Err(failed(label.cloned().unwrap_or_else(|| "transaction".into()), source))
            }
        }
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        label: impl FnOnce() -> String,
        fill: impl FnOnce(&mut Writer, &str),
    ) {
        self.sequence += 1;
        self.labels.push(label());
        let body = [k::FAMILY_V4 as u8, 0, 0, 0];
        self.writer.begin(kind, flags | flag::REQUEST, self.sequence, &body);
        fill(&mut self.writer, self.table);
        self.writer.end();
    }
}

fn write_element(w: &mut Writer, element: &ElementBytes, with_value: bool) {
    w.nest(1, |w| {
        w.nest(1, |w| {
            w.attr(1, &element.key);
        });
        match &element.value {
            Some(Data::Bytes(bytes)) if with_value => {
                w.nest(2, |w| {
                    w.attr(1, bytes);
                });
            }
            Some(Data::Verdict(v)) if with_value => {
                w.nest(2, |w| expr::verdict(w, v));
            }
            _ => {}
        }
        if let Some(end) = &element.end {
            w.nest(10, |w| {
                w.attr(1, end);
            });
        }
    });
}
