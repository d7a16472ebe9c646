//! Characters to tokens.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smol_str::SmolStr;

use crate::ast::Literal;
use crate::error::Issues;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token {
    Ident(SmolStr),
    /// A number, a string or bytes; `true`, `false` and `null`.
    Literal(Literal),
    /// A sign or `in`.
    Sign(&'static str),
    End,
}

/// A token, where it begins, and its text for errors.
#[derive(Clone, Debug)]
pub(crate) struct Spanned {
    pub token: Token,
    pub at: u32,
    pub text: SmolStr,
}

/// Longest first.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

/// The tokens of a source, with an end token. Errors go to `issues`.
pub(crate) fn tokens(source: &str, issues: &mut Issues) -> Vec<Spanned> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, pos: 0, issues };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let start = lexer.pos;
        let token = match lexer.next() {
            Some(token) => token,
            None => continue,
        };
        let text = chars[start..lexer.pos].iter().collect::<String>();
        let end = token == Token::End;
        let text = if end { SmolStr::new_static("<EOF>") } else { text.into() };
        tokens.push(Spanned { token, at: start as u32, text });
        if end {
            return tokens;
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    pos: usize,
    issues: &'a mut Issues,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.pos + ahead).copied()
    }

    fn skip_space(&mut self) {
        while let Some(c) = self.peek(0) {
            if matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{c}') {
                self.pos += 1;
            } else if c == '/' && self.peek(1) == Some('/') {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.pos += 1;
                }
            } else {
                return;
            }
        }
    }

    /// The token at the position; `None` after an error, past what was wrong.
    fn next(&mut self) -> Option<Token> {
        let Some(c) = self.peek(0) else { return Some(Token::End) };
        if c.is_ascii_alphabetic() || c == '_' {
            return match self.string_prefix() {
                Some(prefix) => self.string(prefix),
                None => Some(self.word()),
            };
        }
        if matches!(c, '"' | '\'') {
            return self.string((false, false));
        }
        if c.is_ascii_digit() || c == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            return self.number();
        }
        for sign in SIGNS {
            if sign.chars().enumerate().all(|(i, s)| self.peek(i) == Some(s)) {
                self.pos += sign.len();
                return Some(Token::Sign(sign));
            }
        }
        self.unknown(self.pos, self.pos + 1);
        self.pos += 1;
        None
    }

    fn unknown(&mut self, from: usize, to: usize) {
        let text: String = self.chars[from..to.min(self.chars.len())].iter().collect();
        let text = text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
        let message = format!("Syntax error: token recognition error at: '{text}'");
        self.issues.report(from as u32, message);
    }

    fn word(&mut self) -> Token {
        let start = self.pos;
        while self.peek(0).is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.pos += 1;
        }
        let word: String = self.chars[start..self.pos].iter().collect();
        match word.as_str() {
            "true" => Token::Literal(Literal::Bool(true)),
            "false" => Token::Literal(Literal::Bool(false)),
            "null" => Token::Literal(Literal::Null),
            "in" => Token::Sign("in"),
            _ => Token::Ident(word.into()),
        }
    }

    fn number(&mut self) -> Option<Token> {
        let start = self.pos;
        if self.peek(0) == Some('0')
            && matches!(self.peek(1), Some('x' | 'X'))
            && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit())
        {
            self.pos += 2;
            let digits = self.take(|c| c.is_ascii_hexdigit());
            return self.integer(start, &digits, 16);
        }
        let whole = self.take(|c| c.is_ascii_digit());
        let fraction =
            self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit());
        if fraction {
            self.pos += 1;
            self.take(|c| c.is_ascii_digit());
        }
        let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
        let exponent = matches!(self.peek(0), Some('e' | 'E'))
            && self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit());
        if exponent {
            self.pos += 1 + sign;
            self.take(|c| c.is_ascii_digit());
        }
        if !fraction && !exponent {
            return self.integer(start, &whole, 10);
        }
        let text: String = self.chars[start..self.pos].iter().collect();
        match text.parse::<f64>() {
            Ok(n) if n.is_finite() => Some(Token::Literal(Literal::Double(n))),
            _ => {
                self.issues.report(start as u32, "invalid double literal");
                Some(Token::Literal(Literal::Double(0.0)))
            }
        }
    }

    fn take(&mut self, want: impl Fn(char) -> bool) -> String {
        let start = self.pos;
        while self.peek(0).is_some_and(&want) {
            self.pos += 1;
        }
        self.chars[start..self.pos].iter().collect()
    }

    /// An integer; 2^63 is let through as its negative, for a minus sign before it.
    fn integer(&mut self, start: usize, digits: &str, base: u32) -> Option<Token> {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.pos += 1;
            let n = u64::from_str_radix(digits, base);
            if n.is_err() {
                self.issues.report(start as u32, "invalid uint literal");
            }
            return Some(Token::Literal(Literal::Uint(n.unwrap_or(0))));
        }
        let n = match u64::from_str_radix(digits, base) {
            Ok(n) if n <= i64::MAX as u64 => n as i64,
            Ok(n) if n == 1 << 63 && start > 0 && self.chars[start - 1] == '-' => i64::MIN,
            _ => {
                self.issues.report(start as u32, "invalid int literal");
                0
            }
        };
        Some(Token::Literal(Literal::Int(n)))
    }

    /// Whether a string begins here with letters before its quote: raw, bytes.
    fn string_prefix(&self) -> Option<(bool, bool)> {
        let quote = |i| matches!(self.peek(i), Some('"' | '\''));
        match (self.peek(0)?.to_ascii_lowercase(), self.peek(1)?.to_ascii_lowercase()) {
            ('r', _) if quote(1) => Some((true, false)),
            ('b', _) if quote(1) => Some((false, true)),
            ('r', 'b') | ('b', 'r') if quote(2) => Some((true, true)),
            _ => None,
        }
    }

    fn string(&mut self, (raw, bytes): (bool, bool)) -> Option<Token> {
        let start = self.pos;
        self.pos += usize::from(raw) + usize::from(bytes);
        let quote = self.peek(0)?;
        let long = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        self.pos += if long { 3 } else { 1 };
        let mut out = Text { bytes: Vec::new(), as_bytes: bytes };
        loop {
            let Some(c) = self.peek(0) else { break self.unknown(start, self.chars.len()) };
            if c == quote && (!long || self.peek(1) == Some(quote) && self.peek(2) == Some(quote)) {
                self.pos += if long { 3 } else { 1 };
                return Some(self.finish(start, out));
            }
            if !long && matches!(c, '\n' | '\r') {
                break self.unknown(start, self.pos);
            }
            self.pos += 1;
            if c != '\\' || raw {
                out.push(c);
                continue;
            }
            if self.escape(&mut out).is_none() {
                self.issues.report(start as u32, "invalid escape sequence in string literal");
            }
        }
        None
    }

    fn finish(&mut self, start: usize, text: Text) -> Token {
        if text.as_bytes {
            return Token::Literal(Literal::Bytes(Arc::from(text.bytes)));
        }
        let text = String::from_utf8(text.bytes).unwrap_or_else(|_| {
            self.issues.report(start as u32, "invalid UTF-8 in string literal");
            String::new()
        });
        Token::Literal(Literal::Str(text.into()))
    }

    /// What follows a backslash.
    fn escape(&mut self, out: &mut Text) -> Option<()> {
        let c = self.peek(0)?;
        self.pos += 1;
        let plain = match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '\'' | '"' | '`' | '?' => c,
            'x' | 'X' => return out.code(self.digits(2, 16)?),
            'u' => return out.unicode(self.digits(4, 16)?),
            'U' => return out.unicode(self.digits(8, 16)?),
            '0'..='3' => {
                self.pos -= 1;
                return out.code(self.digits(3, 8)?);
            }
            _ => return None,
        };
        out.push(plain);
        Some(())
    }

    fn digits(&mut self, count: usize, base: u32) -> Option<u32> {
        let mut n = 0u32;
        for _ in 0..count {
            n = n.checked_mul(base)?.checked_add(self.peek(0)?.to_digit(base)?)?;
            self.pos += 1;
        }
        Some(n)
    }
}

/// The content of a string on its way.
struct Text {
    bytes: Vec<u8>,
    as_bytes: bool,
}

impl Text {
    fn push(&mut self, c: char) {
        self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// `\x41`, `\101`: a byte in bytes, a character in a string.
    fn code(&mut self, n: u32) -> Option<()> {
        if self.as_bytes {
            self.bytes.push(u8::try_from(n).ok()?);
        } else {
            self.push(char::from_u32(n)?);
        }
        Some(())
    }

    fn unicode(&mut self, n: u32) -> Option<()> {
        if self.as_bytes {
            return None;
        }
        self.push(char::from_u32(n)?);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(source: &str) -> Option<Literal> {
        let mut issues = Issues::default();
        let tokens = tokens(source, &mut issues);
        match &tokens[0].token {
            Token::Literal(l) if issues.is_empty() && tokens.len() == 2 => Some(l.clone()),
            _ => None,
        }
    }

    #[test]
    fn literals() {
        let s = |t: &str| Some(Literal::Str(t.into()));
        let b = |t: &[u8]| Some(Literal::Bytes(Arc::from(t)));
        assert_eq!(literal("0x1F"), Some(Literal::Int(31)));
        assert_eq!(literal("12u"), Some(Literal::Uint(12)));
        assert_eq!(literal("1.5e3"), Some(Literal::Double(1500.0)));
        assert_eq!(literal(".5"), Some(Literal::Double(0.5)));
        assert_eq!(literal("1e-2"), Some(Literal::Double(0.01)));
        assert_eq!(literal(r#"'a\tb\x41\u00e9\101\"'"#), s("a\tbAéA\""));
        assert_eq!(literal(r#"r'a\tb'"#), s("a\\tb"));
        assert_eq!(literal("'''a'\n\"b'''"), s("a'\n\"b"));
        assert_eq!(literal(r#"b'\xff\303é'"#), b(b"\xff\xc3\xc3\xa9"));
        for bad in ["'a", "'a\nb'", r"'\q'", r"b'\u0041'", r"'\ud800'", "9223372036854775808", "#"]
        {
            assert_eq!(literal(bad), None, "{bad}");
        }
    }
}
