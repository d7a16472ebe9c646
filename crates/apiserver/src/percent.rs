//! Percent-decoding of paths and queries.

/// Decodes `%41` and, where `plus` says so, `+` as a space. The error is Go's text for a broken
/// escape; bytes that are no UTF-8 become the replacement character.
pub fn decode(text: &str, plus: bool) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'%' => {
                let pair = bytes.get(i + 1..i + 3).and_then(|p| Some((hex(p[0])?, hex(p[1])?)));
                let Some((high, low)) = pair else {
                    let end = (i + 3).min(bytes.len());
                    let broken = String::from_utf8_lossy(&bytes[i..end]);
                    return Err(format!("invalid URL escape {broken:?}"));
                };
                out.push(high << 4 | low);
                i += 3;
            }
            b'+' if plus => {
                out.push(b' ');
                i += 1;
            }
            c => {
                out.push(c);
                i += 1;
            }
        }
    }
    Ok(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into()))
}

fn hex(c: u8) -> Option<u8> {
    (c as char).to_digit(16).map(|d| d as u8)
}

/// Encodes a path segment.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        assert_eq!(decode("a%2Fb+c", true).unwrap(), "a/b c");
        assert_eq!(decode("a+b", false).unwrap(), "a+b");
        assert_eq!(decode("%ff", false).unwrap(), "\u{fffd}");
        for bad in ["%", "%1", "%zz", "a%4"] {
            assert!(decode(bad, true).is_err(), "{bad}");
        }
        assert_eq!(decode(&encode("a b/ü"), false).unwrap(), "a b/ü");
    }
}
