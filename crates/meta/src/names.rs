//! The rules of names, with upstream's messages (`k8s.io/apimachinery/pkg/util/validation`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Longest DNS label, bytes.
pub const DNS1123_LABEL_MAX: usize = 63;
/// Longest DNS subdomain, bytes.
pub const DNS1123_SUBDOMAIN_MAX: usize = 253;

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn max_len(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_label(text: &str) -> bool {
    let b = text.as_bytes();
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    !b.is_empty() && edge(b[0]) && edge(b[b.len() - 1]) && b.iter().all(|&c| edge(c) || c == b'-')
}

/// What is wrong with a DNS-1123 label; empty where nothing is.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS1123_LABEL_MAX {
        errors.push(max_len(DNS1123_LABEL_MAX));
    }
    if text.contains('.') && text.split('.').all(is_label) {
        errors.push("must not contain dots".to_string());
    } else if !is_label(text) {
        errors.push(LABEL_TEXT.to_string());
    }
    errors
}

/// What is wrong with a DNS-1123 subdomain; empty where nothing is.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS1123_SUBDOMAIN_MAX {
        errors.push(max_len(DNS1123_SUBDOMAIN_MAX));
    }
    if !text.split('.').all(is_label) {
        errors.push(SUBDOMAIN_TEXT.to_string());
    }
    errors
}

/// What is wrong with a DNS-1035 label (Service names); empty where nothing is.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS1123_LABEL_MAX {
        errors.push(max_len(DNS1123_LABEL_MAX));
    }
    if !is_label(text) || !text.as_bytes()[0].is_ascii_lowercase() {
        errors.push(LABEL1035_TEXT.to_string());
    }
    errors
}

fn is_qualified_part(text: &str) -> bool {
    let b = text.as_bytes();
    !b.is_empty()
        && b[0].is_ascii_alphanumeric()
        && b[b.len() - 1].is_ascii_alphanumeric()
        && b.iter().all(|&c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// What is wrong with a qualified name (label and annotation keys); empty where nothing is.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut parts = text.split('/');
    let (first, second, third) = (parts.next().unwrap_or(""), parts.next(), parts.next());
    let name = match (second, third) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                errors.push("prefix part must be non-empty".to_string());
            } else {
                errors.extend(
                    dns1123_subdomain(first).into_iter().map(|e| format!("prefix part {e}")),
                );
            }
            name
        }
        (Some(_), Some(_)) => {
            errors.push(format!("a valid label key {QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"));
            return errors;
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_string());
    } else if name.len() > 63 {
        errors.push(format!("name part {}", max_len(63)));
    }
    if !is_qualified_part(name) {
        errors.push(format!("name part {QUALIFIED_TEXT}"));
    }
    errors
}

/// What is wrong with a label's value; empty where nothing is.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push(max_len(63));
    }
    if !text.is_empty() && !is_qualified_part(text) {
        errors.push(LABEL_VALUE_TEXT.to_string());
    }
    errors
}

/// What is wrong with a key of a ConfigMap or Secret; empty where nothing is.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 253 {
        errors.push(max_len(253));
    }
    let ok = !text.is_empty()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    if !ok {
        errors.push("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".to_string());
    } else if text == "." {
        errors.push("must not be '.'".to_string());
    } else if text == ".." {
        errors.push("must not be '..'".to_string());
    } else if text.starts_with("..") {
        errors.push("must not start with '..'".to_string());
    }
    errors
}

/// What is wrong with a name used as a path segment (RBAC kinds); empty where nothing is.
pub fn path_segment(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text == "." || text == ".." {
        errors.push(format!("may not be '{text}'"));
    }
    for illegal in ["/", "%"] {
        if text.contains(illegal) {
            errors.push(format!("may not contain '{illegal}'"));
        }
    }
    errors
}

/// What is wrong with a port's name (IANA service name); empty where nothing is.
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 15 {
        errors.push("must be no more than 15 characters".to_string());
    }
    if !text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-') {
        errors.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_string(),
        );
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_string());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".to_string());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_string());
    }
    errors
}

/// The alphabet of generated suffixes: no vowels, no digits that read as letters (upstream
/// `k8s.io/apimachinery/pkg/util/rand`).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// `n` characters of the suffix alphabet, drawn from `random`.
pub fn suffix(mut random: u64, n: usize) -> String {
    (0..n)
        .map(|_| {
            let c = ALPHABET[(random % 27) as usize];
            random /= 27;
            c as char
        })
        .collect()
}

/// Upstream `rand.SafeEncodeString`: digits and vowels of a hash mapped into the alphabet.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|c| ALPHABET[c as usize % 27] as char).collect()
}

/// The name for a `generateName`: the base cut to 58 bytes, then five random characters.
pub fn generate(base: &str, random: u64) -> String {
    let mut end = base.len().min(58);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], suffix(random, 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(dns1123_label("a-1").is_empty());
        assert!(dns1123_subdomain("a.b-c.d1").is_empty());
        for bad in ["", "A", "-a", "a-", "a_b"] {
            assert_eq!(dns1123_label(bad).len(), 1, "{bad}");
        }
        assert_eq!(dns1123_subdomain("a..b").len(), 1);
        assert!(dns1035_label("1a").len() == 1 && dns1035_label("a1").is_empty());
        assert!(qualified_name("example.com/My_Name.1").is_empty());
        assert!(!qualified_name("a/b/c").is_empty() && !qualified_name("/b").is_empty());
        assert!(label_value("").is_empty() && !label_value("-").is_empty());
        assert!(config_map_key("a.b").is_empty() && !config_map_key("..a").is_empty());
    }

    #[test]
    fn suffixes_use_the_alphabet() {
        assert_eq!(suffix(0, 5), "bbbbb");
        assert_eq!(generate("web-", 27), "web-bcbbb");
    }
}
