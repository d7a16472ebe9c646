//! Reads Dockerfiles.
//!
//! ```text
//! text ─lines─► logical lines with heredocs ─command─► Vec<Instruction> ─► stages (plan.rs)
//! ```

pub mod command;
pub mod expand;
pub mod lines;
pub mod words;

pub use command::{Command, Copy, Form, Run};
pub use expand::{expand, expand_words};

use crate::error::{Error, Result};

/// The size of a Dockerfile; BuildKit's own bound is the same order.
pub const SIZE_LIMIT: usize = 4 << 20;

/// One instruction of a Dockerfile.
#[derive(Clone, PartialEq, Debug)]
pub struct Instruction {
    /// Counts from 1.
    pub line: usize,
    /// The instruction as the user wrote it, on one line.
    pub text: String,
    pub command: Command,
}

/// A whole Dockerfile.
#[derive(Clone, PartialEq, Debug)]
pub struct Dockerfile {
    pub instructions: Vec<Instruction>,
    pub escape: char,
}

/// Reads a Dockerfile. `file` is its name for messages.
pub fn parse(text: &str, file: &str) -> Result<Dockerfile> {
    if text.len() > SIZE_LIMIT {
        return Err(Error::TooLarge(format!("{file} has over {SIZE_LIMIT} bytes")));
    }
    let at =
        |line: usize, reason: String| Error::Dockerfile { file: file.to_owned(), line, reason };
    let (escape, lines) = lines::split(text).map_err(|(line, reason)| at(line, reason))?;
    if lines.is_empty() {
        return Err(at(1, "file with no instructions".to_owned()));
    }
    let mut instructions = Vec::new();
    for line in lines {
        let command = command::parse(&line, escape).map_err(|reason| at(line.number, reason))?;
        instructions.push(Instruction { line: line.number, text: line.text, command });
    }
    Ok(Dockerfile { instructions, escape })
}

/// Reads one instruction given outside a Dockerfile: an `ONBUILD` trigger, a change.
pub fn parse_one(text: &str) -> std::result::Result<Command, String> {
    let (escape, lines) = lines::split(text).map_err(|(_, reason)| reason)?;
    match lines.as_slice() {
        [line] => command::parse(line, escape),
        _ => Err(format!("{text:?} is not one instruction")),
    }
}

#[cfg(test)]
mod tests;
