//! Errors of compiling, with the place in the source as cel-go prints it, and of evaluating.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// The most errors that are reported of one expression.
const MAX_ISSUES: usize = 100;

/// One thing wrong with an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issue {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    pub message: String,
    /// The source line with a caret under the place.
    snippet: String,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR: <input>:{}:{}: {}{}", self.line, self.column, self.message, self.snippet)
    }
}

/// Everything wrong with an expression, by place. It prints as cel-go's issues do, one after the
/// other with line breaks between; Kubernetes puts `compilation failed: ` before them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompileErrors {
    pub issues: Vec<Issue>,
}

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, issue) in self.issues.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            issue.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for CompileErrors {}

/// Collects issues as positions and messages; places are worked out at the end.
#[derive(Default)]
pub(crate) struct Issues {
    found: Vec<(u32, String)>,
}

impl Issues {
    pub fn report(&mut self, at: u32, message: impl Into<String>) {
        if self.found.len() < MAX_ISSUES {
            self.found.push((at, message.into()));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The errors with their places, where there are any.
    pub fn finish(mut self, source: &str) -> Result<(), CompileErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|(at, _)| *at);
        let issues = self.found.into_iter().map(|(at, message)| issue(source, at, message));
        Err(CompileErrors { issues: issues.collect() })
    }
}

fn issue(source: &str, at: u32, message: String) -> Issue {
    let mut rest = at as usize;
    let mut line = 1;
    let mut text = "";
    for (i, l) in source.split('\n').enumerate() {
        (line, text) = (i as u32 + 1, l);
        let length = l.chars().count();
        if rest <= length {
            break;
        }
        rest -= length + 1;
    }
    let mut snippet = format!("\n | {}\n | ", text.replace('\t', " "));
    let mut chars = text.chars();
    for _ in 0..rest {
        let wide = chars.next().is_some_and(|c| c.len_utf8() > 1);
        snippet.push(if wide { '\u{ff0e}' } else { '.' });
    }
    let wide = chars.next().is_some_and(|c| c.len_utf8() > 1);
    snippet.push(if wide { '\u{ff3e}' } else { '^' });
    Issue { line, column: rest as u32 + 1, message, snippet }
}

/// Why an evaluation gave no value. The texts are cel-go's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EvalError {
    /// The arguments' types fit no implementation.
    NoSuchOverload,
    NoSuchKey(String),
    /// A variable that nobody bound.
    NoSuchAttribute(String),
    IndexOutOfBounds(String),
    /// The budget is used up; nothing catches this.
    CostLimit,
    /// Anything else, with its whole text.
    Message(String),
}

impl EvalError {
    /// An error with a text of its own.
    pub fn new(text: impl ToString) -> Self {
        EvalError::Message(text.to_string())
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvalError::NoSuchOverload => f.write_str("no such overload"),
            EvalError::NoSuchKey(key) => write!(f, "no such key: {key}"),
            EvalError::NoSuchAttribute(name) => write!(f, "no such attribute(s): {name}"),
            EvalError::IndexOutOfBounds(index) => write!(f, "index out of bounds: {index}"),
            EvalError::CostLimit => f.write_str("operation cancelled: actual cost limit exceeded"),
            EvalError::Message(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for EvalError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_print_as_cel_go_prints_them() {
        let mut issues = Issues::default();
        issues.report(7, "second");
        issues.report(0, "first");
        let text = issues.finish("a +\n b + é").unwrap_err().to_string();
        assert_eq!(
            text,
            "ERROR: <input>:1:1: first\n | a +\n | ^\nERROR: <input>:2:4: second\n |  b + é\n | ...^"
        );
        let mut issues = Issues::default();
        issues.report(2, "x");
        let text = issues.finish("é é").unwrap_err().to_string();
        assert_eq!(text, "ERROR: <input>:1:3: x\n | é é\n | \u{ff0e}.\u{ff3e}");
    }
}
