//! The few messages of etcd's API that the store needs, in protobuf, by hand: a generator would
//! bring a compiler, and the messages have not changed since etcd 3.0.

use bytes::Bytes;

/// Writes one message.
#[derive(Default)]
pub struct Out(Vec<u8>);

impl Out {
    pub fn number(mut self, field: u32, n: i64) -> Self {
        if n != 0 {
            self = self.number_always(field, n);
        }
        self
    }

    /// A number that is written even where it is zero, as the member of a `oneof` is.
    pub fn number_always(mut self, field: u32, n: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(n as u64);
        self
    }

    pub fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        if !bytes.is_empty() {
            self = self.bytes_always(field, bytes);
        }
        self
    }

    pub fn message(self, field: u32, message: Out) -> Self {
        self.bytes_always(field, &message.0)
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn bytes_always(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }
}

/// What a field holds.
enum Field {
    Number(i64),
    Bytes(Bytes),
}

/// Calls `each` with the fields of a message that are numbers or have a length, in order.
fn read(mut message: Bytes, mut each: impl FnMut(u32, Field) -> Option<()>) -> Option<()> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let field = u32::try_from(tag >> 3).ok()?;
        match tag & 7 {
            0 => each(field, Field::Number(varint(&mut message)? as i64))?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                if length > message.len() {
                    return None;
                }
                each(field, Field::Bytes(message.split_to(length)))?;
            }
            1 if message.len() >= 8 => drop(message.split_to(8)),
            5 if message.len() >= 4 => drop(message.split_to(4)),
            _ => return None,
        }
    }
    Some(())
}

fn varint(message: &mut Bytes) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *message.first()?;
        let _ = message.split_to(1);
        n |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

/// `mvccpb.KeyValue`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: u64,
    pub mod_revision: u64,
}

impl KeyValue {
    fn read(message: Bytes) -> Option<Self> {
        let mut kv = KeyValue::default();
        read(message, |field, value| {
            match (field, value) {
                (1, Field::Bytes(b)) => kv.key = b,
                (2, Field::Number(n)) => kv.create_revision = n as u64,
                (3, Field::Number(n)) => kv.mod_revision = n as u64,
                (5, Field::Bytes(b)) => kv.value = b,
                _ => {}
            }
            Some(())
        })?;
        Some(kv)
    }
}

/// The revision of a `ResponseHeader`.
fn header(message: Bytes) -> Option<u64> {
    let mut revision = 0;
    read(message, |field, value| {
        if let (3, Field::Number(n)) = (field, value) {
            revision = n as u64;
        }
        Some(())
    })?;
    Some(revision)
}

/// `RangeResponse`.
#[derive(Debug, Default)]
pub struct Range {
    pub revision: u64,
    pub kvs: Vec<KeyValue>,
    pub more: bool,
    /// How many keys there are, whatever part of them was asked for.
    pub count: u64,
}

impl Range {
    pub fn read(message: Bytes) -> Option<Self> {
        let mut range = Range::default();
        read(message, |field, value| {
            match (field, value) {
                (1, Field::Bytes(b)) => range.revision = header(b)?,
                (2, Field::Bytes(b)) => range.kvs.push(KeyValue::read(b)?),
                (3, Field::Number(n)) => range.more = n != 0,
                (4, Field::Number(n)) => range.count = n as u64,
                _ => {}
            }
            Some(())
        })?;
        Some(range)
    }
}

/// `TxnResponse` of a transaction of one operation.
#[derive(Debug, Default)]
pub struct Txn {
    pub revision: u64,
    pub succeeded: bool,
    /// What the operation found: the former state for a put or a delete, the state for a range.
    pub found: Option<KeyValue>,
}

impl Txn {
    pub fn read(message: Bytes) -> Option<Self> {
        let mut txn = Txn::default();
        read(message, |field, value| {
            match (field, value) {
                (1, Field::Bytes(b)) => txn.revision = header(b)?,
                (2, Field::Number(n)) => txn.succeeded = n != 0,
                (3, Field::Bytes(b)) => txn.found = found(b)?,
                _ => {}
            }
            Some(())
        })?;
        Some(txn)
    }
}

/// The key and value in a `ResponseOp`.
fn found(message: Bytes) -> Option<Option<KeyValue>> {
    let mut found = None;
    read(message, |operation, value| {
        let Field::Bytes(response) = value else { return Some(()) };
        // The former state of a put is field 2; those of a delete are field 3; a range's are 2.
        let wanted = if operation == 3 { 3 } else { 2 };
        read(response, |field, value| {
            if let Field::Bytes(b) = value
                && field == wanted
            {
                found = Some(KeyValue::read(b)?);
            }
            Some(())
        })
    })?;
    Some(found)
}

/// One event of a watch.
#[derive(Debug, Default)]
pub struct WatchEvent {
    pub delete: bool,
    pub kv: KeyValue,
    pub previous: Option<KeyValue>,
}

/// `WatchResponse`.
#[derive(Debug, Default)]
pub struct Watch {
    pub canceled: bool,
    /// Not zero where the watch began before what is kept.
    pub compacted: u64,
    pub reason: String,
    pub events: Vec<WatchEvent>,
}

impl Watch {
    pub fn read(message: Bytes) -> Option<Self> {
        let mut watch = Watch::default();
        read(message, |field, value| {
            match (field, value) {
                (4, Field::Number(n)) => watch.canceled = n != 0,
                (5, Field::Number(n)) => watch.compacted = n as u64,
                (6, Field::Bytes(b)) => watch.reason = String::from_utf8_lossy(&b).into_owned(),
                (11, Field::Bytes(b)) => watch.events.push(WatchEvent::read(b)?),
                _ => {}
            }
            Some(())
        })?;
        Some(watch)
    }
}

impl WatchEvent {
    fn read(message: Bytes) -> Option<Self> {
        let mut event = WatchEvent::default();
        read(message, |field, value| {
            match (field, value) {
                (1, Field::Number(n)) => event.delete = n == 1,
                (2, Field::Bytes(b)) => event.kv = KeyValue::read(b)?,
                (3, Field::Bytes(b)) => event.previous = Some(KeyValue::read(b)?),
                _ => {}
            }
            Some(())
        })?;
        Some(event)
    }
}

/// The id of a `LeaseGrantResponse`.
pub fn lease_id(message: Bytes) -> Option<i64> {
    let mut id = None;
    read(message, |field, value| {
        if let (2, Field::Number(n)) = (field, value) {
            id = Some(n);
        }
        Some(())
    })?;
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, value: &[u8]) -> Out {
        Out::default()
            .bytes(1, key.as_bytes())
            .number(2, 3)
            .number(3, i64::MAX)
            .number(4, 1)
            .bytes(5, value)
    }

    #[test]
    fn responses_round_trip() {
        let header = Out::default().number(1, -1).number(3, 300);
        let range = Out::default().message(1, header).message(2, kv("/a", &[0; 300])).number(3, 1);
        let range = Range::read(range.number(4, 9).finish().into()).unwrap();
        assert_eq!((range.revision, range.more, range.kvs.len()), (300, true, 1));
        assert_eq!(range.count, 9);
        let found = &range.kvs[0];
        assert_eq!((&found.key[..], found.value.len()), (&b"/a"[..], 300));
        assert_eq!((found.create_revision, found.mod_revision), (3, i64::MAX as u64));

        let delete = Out::default().number(2, 1).message(3, kv("/a", b"x"));
        let txn = Out::default().number(2, 1).message(3, Out::default().message(3, delete));
        let txn = Txn::read(txn.finish().into()).unwrap();
        assert_eq!((txn.succeeded, &txn.found.unwrap().value[..]), (true, &b"x"[..]));

        let event =
            Out::default().number(1, 1).message(2, kv("/a", b"")).message(3, kv("/a", b"y"));
        let watch = Out::default().number(5, 7).message(11, event);
        let watch = Watch::read(watch.finish().into()).unwrap();
        assert_eq!((watch.compacted, watch.events.len()), (7, 1));
        assert!(watch.events[0].delete);
        assert_eq!(&watch.events[0].previous.as_ref().unwrap().value[..], b"y");
    }

    /// Bytes from outside never panic and never make more of themselves.
    #[test]
    fn broken_messages_are_refused() {
        let whole = Out::default().message(11, Out::default().message(2, kv("/a", b"value")));
        let whole = whole.finish();
        for end in 1..whole.len() {
            assert!(Watch::read(Bytes::copy_from_slice(&whole[..end])).is_none(), "{end}");
        }
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 20) as u8;
            }
            let bytes = Bytes::from(bytes);
            let _ = (Watch::read(bytes.clone()), Range::read(bytes.clone()));
            let _ = (Txn::read(bytes.clone()), lease_id(bytes));
        }
    }
}
