//! Reading tables back.

use std::io;

use super::{Data, ElementBytes, Verdict, kernel as k};
use crate::netlink::Socket;
use crate::netlink::message::{attribute, attributes, be32, text};

const BODY: [u8; 4] = [k::FAMILY_V4 as u8, 0, 0, 0];

/// Whether the table is there.
pub fn has_table(socket: &mut Socket, table: &str) -> io::Result<bool> {
    let found = socket.dump(k::GET_TABLE, &BODY, |_| {})?;
    Ok(found.iter().any(|m| name_of(&m.body, 1).is_some_and(|n| n == table)))
}

/// The names of a table's chains.
pub fn chains(socket: &mut Socket, table: &str) -> io::Result<Vec<String>> {
    let found = socket.dump(k::GET_CHAIN, &BODY, |_| {})?;
    Ok(found
        .iter()
        .filter(|m| name_of(&m.body, 1).is_some_and(|n| n == table))
        .filter_map(|m| name_of(&m.body, 3))
        .collect())
}

/// The elements of a set or map.
pub fn elements(socket: &mut Socket, table: &str, set: &str) -> io::Result<Vec<ElementBytes>> {
    let found = socket.dump(k::GET_ELEMENT, &BODY, |w| {
        w.text(1, table).text(2, set);
    })?;
    let mut all = Vec::new();
    for message in found {
        let Some(list) = message.body.get(4..).and_then(|b| attribute(b, 3)) else { continue };
        all.extend(attributes(list).map(|(_, item)| element(item)));
    }
    Ok(all)
}

fn name_of(body: &[u8], kind: u16) -> Option<String> {
    attribute(body.get(4..)?, kind).map(text)
}

fn element(item: &[u8]) -> ElementBytes {
    let bytes = |kind| attribute(item, kind).and_then(|d| attribute(d, 1)).map(<[u8]>::to_vec);
    let verdict = attribute(item, 2).and_then(|d| attribute(d, 2)).and_then(verdict);
    ElementBytes {
        key: bytes(1).unwrap_or_default(),
        end: bytes(10),
        value: verdict.map(Data::Verdict).or_else(|| bytes(2).map(Data::Bytes)),
    }
}

fn verdict(value: &[u8]) -> Option<Verdict> {
    let chain = || attribute(value, 2).map(text).unwrap_or_default();
    Some(match be32(attribute(value, 1)?)? as i32 {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -3 => Verdict::Jump(chain()),
        -4 => Verdict::Goto(chain()),
        -5 => Verdict::Return,
        _ => return None,
    })
}
