//! Variables in words: `$a`, `${a}`, `${a:-b}` and the other forms that Docker knows.

use crate::build::pattern;

/// Where variables come from.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces variables and removes quotes; the result is one word.
pub fn expand(text: &str, escape: char, lookup: Lookup<'_>) -> Result<String, String> {
    let words = run(text, escape, lookup, false, false)?;
    Ok(words.concat())
}

/// Replaces variables and splits at blanks outside quotes, also those that come out of
/// variables.
pub fn expand_words(text: &str, escape: char, lookup: Lookup<'_>) -> Result<Vec<String>, String> {
    run(text, escape, lookup, true, false)
}

/// Replaces variables in a heredoc; quotes are plain characters there.
pub fn expand_heredoc(text: &str, escape: char, lookup: Lookup<'_>) -> Result<String, String> {
    Ok(run(text, escape, lookup, false, true)?.concat())
}

/// Bounds both nesting and the size that `${a:-…}` upon `${a:-…}` could reach.
const DEPTH_LIMIT: usize = 32;
const SIZE_LIMIT: usize = 1 << 20;

fn run(
    text: &str,
    escape: char,
    lookup: Lookup<'_>,
    split: bool,
    raw: bool,
) -> Result<Vec<String>, String> {
    let rest: Vec<char> = text.chars().collect();
    let mut expander = Expander {
        rest,
        at: 0,
        escape,
        lookup,
        split,
        raw,
        words: Vec::new(),
        word: None,
        depth: 0,
    };
    expander.all()?;
    Ok(expander.words)
}

struct Expander<'a> {
    rest: Vec<char>,
    at: usize,
    escape: char,
    lookup: Lookup<'a>,
    split: bool,
    raw: bool,
    words: Vec<String>,
    /// The word under way; quotes make one also of nothing.
    word: Option<String>,
    depth: usize,
}

impl Expander<'_> {
    fn all(&mut self) -> Result<(), String> {
        let mut quoted = false;
        while let Some(c) = self.next() {
            match c {
                '\'' if !self.raw && !quoted => self.single_quoted()?,
                '"' if !self.raw => {
                    quoted = !quoted;
                    self.put("")?;
                }
                '$' => {
                    let value = self.variable()?;
                    self.put_value(&value, quoted)?;
                }
                c if c == self.escape => self.escaped(quoted)?,
                c if self.split && !quoted && c.is_whitespace() => self.end_word(),
                c => self.put(c.encode_utf8(&mut [0; 4]))?,
            }
        }
        if quoted {
            return Err(
                "unexpected end of statement while looking for matching double-quote".to_owned()
            );
        }
        self.end_word();
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.get(self.at).copied();
        self.at += usize::from(c.is_some());
        c
    }

    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn put(&mut self, text: &str) -> Result<(), String> {
        let word = self.word.get_or_insert_default();
        if word.len() + text.len() > SIZE_LIMIT {
            return Err("the value of a variable is too long".to_owned());
        }
        word.push_str(text);
        Ok(())
    }

    fn put_value(&mut self, value: &str, quoted: bool) -> Result<(), String> {
        if !self.split || quoted {
            return self.put(value);
        }
        for c in value.chars() {
            if c.is_whitespace() {
                self.end_word();
            } else {
                self.put(c.encode_utf8(&mut [0; 4]))?;
            }
        }
        Ok(())
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn single_quoted(&mut self) -> Result<(), String> {
        self.put("")?;
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => self.put(c.encode_utf8(&mut [0; 4]))?,
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching single-quote"
                            .to_owned(),
                    );
                }
            }
        }
    }

    /// In quotes and heredocs only some characters can be escaped.
    fn escaped(&mut self, quoted: bool) -> Result<(), String> {
        let escape = self.escape;
        let Some(c) = self.next() else { return self.put(escape.encode_utf8(&mut [0; 4])) };
        let special = c == '$' || c == escape || (c == '"' && !self.raw);
        if (quoted || self.raw) && !special {
            self.put(escape.encode_utf8(&mut [0; 4]))?;
        }
        self.put(c.encode_utf8(&mut [0; 4]))
    }

    /// What follows a dollar sign.
    fn variable(&mut self) -> Result<String, String> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                (self.lookup)(&name).unwrap_or_default()
            });
        }
        self.next();
        let name = self.name();
        if name.is_empty() {
            return Err("syntax error: bad substitution".to_owned());
        }
        let value = (self.lookup)(&name);
        let colon = self.peek() == Some(':');
        if colon {
            self.next();
        }
        let operator = self.next().ok_or("syntax error: missing '}'")?;
        match operator {
            '}' if !colon => Ok(value.unwrap_or_default()),
            '-' | '+' | '?' => {
                let word = self.inner('}')?;
                let present = value.as_ref().is_some_and(|v| !colon || !v.is_empty());
                match operator {
                    '-' if present => Ok(value.unwrap_or_default()),
                    '-' => Ok(word),
                    '+' => Ok(if present { word } else { String::new() }),
                    _ if present => Ok(value.unwrap_or_default()),
                    _ => {
                        let default = if colon {
                            "not allowed to be empty"
                        } else {
                            "not allowed to be unset"
                        };
                        let message = if word.is_empty() { default } else { &word };
                        Err(format!("{name}: {message}"))
                    }
                }
            }
            '#' | '%' if !colon => {
                let longest = self.peek() == Some(operator);
                if longest {
                    self.next();
                }
                let wanted = self.inner('}')?;
                Ok(pattern::trim(&value.unwrap_or_default(), &wanted, operator == '#', longest))
            }
            '/' if !colon => {
                let all = self.peek() == Some('/');
                if all {
                    self.next();
                }
                let wanted = self.inner('/')?;
                let replacement = self.inner('}')?;
                Ok(pattern::replace(&value.unwrap_or_default(), &wanted, &replacement, all))
            }
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    /// Letters, digits and underscores; a digit or a special parameter stands alone.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let digit_first = name.is_empty() && c.is_ascii_digit();
            if !(c.is_ascii_alphanumeric() || c == '_') {
                break;
            }
            name.push(c);
            self.at += 1;
            if digit_first {
                break;
            }
        }
        name
    }

    /// The word of `${a:-word}`, itself expanded, up to the closing character.
    fn inner(&mut self, close: char) -> Result<String, String> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err("substitutions are nested too deeply".to_owned());
        }
        let mut out = String::new();
        loop {
            let c = self.next().ok_or("syntax error: missing '}'")?;
            match c {
                c if c == close => break,
                // `${a/b}`: nothing to put in its place.
                '}' if close == '/' => {
                    self.at -= 1;
                    break;
                }
                '$' => out.push_str(&self.variable()?),
                '\'' | '"' if !self.raw => {
                    while let Some(quoted) = self.next().filter(|q| *q != c) {
                        match quoted {
                            '$' if c == '"' => out.push_str(&self.variable()?),
                            q => out.push(q),
                        }
                    }
                }
                c if c == self.escape => out.extend(self.next()),
                c => out.push(c),
            }
            if out.len() > SIZE_LIMIT {
                return Err("the value of a variable is too long".to_owned());
            }
        }
        self.depth -= 1;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "a" => Some("one".to_owned()),
            "empty" => Some(String::new()),
            "path" => Some("/usr/local/lib.tar.gz".to_owned()),
            "two" => Some("x y".to_owned()),
            _ => None,
        };
        expand(text, '\\', &lookup)
    }

    #[test]
    fn all_forms() {
        for (text, result) in [
            ("$a-${a}b$", "one-oneb$"),
            ("${no:-x}${empty:-y}${empty-z}${a:-w}", "xyone"),
            ("${a:+yes}${empty:+no}${empty+set}${no+no}", "yesset"),
            ("'$a' \"$a\" \\$a", "$a one $a"),
            ("${no:-${a}}", "one"),
            ("${no:-\"q $a\"}", "q one"),
            ("${path#*/}", "usr/local/lib.tar.gz"),
            ("${path##*/}", "lib.tar.gz"),
            ("${path%.*}", "/usr/local/lib.tar"),
            ("${path%%.*}", "/usr/local/lib"),
            ("${path/l/L}", "/usr/Local/lib.tar.gz"),
            ("${path//l/L}", "/usr/LocaL/Lib.tar.gz"),
            ("${a/o}", "ne"),
            ("\"a\\nb\\\"\"", "a\\nb\""),
            ("", ""),
        ] {
            assert_eq!(with(text).as_deref(), Ok(result), "{text}");
        }
        assert_eq!(with("${no:?wanted}").unwrap_err(), "no: wanted");
        for bad in ["${", "${}", "${a", "${a:", "${a!b}", "'x", "\"x", "${a:=b}"] {
            assert!(with(bad).is_err(), "{bad}");
        }
        let lookup = |_: &str| Some("x y".to_owned());
        assert_eq!(expand_words("$v \"$v\" z", '\\', &lookup).unwrap(), ["x", "y", "x y", "z"]);
        assert_eq!(expand_heredoc("'$v' \"\\$v\"", '\\', &lookup).unwrap(), "'x y' \"$v\"");
        assert!(with(&"${no:-".repeat(100)).is_err());
    }
}
