//! The formats of strings that upstream checks (`k8s.io/kube-openapi/pkg/validation/strfmt`).

use timonier_meta::{Time, names, time};

use crate::base64;

/// Whether a string has a format. Of formats that nobody knows every string is one.
pub fn fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => Time::parse(text).is_some(),
        "date" => text.len() == 10 && Time::parse(&alloc::format!("{text}T00:00:00Z")).is_some(),
        "duration" => time::parse_go_duration(text).is_some(),
        "ipv4" => text.parse::<core::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<core::net::Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "byte" => base64::decode(text).is_some(),
        "hostname" => names::dns1123_subdomain(&text.to_lowercase()).is_empty(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(format, text),
        "mac" => is_mac(text),
        "email" => is_email(text),
        "uri" => is_uri(text),
        "k8s-short-name" => names::dns1123_label(text).is_empty(),
        "k8s-long-name" => names::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((ip, bits)) = text.split_once('/') else { return false };
    let Ok(ip) = ip.parse::<core::net::IpAddr>() else { return false };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    bits.parse::<u8>().is_ok_and(|n| n <= most) && (bits == "0" || !bits.starts_with(['0', '+']))
}

fn is_uuid(format: &str, text: &str) -> bool {
    let plain: alloc::string::String = text.chars().filter(|c| *c != '-').collect();
    let hex = plain.len() == 32 && plain.bytes().all(|b| b.is_ascii_hexdigit());
    let version = format.strip_prefix("uuid").filter(|v| !v.is_empty());
    hex && version.is_none_or(|v| plain[12..13] == *v)
}

fn is_mac(text: &str) -> bool {
    let parts = |by: char| {
        let all: alloc::vec::Vec<&str> = text.split(by).collect();
        matches!(all.len(), 6 | 8 | 20)
            && all.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    parts(':') || parts('-')
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |c: char| !c.is_whitespace() && !"<>()[],;:\\\"".contains(c);
    !local.is_empty()
        && local.chars().all(plain)
        && names::dns1123_subdomain(&domain.to_lowercase()).is_empty()
}

fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return text.starts_with('/') };
    let word = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    word && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && !rest.is_empty()
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        for (format, good, bad) in [
            ("date-time", "2026-01-01T00:00:00Z", "2026-01-01"),
            ("date", "2026-01-01", "2026-13-01"),
            ("duration", "1h30m", "x"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("byte", "aGk=", "%"),
            (
                "uuid4",
                "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d",
                "a1b2c3d4-e5f6-1a7b-8c9d-0e1f2a3b4c5d",
            ),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("email", "a@b.example", "a b@c"),
            ("uri", "https://x.example/y", "x y"),
        ] {
            assert!(fits(format, good) && !fits(format, bad), "{format}");
        }
        assert!(fits("anything", "goes"));
    }
}
