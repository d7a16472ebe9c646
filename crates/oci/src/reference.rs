//! Image names with Docker's normalisation: `nginx` means `docker.io/library/nginx:latest`.

use std::fmt;

use crate::digest::Digest;
use crate::error::{Error, Result};

const DEFAULT_REGISTRY: &str = "docker.io";
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// A full image name: registry, repository, and a tag or a digest (or both).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a name as a user writes it. Without tag and digest the tag becomes `latest`.
    pub fn parse(text: &str) -> Result<Reference> {
        let mut reference = Reference::parse_untagged(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some("latest".to_owned());
        }
        Ok(reference)
    }

    /// Like [`Reference::parse`], but an absent tag stays absent.
    pub fn parse_untagged(text: &str) -> Result<Reference> {
        let fail = |reason: &str| Error::InvalidReference {
            reference: text.chars().take(300).collect(),
            reason: reason.to_owned(),
        };
        if text.is_empty() {
            return Err(fail("the name is empty"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, d)) => (rest, Some(Digest::parse(d).map_err(|e| fail(&e.to_string()))?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(fail("malformed tag"));
        }
        if name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fail("a name cannot be 64 hexadecimal digits: that is an image id"));
        }
        let (registry, path) = split_registry(name);
        if !is_registry(registry) {
            return Err(fail("malformed registry host"));
        }
        if path.is_empty() {
            return Err(fail("the repository name is empty"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(fail("repository name must be lowercase"));
        }
        if !path.split('/').all(is_component) {
            return Err(fail("malformed repository name"));
        }
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if official { format!("library/{path}") } else { path.to_owned() };
        if repository.len() > NAME_LIMIT {
            return Err(fail("repository name must not be more than 255 characters"));
        }
        let (registry, tag) = (registry.to_owned(), tag.map(str::to_owned));
        Ok(Reference { registry, repository, tag, digest })
    }

    /// The registry's host and port as named, `docker.io` where none was.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository without its registry, `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one. It decides; a tag next to it is only a remark.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository, `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The short form that Docker shows: `nginx:1.7.9`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        match full.strip_prefix("docker.io/") {
            Some(rest) => rest.strip_prefix("library/").unwrap_or(rest).to_owned(),
            None => full,
        }
    }

    /// The same repository with a digest in place of the tag, as in `RepoDigests`.
    pub fn with_digest(&self, digest: &Digest) -> Reference {
        Reference { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// The same repository with another tag. The tag must be well-formed.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        if !is_tag(tag) {
            let reason = "malformed tag".to_owned();
            return Err(Error::InvalidReference { reference: tag.to_owned(), reason });
        }
        Ok(Reference { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// What a registry is asked for: the digest if there is one, else the tag.
    pub fn manifest_name(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(d), _) => d.as_str(),
            (None, Some(t)) => t,
            (None, None) => "latest",
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A colon after the last slash separates the tag; before it, a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rfind(':') {
        Some(i) if !text[i..].contains('/') => (&text[..i], Some(&text[i + 1..])),
        _ => (text, None),
    }
}

/// Docker's rule: the first part is a registry if it has a dot or a colon, is `localhost`, or
/// has an upper-case letter.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, path))
            if host.contains(['.', ':'])
                || host == "localhost"
                || host.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (host, path)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match after.strip_prefix(':') {
            Some(port) => ("v6", Some(port)),
            None if after.is_empty() => ("v6", None),
            None => return false,
        }
    } else {
        match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        }
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.split('.').all(label) && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0))
}

/// Whether a text is the name of a repository within a registry.
pub(crate) fn is_repository(name: &str) -> bool {
    name.len() <= NAME_LIMIT && name.split('/').all(is_component)
}

/// Lower-case letters and digits, separated by one dot, one or two underscores, or dashes.
fn is_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if bytes.first().is_none_or(|b| !alphanumeric(*b)) || !alphanumeric(bytes[bytes.len() - 1]) {
        return false;
    }
    bytes
        .split(|b| alphanumeric(*b))
        .filter(|separator| !separator.is_empty())
        .all(|s| matches!(s, b"." | b"_" | b"__") || s.iter().all(|b| *b == b'-'))
}

pub(crate) fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !tag.is_empty()
        && tag.len() <= TAG_LIMIT
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_as_docker_does() {
        for (given, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.7.9", "docker.io/library/nginx:1.7.9"),
            ("jboss/wildfly:11", "docker.io/jboss/wildfly:11"),
            ("index.docker.io/library/a", "docker.io/library/a:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b:x", "localhost:5000/a/b:x"),
            ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("Host/a", "Host/a:latest"),
            ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest"),
        ] {
            let reference = Reference::parse(given).unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(Reference::parse(full).unwrap(), reference);
        }
        assert_eq!(Reference::parse("nginx").unwrap().familiar(), "nginx:latest");
        assert_eq!(Reference::parse("a/b:c").unwrap().familiar(), "a/b:c");
        assert_eq!(Reference::parse("quay.io/b:c").unwrap().familiar(), "quay.io/b:c");
    }

    #[test]
    fn a_digest_keeps_no_default_tag() {
        let digest = Digest::of(b"x");
        let r = Reference::parse(&format!("nginx@{digest}")).unwrap();
        assert_eq!(r.to_string(), format!("docker.io/library/nginx@{digest}"));
        assert_eq!(r.manifest_name(), digest.as_str());
        let both = Reference::parse(&format!("nginx:1@{digest}")).unwrap();
        assert_eq!((both.tag(), both.digest()), (Some("1"), Some(&digest)));
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let hex = "a".repeat(64);
        let long = format!("a/{}", "b".repeat(260));
        for bad in [
            "",
            ":",
            "a:",
            "A",
            "a//b",
            "/a",
            "a/",
            "a:b:c",
            "-a",
            "a..b",
            "a___b",
            "a@sha256:1",
            "a b",
            "a:-x",
            "host:port/a",
            "host:0/a",
            "a.b/",
            "[::g]/a",
            &hex,
            &long,
            "é",
        ] {
            let error = Reference::parse(bad).expect_err(bad);
            assert!(error.to_string().starts_with("invalid reference format"), "{error}");
        }
        let error = Reference::parse("Nginx").unwrap_err().to_string();
        assert!(error.contains("must be lowercase"), "{error}");
    }
}
