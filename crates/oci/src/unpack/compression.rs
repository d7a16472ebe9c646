//! Finds out how an archive is compressed, and undoes it.

use std::io::{self, Cursor, Read};

use crate::error::{IoContext, Result, corrupt};

/// How an archive was compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// The bytes that were read to look at them, and the rest.
type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// A reader of the plain archive.
pub enum Decoder<R: Read> {
    None(Peeked<R>),
    Gzip(Box<flate2::read::MultiGzDecoder<Peeked<R>>>),
    Zstd(Box<zstd::Decoder<'static, io::BufReader<Peeked<R>>>>),
}

/// Looks at the first bytes; whatever is no known compression is taken as it is.
pub fn decode<R: Read>(mut reader: R) -> Result<(Compression, Decoder<R>)> {
    let mut head = Vec::with_capacity(8);
    (&mut reader).take(8).read_to_end(&mut head).during(|| "read archive".to_owned())?;
    let compression = detect(&head)?;
    let whole = Cursor::new(head).chain(reader);
    let decoder = match compression {
        Compression::None => Decoder::None(whole),
        Compression::Gzip => Decoder::Gzip(Box::new(flate2::read::MultiGzDecoder::new(whole))),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::new(whole).during(|| "start zstd".to_owned())?;
            // 128 MiB of window: what `zstd --ultra` writes and every reader must take.
            decoder.window_log_max(27).during(|| "start zstd".to_owned())?;
            Decoder::Zstd(Box::new(decoder))
        }
    };
    Ok((compression, decoder))
}

/// The compression that the first bytes show.
pub fn detect(head: &[u8]) -> Result<Compression> {
    Ok(match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            return Err(corrupt("xz-compressed archives are not supported: use gzip or zstd"));
        }
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => {
            return Err(corrupt("bzip2-compressed archives are not supported: use gzip or zstd"));
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
        assert!(plain(&[0xfd, b'7', b'z', b'X', b'Z', 0]).unwrap_err().to_string().contains("xz"));
    }
}
