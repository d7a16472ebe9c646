//! Finds out how an archive is compressed, and undoes it.

use std::io::{self, Cursor, Read};

use crate::error::{IoContext, Result, corrupt};

/// How an archive was compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    /// Not in image layers, but what `ADD` and rootfs archives often are.
    Xz,
}

/// The bytes that were read to look at them, and the rest.
pub type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// A reader of the plain archive.
pub enum Decoder<R: Read> {
    None(Peeked<R>),
    Gzip(Box<flate2::read::MultiGzDecoder<Peeked<R>>>),
    Zstd(Box<zstd::Decoder<'static, io::BufReader<Peeked<R>>>>),
    Xz(Box<lzma_rust2::XzReader<Peeked<R>>>),
}

/// KiB that a dictionary may take: `xz -9` needs 64 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// Looks at the first bytes; whatever is no known compression is taken as it is.
pub fn decode<R: Read>(reader: R) -> Result<(Compression, Decoder<R>)> {
    let (compression, whole) = peek(reader)?;
    let decoder = match compression {
        Compression::None => Decoder::None(whole),
        Compression::Gzip => Decoder::Gzip(Box::new(flate2::read::MultiGzDecoder::new(whole))),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::new(whole).during(|| "start zstd".to_owned())?;
            // 128 MiB of window: what `zstd --ultra` writes and every reader must take.
            decoder.window_log_max(27).during(|| "start zstd".to_owned())?;
            Decoder::Zstd(Box::new(decoder))
        }
        Compression::Xz => {
            Decoder::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, XZ_MEMORY)))
        }
    };
    Ok((compression, decoder))
}

/// The compression of what a reader gives, and a reader that still gives all of it.
pub fn peek<R: Read>(mut reader: R) -> Result<(Compression, Peeked<R>)> {
    let mut head = Vec::with_capacity(8);
    (&mut reader).take(8).read_to_end(&mut head).during(|| "read archive".to_owned())?;
    Ok((detect(&head)?, Cursor::new(head).chain(reader)))
}

/// The compression that the first bytes show.
pub fn detect(head: &[u8]) -> Result<Compression> {
    Ok(match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => {
            return Err(corrupt(
                "bzip2-compressed archives are not supported: use gzip, zstd or xz",
            ));
        }
        _ => Compression::None,
    })
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::None(r) => r.read(buffer),
            Decoder::Gzip(r) => r.read(buffer).map_err(broken),
            Decoder::Zstd(r) => r.read(buffer).map_err(broken),
            Decoder::Xz(r) => r.read(buffer).map_err(broken),
        }
    }
}

/// An error from the decompressor itself means bad data; one that came through it stays.
fn broken(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            corrupt(format!("damaged compressed data: {e}")).into()
        }
        io::ErrorKind::Other if e.get_ref().is_none_or(|inner| !inner.is::<crate::Error>()) => {
            corrupt(format!("damaged compressed data: {e}")).into()
        }
        _ => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn plain(bytes: &[u8]) -> Result<(Compression, Vec<u8>)> {
        let (compression, mut decoder) = decode(bytes)?;
        let mut out = Vec::new();
        decoder.read_to_end(&mut out).during(String::new)?;
        Ok((compression, out))
    }

    #[test]
    fn all_forms_and_damage() {
        let text = b"some text ".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        assert_eq!(plain(&text).unwrap(), (Compression::None, text.clone()));
        assert_eq!(plain(&gzip).unwrap(), (Compression::Gzip, text.clone()));
        assert_eq!(plain(&gzip.repeat(2)).unwrap().1.len(), 2 * text.len());
        assert_eq!(plain(&zstd).unwrap(), (Compression::Zstd, text));
        assert_eq!(plain(b"").unwrap(), (Compression::None, vec![]));
        for bad in [&gzip[..gzip.len() - 9], &zstd[..zstd.len() - 3]] {
            let error = plain(bad).unwrap_err().to_string();
            assert!(error.starts_with("damaged compressed data"), "{error}");
        }
        // `printf 'some text, some text, some text\n' | xz`
        let xz = [
            0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00,
            0x21, 0x01, 0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0xe0, 0x00, 0x1f, 0x00,
            0x13, 0x5d, 0x00, 0x39, 0x9b, 0xc9, 0xf2, 0xe7, 0x50, 0xb8, 0xc5, 0xe2, 0x5c, 0xc2,
            0xe0, 0x63, 0x65, 0x7a, 0x72, 0x41, 0x00, 0x00, 0x00, 0x00, 0xdf, 0x66, 0xf4, 0x7f,
            0x77, 0x9b, 0xda, 0xaf, 0x00, 0x01, 0x2f, 0x20, 0x8e, 0xad, 0xf4, 0x09, 0x1f, 0xb6,
            0xf3, 0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
        ];
        let text = b"some text, some text, some text\n".to_vec();
        assert_eq!(plain(&xz).unwrap(), (Compression::Xz, text));
        assert!(plain(&xz[..50]).is_err());
        assert!(plain(b"BZh91AY&SY").unwrap_err().to_string().contains("bzip2"));
    }
}
