//! Running programs and waiting for conditions.

use std::fmt::Debug;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A case's result; the error is text for a person.
pub type Result<T = ()> = std::result::Result<T, String>;

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where the real clients are: `$TIMONIER_TOOLS`, else `target/tools` of the workspace.
pub fn tools() -> PathBuf {
    match std::env::var_os("TIMONIER_TOOLS") {
        Some(dir) => dir.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"),
    }
}

/// The real kubectl v1.35.
pub fn kubectl() -> PathBuf {
    tools().join("kubectl")
}

/// Why the end-to-end tests cannot run here, if so.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("end-to-end tests need root".into());
    }
    (!kubectl().exists())
        .then(|| format!("there is no kubectl in {}; `make tools` brings it", tools().display()))
}

/// What a program printed.
pub struct Output {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end, with text on its standard input.
pub fn run(command: &mut Command, input: &str) -> Result<Output> {
    let text = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{text}: {e}"))?;
    let mut stdin = child.stdin.take().expect("a piped standard input");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().map_err(|e| format!("{text}: {e}"))?;
    let _ = writer.join();
    Ok(Output {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program that must succeed; gives its standard output.
pub fn succeed(command: &mut Command, input: &str) -> Result<String> {
    let text = format!("{command:?}");
    let output = run(command, input)?;
    if output.status == 0 {
        return Ok(output.stdout);
    }
    Err(format!("{text}\nexit {}\n{}{}", output.status, output.stdout, output.stderr))
}

/// Asks until the answer is there. For conditions outside the API that nothing announces; each
/// question is a program's run, so that no pause is needed between them.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(last) if Instant::now() > deadline => {
                return Err(format!("{what} did not happen within {PATIENCE:?}; last: {last}"));
            }
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Fails unless the text holds every part.
pub fn contains(text: &str, parts: &[&str]) -> Result {
    match parts.iter().find(|p| !text.contains(**p)) {
        None => Ok(()),
        Some(part) => Err(format!("{part:?} is missing in:\n{text}")),
    }
}

/// Fails unless both are equal.
pub fn equal<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Result {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, expected {expected:?}"))
}
