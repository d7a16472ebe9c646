//! Query parameters.

/// Decoded pairs in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|p| !p.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// `1`, `true` and the like.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// A number; one that cannot be read is an error with upstream's text.
    pub fn number(&self, name: &str) -> Result<Option<u64>, String> {
        match self.get(name).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|_| format!("invalid value {text:?} for {name}"))
            }
        }
    }
}

/// Percent decoding; what is malformed stays as it is.
pub fn decode(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        let byte = hex.filter(|_| *first == b'%').and_then(|h| u8::from_str_radix(h, 16).ok());
        match (byte, first) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (None, b'+') if plus_is_space => bytes.push(b' '),
            (None, other) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query =
            Query::parse(Some("command=a%20b%26c&command=d+e&tty=1&tailLines=x&empty&%zz=1"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["a b&c", "d e"]);
        assert!(query.flag("tty") && !query.flag("stdin"));
        assert!(query.number("tailLines").is_err());
        assert_eq!(query.number("none"), Ok(None));
        assert_eq!(query.get("%zz"), Some("1"));
        assert_eq!(Query::parse(None), Query::default());
    }
}
