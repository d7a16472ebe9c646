//! Runs the targets in processes of their own, and says what came of it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;

use clap::Parser;
use nix::sys::resource::{Resource, setrlimit};

use crate::{Target, all, attempt};

/// What a target may take of memory: more is a bomb that went off. Bytes; the first is of addresses,
/// so that one large allocation fails at once, the second of what is in use.
const ADDRESSES: u64 = 2 << 30;
const MEBIBYTES: u64 = 1024;
/// What a thread of the program has of stack, so the target has no more. Bytes.
const STACK: u64 = 2 << 20;
/// An input that takes longer hangs. Seconds, generous: the machine may be busy.
const PATIENCE: u64 = 20;
/// Longest input made, in bytes.
const LONGEST: usize = 16 << 10;
/// Lines of the log that are shown after a failure, and bytes of the input.
const SHOWN: (usize, usize) = (15, 400);

/// Runs every decoder on mutated input.
#[derive(Parser)]
#[command(name = "timonier-fuzz")]
struct Arguments {
    /// Most seconds for each target.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Most inputs for each target; -1 for as many as there is time for.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    runs: i64,
    /// Only these targets.
    #[arg(long = "target", value_delimiter = ' ')]
    targets: Vec<String>,
    /// The seed of chance.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Targets at the same time.
    #[arg(long, default_value_t = 2)]
    processes: usize,
    /// Where inputs that failed are kept, and the logs.
    #[arg(long, default_value = "target/fuzz")]
    directory: PathBuf,
    /// Run the target once on each of these inputs.
    #[arg(requires = "targets")]
    inputs: Vec<PathBuf>,
}

/// Does what the command line says, and ends the process.
pub fn run() {
    let arguments = Arguments::parse();
    let code = match begin(&arguments) {
        Ok(0) => 0,
        Ok(_) => 1,
        Err(error) => {
            eprintln!("fuzz: {error}");
            1
        }
    };
    process::exit(code)
}

/// Gives how many targets failed.
fn begin(arguments: &Arguments) -> io::Result<usize> {
    let targets = chosen(&arguments.targets)?;
    setrlimit(Resource::RLIMIT_AS, ADDRESSES, ADDRESSES)?;
    setrlimit(Resource::RLIMIT_STACK, STACK, STACK)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let waiting = Mutex::new(targets.iter());
    let failed = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..arguments.processes.clamp(1, targets.len()) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no thread panics").next();
                    let Some(target) = next else { break };
                    match one(target, arguments) {
                        Ok(report) => println!("{report}"),
                        Err(report) => {
                            *failed.lock().expect("no thread panics") += 1;
                            println!("{report}");
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics");
    println!("{} targets, {failed} failed", targets.len());
    Ok(failed)
}

fn chosen(names: &[String]) -> io::Result<Vec<Target>> {
    let targets = all();
    let known: BTreeSet<&str> = targets.iter().map(|t| t.name).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) {
        return Err(io::Error::other(format!("there is no target {name:?}, but {known:?}")));
    }
    let wanted = |t: &Target| names.is_empty() || names.iter().any(|name| t.name == name);
    Ok(targets.into_iter().filter(wanted).collect())
}

/// Fuzzes one target; gives what to print, as an error where it failed.
fn one(target: &Target, arguments: &Arguments) -> Result<String, String> {
    let place = arguments.directory.join(target.name);
    let (status, log) = start(target, arguments, &place)
        .map_err(|error| format!("FAILED {}: {error}", target.name))?;
    if status.success() {
        return Ok(match arguments.inputs.len() {
            0 => summary(target.name, &log),
            given => format!("{}: {given} inputs, nothing failed", target.name),
        });
    }
    Err(failure(target.name, status, &log, &place))
}

fn start(target: &Target, arguments: &Arguments, place: &Path) -> io::Result<(ExitStatus, String)> {
    let seeds = place.join("seeds");
    drop(fs::remove_dir_all(&seeds));
    fs::create_dir_all(&seeds)?;
    let mut paths = Vec::new();
    for (number, seed) in (target.seeds)().iter().enumerate() {
        let path = seeds.join(number.to_string());
        fs::write(&path, seed)?;
        paths.push(path.display().to_string());
    }
    let words = place.join("words");
    fs::write(&words, dictionary(target.words))?;
    let (log, current) = (place.join("log"), place.join("current"));
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env(attempt::TARGET, target.name)
        .env(attempt::CURRENT, &current)
        .arg(format!("-seed={}", arguments.seed))
        .arg(format!("-timeout={PATIENCE}"))
        .arg(format!("-rss_limit_mb={MEBIBYTES}"))
        .arg(format!("-artifact_prefix={}/", place.display()));
    if arguments.inputs.is_empty() {
        command
            .arg(format!("-runs={}", arguments.runs))
            .arg(format!("-max_total_time={}", arguments.seconds))
            .arg(format!("-max_len={LONGEST}"))
            .arg(format!("-dict={}", words.display()))
            .arg(format!("-seed_inputs={}", paths.join(",")))
            .arg("-print_final_stats=1");
    } else {
        command.args(&arguments.inputs);
    }
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).status()?;
    Ok((status, String::from_utf8_lossy(&fs::read(&log)?).into_owned()))
}

/// Words in the form of libFuzzer's dictionaries.
fn dictionary(words: &[&str]) -> String {
    let escaped = |word: &&str| word.bytes().map(|b| format!("\\x{b:02x}")).collect::<String>();
    words.iter().map(|word| format!("\"{}\"\n", escaped(word))).collect()
}

fn summary(name: &str, log: &str) -> String {
    let figure = |key: &str| {
        let line = log.lines().rev().find(|line| line.contains(key)).unwrap_or_default();
        let rest = line.split(key).nth(1).unwrap_or_default();
        rest.split_whitespace().next().unwrap_or("-").to_owned()
    };
    format!(
        "{name:15} {:>9} inputs, {:>6} a second, {:>6} edges, {:>5} MiB",
        figure("number_of_executed_units:"),
        figure("average_exec_per_sec:"),
        figure(" cov:"),
        figure("peak_rss_mb:"),
    )
}

/// What failed and how to see it again.
fn failure(name: &str, status: ExitStatus, log: &str, place: &Path) -> String {
    let written = log.lines().rev().find_map(|line| line.split("Test unit written to ").nth(1));
    let (path, kind) = match written {
        Some(path) => (PathBuf::from(path.trim()), status.to_string()),
        // The handler did not run, so there was no stack left for it.
        None => {
            let path = place.join("crash-without-stack");
            let input = attempt::last(&place.join("current")).unwrap_or_default();
            drop(fs::write(&path, input));
            (path, format!("{status}{}", if status.signal() == Some(11) { ", stack" } else { "" }))
        }
    };
    let input = fs::read(&path).unwrap_or_default();
    let shown = String::from_utf8_lossy(&input[..input.len().min(SHOWN.1)]);
    let said =
        log.lines().take_while(|line| !line.starts_with("stat::") && !line.contains("SUMMARY"));
    let progress =
        |line: &&str| ["#", "WARNING", "INFO", "NOTE"].iter().any(|w| line.starts_with(w));
    let lines: Vec<&str> = said.filter(|line| !progress(line)).collect();
    let tail = lines[lines.len().saturating_sub(SHOWN.0)..].join("\n  ");
    format!(
        "FAILED {name}: {kind}\n  {tail}\n{} bytes in {}:\n  {shown:?}\n\
         again: make fuzz TARGETS={name} INPUT={}",
        input.len(),
        path.display(),
        path.display(),
    )
}
