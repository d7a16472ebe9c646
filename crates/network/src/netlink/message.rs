//! Netlink messages as bytes: building and reading of headers and attributes.

/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// Flags of a message's header (linux/netlink.h).
pub mod flag {
    pub const REQUEST: u16 = 1;
    pub const ACK: u16 = 4;
    pub const REPLACE: u16 = 0x100;
    pub const EXCL: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
    pub const DUMP: u16 = 0x300;
}

/// Writes messages one behind the other.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
    start: usize,
}

impl Writer {
    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Starts a message; `body` is the protocol's fixed header.
    pub fn begin(&mut self, kind: u16, flags: u16, sequence: u32, body: &[u8]) -> &mut Self {
        self.start = self.bytes.len();
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend(body);
        self.pad();
        self
    }

    /// Ends the message: writes its length.
    pub fn end(&mut self) {
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds flags to the message that was begun last.
    pub fn add_flags(&mut self, flags: u16) {
        let at = self.start + 6;
        let old = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
    }

    /// An attribute. A value beyond 64 KiB is a mistake of the caller, who splits lists.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).expect("an attribute is below 64 KiB");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
        self
    }

    /// Bytes that are no attribute, such as a fixed header inside an attribute.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self.pad();
        self
    }

    /// A string with its final zero.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend(value.as_bytes());
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// A number in the machine's byte order (rtnetlink).
    pub fn native(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// A number in network byte order (netfilter).
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// An attribute that holds the attributes written by `fill`.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend(0u16.to_ne_bytes());
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        fill(self);
        let length = self.bytes.len() - start;
        let length = u16::try_from(length).expect("an attribute is below 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Bytes of the message that is being written.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn pad(&mut self) {
        while !(self.bytes.len() - self.start).is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// A message that was received.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub body: Vec<u8>,
}

/// Splits what was received into messages; stops at what is malformed.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while bytes.len() >= 16 {
        let length = u32_at(bytes, 0) as usize;
        if length < 16 || length > bytes.len() {
            break;
        }
        found.push(Message {
            kind: u16_at(bytes, 4),
            flags: u16_at(bytes, 6),
            sequence: u32_at(bytes, 8),
            body: bytes[16..length].to_vec(),
        });
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    found
}

/// The attributes in `bytes`; stops at what is malformed.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.len() < 4 {
            return None;
        }
        let length = usize::from(u16_at(bytes, 0));
        if length < 4 || length > bytes.len() {
            return None;
        }
        let found = (u16_at(bytes, 2) & TYPE_MASK, &bytes[4..length]);
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some(found)
    })
}

/// The first attribute of a kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// An attribute's string without its final zero.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number in network byte order; `None` where there are too few bytes.
pub fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

/// A number in the machine's byte order; `None` where there are too few bytes.
pub fn native32(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut w = Writer::default();
        w.begin(7, flag::REQUEST, 3, &[1, 2, 3, 4]).text(1, "ab").nest(2, |w| {
            w.be32(5, 9);
        });
        w.end();
        w.begin(8, 0, 4, &[]).end();
        let got = messages(w.bytes());
        assert_eq!(got.len(), 2);
        assert_eq!((got[0].kind, got[0].sequence), (7, 3));
        let attrs = &got[0].body[4..];
        assert_eq!(text(attribute(attrs, 1).unwrap()), "ab");
        assert_eq!(be32(attribute(attribute(attrs, 2).unwrap(), 5).unwrap()), Some(9));
    }

    #[test]
    fn hostile_bytes_end_the_reading() {
        assert!(messages(&[255; 40]).is_empty());
        assert_eq!(attributes(&[1, 0, 0, 0, 9]).count(), 0);
        assert_eq!(attributes(&[200, 0, 0, 0, 9]).count(), 0);
        assert_eq!(be32(&[1]), None);
    }
}
