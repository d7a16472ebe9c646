//! Links in proxied pages: a path from the root of the server behind leads through the proxy again
//! (upstream `apimachinery/pkg/util/proxy`). Compressed pages are passed on as they are.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use ::http::{HeaderValue, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;

use crate::http::respond::Body;

/// A longer tag is passed on as it is.
const MAX_TAG: usize = 64 << 10;

/// Where links lead: the proxy's path, and the host that the server behind was asked as.
#[derive(Clone, Debug)]
pub struct Origin {
    pub prefix: String,
    pub host: String,
}

/// Rewrites the links of a page, or where a redirect leads.
pub fn rewrite(mut response: Response<Body>, origin: Origin) -> Response<Body> {
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
        let new = location.and_then(|l| origin.through(l));
        if let Some(value) = new.and_then(|n| HeaderValue::try_from(n).ok()) {
            response.headers_mut().insert(LOCATION, value);
        }
        return response;
    }
    let headers = response.headers();
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    if status.is_informational()
        || !kind.eq_ignore_ascii_case(b"text/html")
        || headers.contains_key(CONTENT_ENCODING)
    {
        return response;
    }
    response.headers_mut().remove(CONTENT_LENGTH);
    response.map(|body| {
        Page { body, scanner: Scanner { origin, tag: Vec::new(), quote: 0, raw: None } }
            .boxed_unsync()
    })
}

impl Origin {
    /// The link through the proxy; `None` where it stays: relative, to another host, or already
    /// through the proxy.
    fn through(&self, link: &str) -> Option<String> {
        let host = ["http://", "https://"].iter().find_map(|s| link.strip_prefix(s));
        let path = match host.or_else(|| link.strip_prefix("//")) {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (rest[..end] == self.host).then(|| &rest[end..])?
            }
            None => link,
        };
        let through = path.starts_with('/') && !path.starts_with(&self.prefix);
        through.then(|| format!("{}{path}", self.prefix))
    }
}

/// The attributes that hold a link.
fn links_of(tag: &str) -> &'static [&'static str] {
    match tag {
        "a" | "area" | "base" | "link" => &["href"],
        "applet" => &["codebase"],
        "audio" | "embed" | "script" | "source" => &["src"],
        "blockquote" | "del" | "ins" | "q" => &["cite"],
        "body" => &["background"],
        "button" => &["formaction"],
        "command" => &["icon"],
        "form" => &["action"],
        "frame" | "iframe" => &["longdesc", "src"],
        "head" => &["profile"],
        "html" => &["manifest"],
        "img" => &["longdesc", "src", "usemap"],
        "input" => &["src", "usemap", "formaction"],
        "object" => &["classid", "codebase", "data", "usemap"],
        "video" => &["poster", "src"],
        _ => &[],
    }
}

/// Finds tags in a page that comes in pieces.
struct Scanner {
    origin: Origin,
    /// The tag that has begun, with its `<`.
    tag: Vec<u8>,
    /// The quote within the tag that has not ended, or 0.
    quote: u8,
    /// The element whose text has no tags until its own end.
    raw: Option<String>,
}

impl Scanner {
    fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len() + 64);
        for byte in piece {
            if self.tag.is_empty() {
                match byte {
                    b'<' => self.tag.push(b'<'),
                    _ => out.push(*byte),
                }
                continue;
            }
            self.tag.push(*byte);
            match *byte {
                _ if self.is_no_tag() => self.flush(&mut out),
                b'"' | b'\'' if self.quote == 0 => self.quote = *byte,
                quote if quote == self.quote => self.quote = 0,
                b'>' if self.quote == 0 => self.end(&mut out),
                _ => {}
            }
        }
        out
    }

    /// Text, a comment, or a tag that is too long.
    fn is_no_tag(&self) -> bool {
        let second = self.tag.get(1).copied().unwrap_or(b'a');
        let begins = second.is_ascii_alphabetic() || second == b'/';
        let within = self.raw.as_ref().is_some_and(|raw| {
            let seen = self.tag.get(1..).unwrap_or_default();
            let end = format!("/{raw}");
            let n = seen.len().min(end.len());
            !seen[..n].eq_ignore_ascii_case(&end.as_bytes()[..n])
        });
        !begins || within || self.tag.len() > MAX_TAG
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        // A `<` that ends what was no tag may begin one.
        let again = self.tag.len() > 1 && self.tag.last() == Some(&b'<');
        if again {
            self.tag.pop();
        }
        out.append(&mut self.tag);
        self.quote = 0;
        if again {
            self.tag.push(b'<');
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let tag = std::mem::take(&mut self.tag);
        let Ok(text) = std::str::from_utf8(&tag) else {
            out.extend_from_slice(&tag);
            return;
        };
        let inner = &text[1..text.len() - 1];
        let length = inner.find(|c: char| c.is_ascii_whitespace()).unwrap_or(inner.len());
        let name = inner[..length].trim_end_matches('/').to_ascii_lowercase();
        if name.starts_with('/') {
            self.raw = None;
        } else if matches!(name.as_str(), "script" | "style" | "textarea" | "title") {
            self.raw = Some(name.clone());
        }
        match links_of(&name) {
            [] => out.extend_from_slice(&tag),
            links => out.extend_from_slice(self.attributes(text, links).as_bytes()),
        }
    }

    /// The tag with its links led through the proxy; all else stays as it was written.
    fn attributes(&self, tag: &str, links: &[&str]) -> String {
        let mut out = String::with_capacity(tag.len() + self.origin.prefix.len());
        let mut rest = tag;
        while let Some(equals) = rest.find('=') {
            let before = rest[..equals].trim_end();
            let cut = |c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\'' | '/');
            let name = before.rsplit(cut).next().unwrap_or_default().to_ascii_lowercase();
            let after = &rest[equals + 1..];
            let start = equals + 1 + (after.len() - after.trim_start().len());
            let quote = rest[start..].chars().next().filter(|c| matches!(c, '"' | '\''));
            let from = start + usize::from(quote.is_some());
            let ends = |c: char| match quote {
                Some(quote) => c == quote,
                None => c.is_ascii_whitespace() || c == '>',
            };
            let to = rest[from..].find(ends).map_or(rest.len(), |n| from + n);
            let value = &rest[from..to];
            out.push_str(&rest[..from]);
            let new = links.contains(&name.as_str()).then(|| self.origin.through(value)).flatten();
            out.push_str(new.as_deref().unwrap_or(value));
            rest = &rest[to..];
        }
        out + rest
    }
}

/// A page on its way.
struct Page {
    body: Body,
    scanner: Scanner,
}

impl http_body::Body for Page {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => Frame::data(this.scanner.push(&data).into()),
                Err(other) => other,
            })),
            None if !this.scanner.tag.is_empty() => {
                Some(Ok(Frame::data(std::mem::take(&mut this.scanner.tag).into())))
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { prefix: "/api/v1/p/proxy".into(), host: "10.0.0.1:80".into() }
    }

    /// Also in pieces of one byte: a tag may be cut anywhere.
    fn page(text: &str) -> String {
        let scanner = || Scanner { origin: origin(), tag: Vec::new(), quote: 0, raw: None };
        let mut whole = scanner();
        let mut got = whole.push(text.as_bytes());
        got.append(&mut whole.tag);
        let mut slow = scanner();
        let mut bytes: Vec<u8> = text.bytes().flat_map(|b| slow.push(&[b])).collect();
        bytes.append(&mut slow.tag);
        assert_eq!(got, bytes);
        String::from_utf8(got).unwrap()
    }

    #[test]
    fn links_from_the_root_lead_through_the_proxy() {
        let table = [
            (r#"<a href="/x">t</a>"#, r#"<a href="/api/v1/p/proxy/x">t</a>"#),
            ("<A class=b HREF=/x>", "<A class=b HREF=/api/v1/p/proxy/x>"),
            ("<img alt='>' src='/x'/>", "<img alt='>' src='/api/v1/p/proxy/x'/>"),
            (r#"<a href="http://10.0.0.1:80/x?a=b#c">"#, r#"<a href="/api/v1/p/proxy/x?a=b#c">"#),
        ];
        for (text, want) in table {
            assert_eq!(page(text), want);
        }
    }

    #[test]
    fn all_else_stays() {
        for text in [
            r#"<a href="x">1 < 2 <a> <"#,
            r#"<a href="http://example.com/x"><b href="/x">"#,
            r#"<a href="/api/v1/p/proxy/x">"#,
            r#"<!-- <--><script>if (a<b) x = '<a href="/x">';</script>"#,
            "<a title=\"unfinished",
        ] {
            assert_eq!(page(text), text);
        }
        assert!(page("<script>1</script><a href=/x>").ends_with("proxy/x>"));
    }

    #[test]
    fn redirects_lead_through_the_proxy() {
        let mut response = crate::http::respond::text(302, "");
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("/x"));
        let got = rewrite(response, origin());
        assert_eq!(got.headers()[LOCATION], "/api/v1/p/proxy/x");
    }
}
