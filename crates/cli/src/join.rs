//! What a new node is given to join: who it may trust, and by what it is trusted.

use std::fmt;
use std::fs;
use std::str::FromStr;

use anyhow::{Context, Result};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::cluster::Paths;

/// A bootstrap token together with the hash of the cluster's authority:
/// `abcdef.0123456789abcdef@` and 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub id: String,
    pub secret: String,
    /// SHA-256 of the authority's public key.
    pub authority: [u8; 32],
}

impl JoinToken {
    /// A new token for the cluster in the data directory.
    pub fn new(paths: &Paths) -> Result<Self> {
        let mut random = [0u8; 22];
        getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
        // 252 is the largest multiple of 36 in a byte; the rest would make some digits likelier.
        let digit = |b: &mut u8| {
            while *b >= 252 {
                let mut one = [0u8; 1];
                getrandom::fill(&mut one).ok()?;
                *b = one[0];
            }
            char::from_digit(u32::from(*b % 36), 36)
        };
        let text: Option<String> = random.iter_mut().map(digit).collect();
        let text = text.context("no random numbers")?;
        let (id, secret) = text.split_at(6);
        Ok(JoinToken { id: id.into(), secret: secret.into(), authority: authority_hash(paths)? })
    }

    /// What the API server knows it by.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

fn authority_hash(paths: &Paths) -> Result<[u8; 32]> {
    let path = paths.pki().join("ca.crt");
    let pem = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let certificate =
        CertificateDer::from_pem_slice(&pem).with_context(|| format!("read {}", path.display()))?;
    timonier_client::key_hash(&certificate)
        .with_context(|| format!("{} is no certificate", path.display()))
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@", self.id, self.secret)?;
        self.authority.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Keeps secrets out of logs.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}.…)", self.id)
    }
}

impl FromStr for JoinToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (token, hash) = text.trim().split_once('@')?;
            let (id, secret) = token.split_once('.')?;
            let fine = |part: &str, length: usize| {
                part.len() == length
                    && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            };
            if !fine(id, 6) || !fine(secret, 16) || hash.len() != 64 || !hash.is_ascii() {
                return None;
            }
            let mut authority = [0; 32];
            for (i, byte) in authority.iter_mut().enumerate() {
                *byte = u8::from_str_radix(&hash[2 * i..2 * i + 2], 16).ok()?;
            }
            Some(JoinToken { id: id.into(), secret: secret.into(), authority })
        };
        parse().ok_or_else(|| {
            "it must have the form abcdef.0123456789abcdef@ and 64 hexadecimal digits; `timonier token` on the cluster's first machine prints one".into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { data: dir.path().to_owned() };
        crate::pki::Pki::open(&paths.pki(), "t").unwrap();
        let token = JoinToken::new(&paths).unwrap();
        let text = token.to_string();
        assert_eq!(text.parse::<JoinToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&token.secret));
        assert_ne!(JoinToken::new(&paths).unwrap(), token);
        for bad in [
            "",
            "abcdef.0123456789abcdef",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
        ] {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad}");
        }
    }
}
