//! Rules that many kinds share: labels and selectors, names, ports, quantities, addresses.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use timonier_meta::{Quantity, names};
use timonier_object::Value;

use super::at::{At, Errors, NEGATIVE};

/// A check of a text: what is wrong with it, nothing where it is right.
pub type Check = fn(&str) -> Vec<String>;

/// Demands that the string passes a check.
pub fn check(e: &mut Errors, at: &At<'_>, rule: Check) {
    at.each(e, rule(at.str()));
}

/// Demands a string, and that it passes a check.
pub fn demand(e: &mut Errors, at: &At<'_>, rule: Check) {
    if at.demand(e) {
        check(e, at, rule);
    }
}

/// Checks a map of labels. All errors stand at the map's own path.
pub fn labels(e: &mut Errors, at: &At<'_>) {
    for (key, value) in at.value.entries() {
        for why in names::qualified_name(key) {
            at.bad(e, show_str(key), why);
        }
        for why in names::label_value(value.str()) {
            at.bad(e, show_str(value.str()), why);
        }
    }
}

/// Checks the keys and the size of annotations.
pub fn annotations(e: &mut Errors, at: &At<'_>) {
    let mut size = 0;
    for (key, value) in at.value.entries() {
        for why in names::qualified_name(&key.to_lowercase()) {
            at.bad(e, show_str(key), why);
        }
        size += key.len() + value.str().len();
    }
    if size > 256 * 1024 {
        at.too_long(e, 256 * 1024);
    }
}

/// A string in quotes.
pub fn show_str(text: &str) -> String {
    timonier_meta::field_path::quote(text)
}

/// Checks a label selector; an absent one is right.
pub fn label_selector(e: &mut Errors, at: &At<'_>) {
    labels(e, &at.get("matchLabels"));
    for item in at.get("matchExpressions").items() {
        let values = item.get("values");
        match item.get("operator").str() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    values.required(e, "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    values.forbidden(
                        e,
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    );
                }
            }
            _ => item.get("operator").bad_str(e, "not a valid selector operator"),
        }
        check(e, &item.get("key"), names::qualified_name);
        for value in values.items() {
            check(e, &value, names::label_value);
        }
    }
}

/// Whether a selector has no terms.
pub fn is_blank_selector(selector: &Value) -> bool {
    selector.at("matchLabels").is_empty() && selector.at("matchExpressions").is_empty()
}

/// Whether the selector selects a map of labels; `None` where the selector is wrong.
pub fn selects(selector: &Value, labels: &Value) -> Option<bool> {
    let mut wrong = Errors::new();
    label_selector(&mut wrong, &At::new(selector, ""));
    let parsed = timonier_object::label_selector(selector).ok().filter(|_| wrong.is_empty())?;
    Some(parsed.matches(|key| labels.get(key).and_then(Value::as_str)))
}

/// Demands a port number.
pub fn port(e: &mut Errors, at: &At<'_>) {
    at.within(e, 1, 65535);
}

/// Demands a port number or name.
pub fn port_or_name(e: &mut Errors, at: &At<'_>) {
    match at.value {
        Value::Str(_) => check(e, at, names::port_name),
        _ => port(e, at),
    }
}

/// Reads a quantity; a missing or wrong one is 0 (decoding refused it before).
pub fn quantity(value: &Value) -> Quantity {
    match value {
        Value::Str(text) => Quantity::parse(text).unwrap_or_default(),
        Value::Int(n) => Quantity::units(*n),
        Value::Float(f) => Quantity::parse(&f.to_string()).unwrap_or_default(),
        _ => Quantity::default(),
    }
}

/// Refuses a quantity with a reason; it is printed canonically.
pub fn bad_quantity(e: &mut Errors, at: &At<'_>, why: impl Into<String>) {
    at.bad(e, show_str(&quantity(at.value).to_string()), why);
}

/// Demands a quantity of at least 0.
pub fn non_negative_quantity(e: &mut Errors, at: &At<'_>) {
    if quantity(at.value).is_negative() {
        bad_quantity(e, at, NEGATIVE);
    }
}

const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// Reads an address as upstream's older fields do: leading zeroes are allowed.
pub fn sloppy_ip(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let mut octets = [0u8; 4];
    if parts.len() != 4 {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        let digits = !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        *octet = part.parse().ok().filter(|_| digits)?;
    }
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// Demands an address, in fields that allow forms which are not canonical.
pub fn legacy_ip(e: &mut Errors, at: &At<'_>) {
    if sloppy_ip(at.str()).is_none() {
        at.bad_str(e, NOT_AN_IP);
    }
}

/// Demands an address in canonical form.
pub fn strict_ip(e: &mut Errors, at: &At<'_>) {
    match (at.str().parse::<IpAddr>(), sloppy_ip(at.str())) {
        (Ok(IpAddr::V6(ip)), _) if ip.to_ipv4_mapped().is_some() => {
            at.bad_str(e, "must not be an IPv4-mapped IPv6 address");
        }
        (Ok(ip), _) if ip.to_string() != at.str() => {
            at.bad_str(e, format!("must be in canonical form ({:?})", ip.to_string()));
        }
        (Ok(_), _) => {}
        (Err(_), Some(_)) => at.bad_str(e, "must not have leading 0s"),
        (Err(_), None) => at.bad_str(e, NOT_AN_IP),
    }
}

/// Reads `address/bits`.
pub fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = text.split_once('/')?;
    let ip = sloppy_ip(ip)?;
    let digits = !bits.is_empty() && bits.bytes().all(|c| c.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|_| digits)?;
    (bits <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, bits))
}

/// The text for what is no address range.
pub const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Whether every address is of another family than the others, and there are two at most.
pub fn is_dual(addresses: &[&str]) -> bool {
    let v6 = |text: &&str| text.contains(':');
    addresses.len() == 2 && v6(&addresses[0]) != v6(&addresses[1])
}

/// Refuses a path that is not relative or climbs.
pub fn descending_path(e: &mut Errors, at: &At<'_>) {
    if at.str().starts_with('/') {
        at.bad_str(e, "must be a relative path");
    }
    no_backsteps(e, at);
}

/// Refuses a path that climbs.
pub fn no_backsteps(e: &mut Errors, at: &At<'_>) {
    if at.str().split('/').any(|part| part == "..") {
        at.bad_str(e, "must not contain '..'");
    }
}

/// Refuses a path that climbs or begins as the kubelet's own names do.
pub fn local_path(e: &mut Errors, at: &At<'_>) {
    descending_path(e, at);
    if at.str().starts_with("..") && !at.str().starts_with("../") {
        at.bad_str(e, "must not start with '..'");
    }
}

/// Demands a file mode, where one is set.
pub fn mode(e: &mut Errors, at: &At<'_>) {
    if !(0..=0o777).contains(&at.int()) {
        at.bad_int(e, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// Demands an integer of at least 0 or a percentage.
pub fn int_or_percent(e: &mut Errors, at: &At<'_>) {
    match at.value {
        Value::Str(text) if percent(text).is_none() => {
            at.bad_str(
                e,
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            );
        }
        Value::Str(_) => {}
        _ => at.non_negative(e),
    }
}

fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let all = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    all.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// The number of an integer or a percentage.
pub fn int_or_percent_value(value: &Value) -> i64 {
    match value {
        Value::Str(text) => percent(text).unwrap_or_else(|| text.parse().unwrap_or(0)),
        other => other.int_or(0),
    }
}

/// Refuses a percentage above 100.
pub fn at_most_all(e: &mut Errors, at: &At<'_>) {
    if at.value.as_str().and_then(percent).is_some_and(|n| n > 100) {
        at.bad_str(e, "must not be greater than 100%");
    }
}

/// What is wrong with an HTTP header's name.
pub fn header_name(text: &str) -> Vec<String> {
    let ok = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
    if ok { Vec::new() } else { Vec::from([why.to_string()]) }
}

/// Demands an absolute user or group id.
pub fn id(e: &mut Errors, at: &At<'_>) {
    if at.is_set() {
        at.within(e, 0, i64::from(i32::MAX));
    }
}

/// Checks `conditions` of the API's own form.
pub fn conditions(e: &mut Errors, at: &At<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for item in at.items() {
        let (kind, reason, message) = (item.get("type"), item.get("reason"), item.get("message"));
        if seen.contains(&kind.str()) {
            kind.bad_duplicate(e, kind.str());
        }
        seen.push(kind.str());
        check(e, &kind, names::qualified_name);
        item.get("status").one_of(e, &["False", "True", "Unknown"]);
        let generation = item.get("observedGeneration");
        if generation.int() < 0 {
            generation.bad_int(e, "must be greater than or equal to zero");
        }
        item.get("lastTransitionTime").demand(e);
        if reason.demand(e) {
            if !is_reason(reason.str()) {
                reason.bad_str(e, "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')");
            }
            if reason.str().len() > 1024 {
                reason.too_long(e, 1024);
            }
        }
        if message.str().len() > 32 * 1024 {
            message.too_long(e, 32 * 1024);
        }
    }
}

fn is_reason(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b',' | b':');
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|c| inner(*c))
        && bytes.last().is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_')
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    fn texts(check: impl Fn(&mut Errors)) -> Vec<String> {
        let mut e = Errors::new();
        check(&mut e);
        e.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn selectors() {
        let s = value!({ "matchExpressions": [{ "key": "a", "operator": "In" }] });
        assert_eq!(
            texts(|e| label_selector(e, &At::new(&s, "spec.selector"))),
            [
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
            ]
        );
        let s = value!({ "matchLabels": { "a": "b" } });
        assert_eq!(selects(&s, &value!({ "a": "b" })), Some(true));
        assert_eq!(selects(&s, &value!({ "a": "c" })), Some(false));
    }

    #[test]
    fn addresses() {
        assert!(sloppy_ip("010.0.0.1").is_some() && sloppy_ip("1.2.3").is_none());
        assert!(cidr("10.0.0.0/33").is_none() && cidr("fd00::/64").is_some());
        let ip = value!("FD00::1");
        assert_eq!(
            texts(|e| strict_ip(e, &At::new(&ip, "ip"))),
            ["ip: Invalid value: \"FD00::1\": must be in canonical form (\"fd00::1\")"]
        );
    }

    #[test]
    fn conditions_say_all() {
        let list = value!([
            { "type": "A", "status": "True", "reason": "Ok:B", "lastTransitionTime": "2026-01-01T00:00:00Z" },
            { "type": "A", "status": "Yes", "reason": "1", "observedGeneration": (-1) },
        ]);
        let found = texts(|e| conditions(e, &At::new(&list, "c")));
        assert_eq!(
            found[..4],
            [
                "c[1].type: Duplicate value: \"A\"",
                "c[1].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
                "c[1].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
                "c[1].lastTransitionTime: Required value",
            ]
        );
        assert!(found[4].starts_with("c[1].reason: Invalid value: \"1\": a condition reason must"));
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn percentages() {
        assert_eq!(int_or_percent_value(&value!("25%")), 25);
        assert_eq!(texts(|e| at_most_all(e, &At::new(&value!("101%"), "x"))).len(), 1);
        assert_eq!(texts(|e| int_or_percent(e, &At::new(&value!("x"), "x"))).len(), 1);
    }
}
