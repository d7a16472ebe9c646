//! Label and field selectors: parse, print, match.
//! The grammar and the texts are upstream's `k8s.io/apimachinery/pkg/labels`.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use smol_str::SmolStr;

use crate::names;

/// One requirement of a selector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requirement {
    /// The key is set to one of the values.
    In(SmolStr, BTreeSet<SmolStr>),
    /// The key is not set, or set to none of the values.
    NotIn(SmolStr, BTreeSet<SmolStr>),
    /// The key is set.
    Exists(SmolStr),
    /// The key is not set.
    DoesNotExist(SmolStr),
    /// The value is an integer greater than this.
    GreaterThan(SmolStr, i64),
    /// The value is an integer less than this.
    LessThan(SmolStr, i64),
}

impl Requirement {
    /// Whether the labels behind `get` meet the requirement.
    pub fn matches<'a>(&self, get: &impl Fn(&str) -> Option<&'a str>) -> bool {
        let int = |k: &str| get(k).and_then(|v| v.parse::<i64>().ok());
        match self {
            Requirement::In(k, values) => get(k).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(k, values) => get(k).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(k) => get(k).is_some(),
            Requirement::DoesNotExist(k) => get(k).is_none(),
            Requirement::GreaterThan(k, n) => int(k).is_some_and(|v| v > *n),
            Requirement::LessThan(k, n) => int(k).is_some_and(|v| v < *n),
        }
    }
}

/// A conjunction of requirements; the empty one matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
    /// Matches nothing, whatever the requirements (a null label selector).
    pub nothing: bool,
}

impl Selector {
    /// The selector that matches everything.
    pub fn everything() -> Self {
        Selector::default()
    }

    /// The selector that matches nothing.
    pub fn nothing() -> Self {
        Selector { requirements: Vec::new(), nothing: true }
    }

    /// Whether every object matches.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether the labels behind `get` meet every requirement.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(&get))
    }

    /// A selector of equalities, as `matchLabels` and a Service's `selector` are.
    pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirements = pairs
            .into_iter()
            .map(|(k, v)| Requirement::In(k.into(), BTreeSet::from([SmolStr::new(v)])))
            .collect();
        Selector { requirements, nothing: false }
    }

    /// Reads a label selector such as `app=web,tier in (a, b),!old`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let selector = parse(text)?;
        for requirement in &selector.requirements {
            check(requirement)?;
        }
        Ok(selector)
    }

    /// Reads a field selector such as `metadata.name=a,status.phase!=Running`. Only `=`, `==`
    /// and `!=` are allowed; `\` escapes `,`, `=` and `\`.
    pub fn parse_fields(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for term in split_unescaped(text) {
            if term.is_empty() {
                continue;
            }
            let (k, op, v) = split_field_term(&term)
                .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{term}'"))?;
            let values = BTreeSet::from([SmolStr::from(unescape(v)?)]);
            requirements.push(if op == "!=" {
                Requirement::NotIn(k.into(), values)
            } else {
                Requirement::In(k.into(), values)
            });
        }
        Ok(Selector { requirements, nothing: false })
    }

    /// The value that the selector demands for `key` by equality, if it does.
    pub fn exact(&self, key: &str) -> Option<&str> {
        self.requirements.iter().find_map(|r| match r {
            Requirement::In(k, v) if k == key && v.len() == 1 => v.first().map(SmolStr::as_str),
            _ => None,
        })
    }
}

fn check(requirement: &Requirement) -> Result<(), String> {
    let (key, values): (&str, Vec<&str>) = match requirement {
        Requirement::In(k, v) | Requirement::NotIn(k, v) => {
            (k, v.iter().map(SmolStr::as_str).collect())
        }
        Requirement::Exists(k) | Requirement::DoesNotExist(k) => (k, Vec::new()),
        Requirement::GreaterThan(k, _) | Requirement::LessThan(k, _) => (k, Vec::new()),
    };
    if let Some(e) = names::qualified_name(key).first() {
        return Err(format!("key: Invalid value: {key:?}: {e}"));
    }
    for value in values {
        if let Some(e) = names::label_value(value).first() {
            return Err(format!("values[0][{key}]: Invalid value: {value:?}: {e}"));
        }
    }
    Ok(())
}

fn split_unescaped(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    let mut term = String::new();
    let mut escaped = false;
    for c in text.chars() {
        if escaped {
            term.push('\\');
            term.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ',' {
            terms.push(core::mem::take(&mut term));
        } else {
            term.push(c);
        }
    }
    if escaped {
        term.push('\\');
    }
    terms.push(term);
    terms
}

fn split_field_term(term: &str) -> Option<(&str, &str, &str)> {
    let mut previous = ' ';
    for (i, c) in term.char_indices() {
        if previous != '\\' {
            for op in ["!=", "==", "="] {
                if term[i..].starts_with(op) {
                    return Some((&term[..i], op, &term[i + op.len()..]));
                }
            }
        }
        previous = c;
    }
    None
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(c @ ('\\' | ',' | '=')) => out.push(c),
            other => {
                return Err(format!(
                    "invalid field selector: invalid escape sequence: \\{}",
                    other.map(String::from).unwrap_or_default()
                ));
            }
        }
    }
    Ok(out)
}

#[derive(PartialEq, Debug, Clone)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'a str),
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    'next: while let Some(c) = rest.chars().next() {
        if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
            continue;
        }
        for symbol in ["==", "!=", "=", "!", "(", ")", ",", ">", "<"] {
            if let Some(tail) = rest.strip_prefix(symbol) {
                out.push(Token::Symbol(symbol));
                rest = tail;
                continue 'next;
            }
        }
        let end =
            rest.find(|c: char| c.is_whitespace() || "=!(),><".contains(c)).unwrap_or(rest.len());
        out.push(Token::Word(&rest[..end]));
        rest = &rest[end..];
    }
    out
}

fn parse(text: &str) -> Result<Selector, String> {
    let tokens = tokens(text);
    let mut requirements = Vec::new();
    let mut at = 0;
    let fail = |what: &str| format!("unable to parse requirement: {what}");
    let found = |t: Option<&Token<'_>>| match t {
        Some(Token::Word(w)) => (*w).to_string(),
        Some(Token::Symbol(s)) => (*s).to_string(),
        None => String::new(),
    };
    while at < tokens.len() {
        let negated = tokens[at] == Token::Symbol("!");
        if negated {
            at += 1;
        }
        let key = match tokens.get(at) {
            Some(Token::Word(w)) => SmolStr::new(*w),
            other => return Err(fail(&format!("found '{}', expected: identifier", found(other)))),
        };
        at += 1;
        let operator = tokens.get(at).cloned();
        let requirement = match operator {
            None | Some(Token::Symbol(",")) => {
                if negated {
                    Requirement::DoesNotExist(key)
                } else {
                    Requirement::Exists(key)
                }
            }
            _ if negated => {
                return Err(fail(&format!(
                    "found '{}', expected: ',' or 'end of string'",
                    found(operator.as_ref())
                )));
            }
            Some(Token::Symbol(op @ ("=" | "==" | "!=" | ">" | "<"))) => {
                at += 1;
                let value = match tokens.get(at) {
                    Some(Token::Word(w)) => {
                        at += 1;
                        SmolStr::new(*w)
                    }
                    None | Some(Token::Symbol(",")) => SmolStr::default(),
                    other => {
                        return Err(fail(&format!(
                            "found '{}', expected: identifier",
                            found(other)
                        )));
                    }
                };
                let number = || {
                    value.parse::<i64>().map_err(|_| format!("values[0][{key}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"))
                };
                match op {
                    "!=" => Requirement::NotIn(key, BTreeSet::from([value])),
                    ">" => Requirement::GreaterThan(key.clone(), number()?),
                    "<" => Requirement::LessThan(key.clone(), number()?),
                    _ => Requirement::In(key, BTreeSet::from([value])),
                }
            }
            Some(Token::Word(op @ ("in" | "notin"))) => {
                at += 1;
                let values = parse_values(&tokens, &mut at).map_err(|e| fail(&e))?;
                if op == "in" {
                    Requirement::In(key, values)
                } else {
                    Requirement::NotIn(key, values)
                }
            }
            other => {
                return Err(fail(&format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    found(other.as_ref())
                )));
            }
        };
        requirements.push(requirement);
        match tokens.get(at) {
            None => break,
            Some(Token::Symbol(",")) => {
                at += 1;
                if at == tokens.len() {
                    return Err(fail("found '', expected: identifier after ','"));
                }
            }
            other => {
                return Err(fail(&format!(
                    "found '{}', expected: ',' or 'end of string'",
                    found(other)
                )));
            }
        }
    }
    Ok(Selector { requirements, nothing: false })
}

fn parse_values(tokens: &[Token<'_>], at: &mut usize) -> Result<BTreeSet<SmolStr>, String> {
    if tokens.get(*at) != Some(&Token::Symbol("(")) {
        return Err("found no '(', expected: '('".to_string());
    }
    *at += 1;
    let mut values = BTreeSet::new();
    let mut expect_value = true;
    loop {
        match tokens.get(*at) {
            Some(Token::Word(w)) if expect_value => {
                values.insert(SmolStr::new(*w));
                expect_value = false;
            }
            Some(Token::Symbol(",")) => {
                if expect_value {
                    values.insert(SmolStr::default());
                }
                expect_value = true;
            }
            Some(Token::Symbol(")")) => {
                if expect_value {
                    values.insert(SmolStr::default());
                }
                *at += 1;
                return Ok(values);
            }
            _ => return Err("found '', expected: ',', ')' or identifier".to_string()),
        }
        *at += 1;
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join =
            |v: &BTreeSet<SmolStr>| v.iter().map(SmolStr::as_str).collect::<Vec<_>>().join(",");
        match self {
            Requirement::In(k, v) if v.len() == 1 => write!(f, "{k}={}", join(v)),
            Requirement::In(k, v) => write!(f, "{k} in ({})", join(v)),
            Requirement::NotIn(k, v) if v.len() == 1 => write!(f, "{k}!={}", join(v)),
            Requirement::NotIn(k, v) => write!(f, "{k} notin ({})", join(v)),
            Requirement::Exists(k) => f.write_str(k),
            Requirement::DoesNotExist(k) => write!(f, "!{k}"),
            Requirement::GreaterThan(k, n) => write!(f, "{k}>{n}"),
            Requirement::LessThan(k, n) => write!(f, "{k}<{n}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &'static str)]) -> bool {
        Selector::parse(selector)
            .unwrap()
            .matches(|k| labels.iter().find(|(key, _)| *key == k).map(|(_, v)| *v))
    }

    #[test]
    fn selectors_match_as_upstream() {
        let labels = [("app", "web"), ("tier", "a"), ("n", "5")];
        for yes in [
            "",
            "app=web",
            "app==web,tier in (a, b)",
            "!old",
            "old!=x",
            "old notin (x)",
            "app",
            "n>4,n<6",
        ] {
            assert!(matches(yes, &labels), "{yes}");
        }
        for no in ["app=db", "app!=web", "tier notin (a)", "!app", "old", "n>5", "app="] {
            assert!(!matches(no, &labels), "{no}");
        }
        for bad in ["app=web,", "=x", "app in a", "app in (a", "!app=x", "a b", "x>y", "-=a"] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn selectors_print_in_canonical_form() {
        assert_eq!(
            Selector::parse("a==b, c in (y,x) ,!d").unwrap().to_string(),
            "a=b,c in (x,y),!d"
        );
    }

    #[test]
    fn field_selectors() {
        let s = Selector::parse_fields("metadata.name=a,status.phase!=Running").unwrap();
        assert_eq!(s.exact("metadata.name"), Some("a"));
        assert!(Selector::parse_fields("metadata.name").is_err());
    }
}
