//! `ADD https://…`.

use std::path::PathBuf;

use super::{Builder, Fault};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::registry::fetch;

/// A downloaded file.
#[derive(Clone, Debug)]
pub struct Download {
    pub path: PathBuf,
    /// The last part of the URL's path.
    pub name: String,
    pub digest: Digest,
    /// Seconds since the epoch, of `Last-Modified`.
    pub modified: Option<i64>,
}

/// A file may have this many bytes.
const LIMIT: u64 = 16 << 30;

impl Builder<'_> {
    pub(super) async fn download(&mut self, url: &str) -> Result<Download, Fault> {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let after_host = path.splitn(4, '/').nth(3).unwrap_or_default();
        let name = after_host.rsplit('/').next().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(Error::Invalid(format!("cannot determine filename for url: {url}")).into());
        }
        let got = fetch(url, &self.options.registry, &self.operation, LIMIT).await?;
        Ok(Download {
            path: got.blob.path,
            digest: got.blob.digest,
            name,
            modified: got.last_modified.as_deref().and_then(http_date),
        })
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, clock, "GMT"] = words.as_slice() else { return None };
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|m| m == month)? + 1;
    let iso = format!("{year}-{month:02}-{:0>2}T{clock}Z", day);
    timonier_meta::Time::parse(&iso).map(|t| t.unix())
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(super::http_date("yesterday"), None);
    }
}
