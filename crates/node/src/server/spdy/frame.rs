//! Frames to bytes and back.

use std::collections::BTreeMap;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;

/// Header names are lower case; several values of a name are joined by NUL.
pub type Headers = BTreeMap<String, String>;

/// Largest payload taken from the other side.
pub const MAX_PAYLOAD: usize = 4 << 20;
/// Largest header block after decompression.
const MAX_HEADERS: usize = 64 << 10;

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;

/// What came in. Frames that need no answer (settings, window updates) are [`Frame::Other`].
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream { id: u32, fin: bool, headers: Headers },
    Reset { id: u32 },
    Ping { id: u32 },
    GoAway,
    Data { id: u32, fin: bool, bytes: Bytes },
    Other,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("SPDY protocol error: {0}")]
pub struct ProtocolError(pub &'static str);

/// The first eight bytes of every frame.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    word: u32,
    flags: u8,
    pub length: usize,
}

impl Head {
    pub fn parse(bytes: [u8; 8]) -> Result<Self, ProtocolError> {
        let word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let length = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize;
        if length > MAX_PAYLOAD {
            return Err(ProtocolError("a frame is too large"));
        }
        Ok(Self { word, flags: bytes[4], length })
    }
}

/// Reads frames; holds the decompressor, whose state goes on from block to block.
pub struct Decoder {
    inflate: Decompress,
}

impl Decoder {
    pub fn new() -> Self {
        Self { inflate: Decompress::new(true) }
    }

    pub fn decode(&mut self, head: Head, payload: Bytes) -> Result<Frame, ProtocolError> {
        let fin = head.flags & FLAG_FIN != 0;
        if head.word & 0x8000_0000 == 0 {
            return Ok(Frame::Data { id: head.word, fin, bytes: payload });
        }
        if (head.word >> 16) as u16 & 0x7fff != VERSION {
            return Err(ProtocolError("only version 3 is spoken"));
        }
        match head.word as u16 {
            SYN_STREAM => {
                let block = payload.get(10..).ok_or(ProtocolError("a frame is too short"))?;
                let headers = self.headers(block)?;
                Ok(Frame::SynStream { id: id_at(&payload)?, fin, headers })
            }
            // Their blocks must be read, or later ones could not be.
            SYN_REPLY => {
                self.headers(payload.get(4..).unwrap_or_default())?;
                Ok(Frame::Other)
            }
            8 => {
                self.headers(payload.get(4..).unwrap_or_default())?;
                Ok(Frame::Other)
            }
            RST_STREAM => Ok(Frame::Reset { id: id_at(&payload)? }),
            PING => Ok(Frame::Ping { id: word_at(&payload)? }),
            GOAWAY => Ok(Frame::GoAway),
            _ => Ok(Frame::Other),
        }
    }

    fn headers(&mut self, block: &[u8]) -> Result<Headers, ProtocolError> {
        let plain = self.inflate(block)?;
        let mut rest = plain.as_slice();
        let count = take_word(&mut rest)?;
        let mut headers = Headers::new();
        for _ in 0..count {
            let name = take_text(&mut rest)?;
            let value = take_text(&mut rest)?;
            headers.insert(name.to_ascii_lowercase(), value);
        }
        Ok(headers)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        const BROKEN: ProtocolError = ProtocolError("a header block cannot be decompressed");
        let mut plain = Vec::with_capacity(4096);
        let start = self.inflate.total_in();
        loop {
            let used = (self.inflate.total_in() - start) as usize;
            let rest = block.get(used..).ok_or(BROKEN)?;
            let before = (rest.len(), plain.len());
            match self.inflate.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(BROKEN),
                Ok(_) => {}
                Err(e) if e.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(&dictionary()).map_err(|_| BROKEN)?;
                    continue;
                }
                Err(_) => return Err(BROKEN),
            }
            let used = (self.inflate.total_in() - start) as usize;
            let full = plain.len() == plain.capacity();
            if used == block.len() && !full {
                return Ok(plain);
            }
            if (block.len() - used, plain.len()) == before && !full {
                return Err(BROKEN);
            }
            if plain.len() >= MAX_HEADERS {
                return Err(ProtocolError("a header block is too large"));
            }
            plain.reserve(plain.len().max(1));
        }
    }
}

fn word_at(payload: &[u8]) -> Result<u32, ProtocolError> {
    take_word(&mut &payload[..])
}

fn id_at(payload: &[u8]) -> Result<u32, ProtocolError> {
    Ok(word_at(payload)? & 0x7fff_ffff)
}

fn take_word(rest: &mut &[u8]) -> Result<u32, ProtocolError> {
    let (word, after) =
        rest.split_first_chunk::<4>().ok_or(ProtocolError("a frame is too short"))?;
    *rest = after;
    Ok(u32::from_be_bytes(*word))
}

fn take_text(rest: &mut &[u8]) -> Result<String, ProtocolError> {
    let length = take_word(rest)? as usize;
    if length > rest.len() {
        return Err(ProtocolError("a frame is too short"));
    }
    let (text, after) = rest.split_at(length);
    *rest = after;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Writes frames; holds the compressor.
pub struct Encoder {
    deflate: Compress,
}

impl Encoder {
    pub fn new() -> Self {
        let mut deflate = Compress::new(Compression::default(), true);
        // Fails only after compression has begun.
        let _ = deflate.set_dictionary(&dictionary());
        Self { deflate }
    }

    /// Accepts a stream.
    pub fn reply(&mut self, id: u32) -> Vec<u8> {
        let block = self.block(&Headers::new());
        control(SYN_REPLY, 0, &[&id.to_be_bytes(), &block])
    }

    /// Opens a stream, as clients do; tests are clients.
    #[cfg(test)]
    pub fn open(&mut self, id: u32, headers: &Headers) -> Vec<u8> {
        let block = self.block(headers);
        control(SYN_STREAM, 0, &[&id.to_be_bytes(), &[0; 6], &block])
    }

    fn block(&mut self, headers: &Headers) -> Vec<u8> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let start = self.deflate.total_in();
        let mut block = Vec::with_capacity(plain.len() + 64);
        loop {
            let used = (self.deflate.total_in() - start) as usize;
            let done = self.deflate.compress_vec(&plain[used..], &mut block, FlushCompress::Sync);
            let used = (self.deflate.total_in() - start) as usize;
            // Room left means that everything was flushed.
            if done.is_err() || used == plain.len() && block.len() < block.capacity() {
                return block;
            }
            block.reserve(64);
        }
    }
}

pub fn data(id: u32, fin: bool, length: usize) -> [u8; 8] {
    let (id, length) = (id.to_be_bytes(), (length as u32).to_be_bytes());
    [id[0], id[1], id[2], id[3], u8::from(fin), length[1], length[2], length[3]]
}

pub fn ping(id: u32) -> Vec<u8> {
    control(PING, 0, &[&id.to_be_bytes()])
}

pub fn reset(id: u32) -> Vec<u8> {
    // 5 is CANCEL: the stream is not wanted any more.
    control(RST_STREAM, 0, &[&id.to_be_bytes(), &5u32.to_be_bytes()])
}

pub fn go_away(last: u32) -> Vec<u8> {
    control(GOAWAY, 0, &[&last.to_be_bytes(), &0u32.to_be_bytes()])
}

fn control(kind: u16, flags: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|p| p.len()).sum();
    let mut frame = Vec::with_capacity(8 + length);
    frame.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(&((length as u32) | u32::from(flags) << 24).to_be_bytes());
    parts.iter().for_each(|p| frame.extend_from_slice(p));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(decoder: &mut Decoder, frame: &[u8]) -> Result<Frame, ProtocolError> {
        let head = Head::parse(frame[..8].try_into().unwrap())?;
        assert_eq!(head.length, frame.len() - 8);
        decoder.decode(head, Bytes::copy_from_slice(&frame[8..]))
    }

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
    }

    #[test]
    fn headers_survive_and_compression_goes_on() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let big = "x".repeat(20_000);
        for (id, pairs) in [
            (1, vec![("streamtype", "error"), ("port", "80")]),
            (3, vec![("streamtype", "stdout")]),
            (5, vec![("streamtype", big.as_str())]),
            (7, vec![]),
        ] {
            let frame = encoder.open(id, &headers(&pairs));
            let got = decode(&mut decoder, &frame).unwrap();
            assert_eq!(got, Frame::SynStream { id, fin: false, headers: headers(&pairs) });
        }
    }

    #[test]
    fn data_and_control_frames() {
        let mut decoder = Decoder::new();
        let mut frame = data(9, true, 3).to_vec();
        frame.extend_from_slice(b"abc");
        let bytes = Bytes::from_static(b"abc");
        assert_eq!(decode(&mut decoder, &frame), Ok(Frame::Data { id: 9, fin: true, bytes }));
        assert_eq!(decode(&mut decoder, &ping(4)), Ok(Frame::Ping { id: 4 }));
        assert_eq!(decode(&mut decoder, &reset(5)), Ok(Frame::Reset { id: 5 }));
        assert_eq!(decode(&mut decoder, &go_away(5)), Ok(Frame::GoAway));
    }

    #[test]
    fn hostile_frames_are_errors() {
        let mut decoder = Decoder::new();
        assert!(Head::parse([0, 0, 0, 1, 0, 0xff, 0xff, 0xff]).is_err(), "too large");
        let cut = control(SYN_STREAM, 0, &[&[0; 4]]);
        assert!(decode(&mut decoder, &cut).is_err());
        let garbage = control(SYN_STREAM, 0, &[&[0; 10], b"not zlib at all"]);
        assert!(decode(&mut decoder, &garbage).is_err());
        let mut version = ping(1);
        version[1] = 2;
        assert!(decode(&mut Decoder::new(), &version).is_err());
        // A header block that would expand to more than is allowed.
        let bomb = Encoder::new().open(1, &headers(&[("a", &"y".repeat(1 << 20))]));
        assert!(decode(&mut Decoder::new(), &bomb).is_err());
    }
}
