//! Downloads a file that is no image.

use std::io::Write;
use std::sync::Arc;

use http::{Request, StatusCode, Uri, header};

use super::client::unreachable;
use super::http::{Http, empty, join, next_piece};
use crate::error::{Error, IoContext, Result};
use crate::options::RegistryOptions;
use crate::store::{BlobWriter, LooseBlob, Operation};

/// A file and what its server said about it.
pub(crate) struct Fetched {
    pub blob: LooseBlob,
    pub last_modified: Option<String>,
}

const REDIRECT_LIMIT: usize = 10;

/// Gets a file of bounded size into an operation's directory. Redirects never leave TLS.
pub(crate) async fn fetch(
    url: &str,
    options: &RegistryOptions,
    operation: &Arc<Operation>,
    limit: u64,
) -> Result<Fetched> {
    let http = Http::new(options.ca_file.as_deref())?;
    let mut uri: Uri = url.parse().map_err(|_| Error::Invalid(format!("malformed URL {url:?}")))?;
    for _ in 0..REDIRECT_LIMIT {
        if uri.authority().is_none() {
            return Err(Error::Invalid(format!("malformed URL {url:?}")));
        }
        let mut request = Request::new(empty());
        *request.uri_mut() = uri.clone();
        let response = http.send(request, false).await.map_err(unreachable)?;
        let text = |name: header::HeaderName| {
            response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
        };
        match response.status() {
            StatusCode::OK => {}
            s if s.is_redirection() => {
                let next = join(&uri, &text(header::LOCATION).unwrap_or_default())?;
                if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                    return Err(Error::Registry(format!("{url} redirects out of TLS")));
                }
                uri = next;
                continue;
            }
            status => return Err(Error::Registry(format!("{url}: the server answers {status}"))),
        }
        let last_modified = text(header::LAST_MODIFIED);
        let mut body = response.into_body();
        let mut out = BlobWriter::new(operation)?;
        let mut size = 0;
        while let Some(piece) = next_piece(&mut body).await.map_err(unreachable)? {
            size += piece.len() as u64;
            if size > limit {
                return Err(Error::TooLarge(format!("{url} has over {limit} bytes")));
            }
            out.write_all(&piece).during(|| "write download".to_owned())?;
        }
        return Ok(Fetched { blob: out.finish()?, last_modified });
    }
    Err(Error::Registry(format!("{url}: too many redirects")))
}
