//! The line between a server in the background and the `up` that started it.
//!
//! The server writes lines to its standard output: `step <text>`, then `ready`, or
//! `failed <text>`. `up` shows them and ends with the last.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Instant;

use anyhow::{Result, bail};

/// The server's end.
#[derive(Clone, Copy)]
pub struct Reporter {
    /// Whether somebody listens; a server in the foreground only logs.
    pub enabled: bool,
}

impl Reporter {
    /// A step has been reached.
    pub fn step(&self, text: &str) {
        tracing::info!("{text}");
        self.line(&format!("step {text}"));
    }

    /// The cluster is up.
    pub fn ready(&self) {
        tracing::info!("the cluster is ready");
        self.line("ready");
    }

    /// The server gives up.
    pub fn failed(&self, why: &str) {
        self.line(&format!("failed {}", why.replace('\n', "\\n")));
    }

    fn line(&self, text: &str) {
        if self.enabled {
            // The listener may be gone: the server runs on without it.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{text}");
            let _ = out.flush();
        }
    }
}

/// Shows the server's lines until it is ready.
pub fn follow(from: impl Read, started: Instant, out: &mut impl Write) -> Result<()> {
    for line in BufReader::new(from).lines() {
        let line = line?;
        let seconds = started.elapsed().as_secs_f64();
        match line.split_once(' ').unwrap_or((line.as_str(), "")) {
            ("step", text) => writeln!(out, "{seconds:6.2}s  {text}")?,
            ("ready", _) => return Ok(()),
            ("failed", why) => bail!("{}", why.replace("\\n", "\n")),
            _ => {}
        }
    }
    bail!("the server ended before the cluster was ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_decides() {
        let run = |text: &str| {
            let mut out = Vec::new();
            let result = follow(text.as_bytes(), Instant::now(), &mut out);
            (result.map_err(|e| e.to_string()), String::from_utf8(out).unwrap())
        };
        let (result, out) = run("step a\nstep b c\nready\nstep late\n");
        assert!(
            result.is_ok() && out.contains("a\n") && out.contains("b c") && !out.contains("late")
        );
        assert_eq!(run("step a\nfailed x\\ny\n").0.unwrap_err(), "x\ny");
        assert!(run("step a\n").0.unwrap_err().contains("ended before"));
    }
}
