//! The binary: composes everything.
//!
//! Containers and shims are this same program, started again with hidden arguments; that is why
//! the runtime looks at the arguments first, while there is a single thread.

mod agent;
mod environment;
mod logging;
mod node;
mod renewal;
mod server;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use timonier_cli::args::{Cli, Command};
use timonier_cli::command;

fn main() -> ExitCode {
    if let Some(code) = timonier_runtime::reexec_main(std::env::args_os()) {
        return ExitCode::from(code as u8);
    }
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("timonier: {}", explained(&error));
            if is_for_root(&error) {
                eprintln!("A cluster's files are root's alone: run it with sudo.");
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether root would have succeeded.
fn is_for_root(error: &anyhow::Error) -> bool {
    let refused = |e: &(dyn std::error::Error + 'static)| {
        e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::PermissionDenied)
    };
    !nix::unistd::geteuid().is_root() && error.chain().any(refused)
}

/// The error with its causes. Some errors' own text ends with their cause; it is said once.
fn explained(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| {
        match (text.is_empty(), text.ends_with(&cause)) {
            (true, _) => cause,
            (false, true) => text,
            (false, false) => format!("{text}: {cause}"),
        }
    })
}

fn run(what: Command) -> anyhow::Result<()> {
    match what {
        Command::Up(args) => command::up::run(&args),
        Command::Down(args) => command::down::run(&args),
        Command::Status(args) => command::status::run(&args),
        Command::Reset(args) => command::reset::run(&args),
        Command::Server(args) => server::run(&args),
        Command::Agent(args) => agent::run(&args),
        Command::Token(args) => command::token::run(&args),
        Command::Example(args) => command::example::run(&args),
        Command::Build(args) => command::build::run(&args),
        Command::Images(args) => command::images::run(&args),
        Command::Pull(args) => command::pull::run(&args),
        Command::Image(args) => command::image::run(&args),
        Command::Registry(args) => command::registry::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::explained;

    #[test]
    fn causes_are_said_once() {
        let cause: anyhow::Result<()> = Err(anyhow!("no such file"));
        let error = cause.context("read x: no such file").context("build").unwrap_err();
        assert_eq!(explained(&error), "build: read x: no such file");
    }
}
