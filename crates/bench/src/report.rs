//! Figures as a table for people and as rows for programs.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::figure::{Aim, Figure, Samples, Unit};
use crate::machine::Machine;

/// The columns of the rows.
const COLUMNS: &str =
    "time\tversion\tcores\tload\tfigure\tbeside\tunit\tn\tp50\tp99\tmax\taim_p50\taim_p99";

/// Prints what the figures were measured on.
pub fn machine(machine: &Machine) {
    println!(
        "{} cores, {} MiB, {}, Linux {}, load {:.2}; a durable write of 4 KiB: p50 {}, p99 {}",
        machine.cores,
        machine.memory_mib,
        machine.processor,
        machine.kernel,
        machine.load,
        Unit::Seconds.show(machine.sync.p50()),
        Unit::Seconds.show(machine.sync.p99()),
    );
    println!("{:54} {:>10} {:>10} {:>5}  aim", "", "p50", "p99", "n");
}

/// Prints one figure and what stands beside it.
pub fn print(figure: &Figure) {
    let verdict = match figure.aim.met(&figure.seen) {
        None => "",
        Some(true) => "met",
        Some(false) => "MISSED",
    };
    line(&figure.name, figure.unit, &figure.seen);
    println!("  {:18} {verdict}", figure.aim.show(figure.unit));
    for (name, samples) in &figure.beside {
        line(&format!("    {name}"), figure.unit, samples);
        println!();
    }
}

fn line(name: &str, unit: Unit, samples: &Samples) {
    // One value has no percentiles.
    let p99 = if samples.count() == 1 { String::new() } else { unit.show(samples.p99()) };
    print!("{name:54} {:>10} {p99:>10} {:>5}", unit.show(samples.p50()), samples.count());
}

/// Where the rows go unless told otherwise.
pub fn default_tsv() -> Result<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".local/state"))
    });
    let state = state.context("neither XDG_STATE_HOME nor HOME is set; say --tsv FILE")?;
    Ok(state.join("timonier/bench.tsv"))
}

/// Adds rows to the file, with a line of column names where it is new.
pub fn append(path: &Path, machine: &Machine, version: &str, figures: &[Figure]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut text = String::new();
        if !path.exists() {
            text = format!("{COLUMNS}\n");
        }
        figures.iter().for_each(|f| text.push_str(&rows(machine, version, f)));
        File::options().append(true).create(true).open(path)?.write_all(text.as_bytes())
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn rows(machine: &Machine, version: &str, figure: &Figure) -> String {
    let (p50, p99) = match figure.aim {
        Aim::None => (None, None),
        Aim::P50(p50) => (Some(p50), None),
        Aim::P99(p99) => (None, Some(p99)),
        Aim::P50AndP99(p50, p99) => (Some(p50), Some(p99)),
    };
    let aim = |aim: Option<f64>| aim.map(|a| a.to_string()).unwrap_or_default();
    let row = |beside: &str, samples: &Samples, aims: [String; 2]| {
        format!(
            "{}\t{version}\t{}\t{:.2}\t{}\t{beside}\t{}\t{}\t{:.6}\t{:.6}\t{:.6}\t{}\t{}\n",
            machine.time,
            machine.cores,
            machine.load,
            figure.name,
            figure.unit.name(),
            samples.count(),
            samples.p50(),
            samples.p99(),
            samples.max(),
            aims[0],
            aims[1],
        )
    };
    let mut text = row("", &figure.seen, [aim(p50), aim(p99)]);
    for (name, samples) in &figure.beside {
        text.push_str(&row(name, samples, Default::default()));
    }
    text
}

/// The measured sources: the checkout's commit, else the binary's version.
pub fn version(binary: &Path) -> String {
    let first = |command: &mut Command| {
        let output = command.output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
    };
    let dir = binary.parent().unwrap_or(binary);
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(dir);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    first(&mut git)
        .or_else(|| first(git.current_dir(here)))
        .or_else(|| first(Command::new(binary).arg("--version")))
        .unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_every_column() {
        let machine = Machine {
            time: 1,
            cores: 2,
            processor: "p".into(),
            memory_mib: 1,
            kernel: "k".into(),
            load: 0.5,
            sync: Samples::one(0.001),
        };
        let figure = Figure::new("a", Unit::Seconds, Samples::one(1.0), Aim::P50AndP99(1.0, 2.0))
            .beside("peer", Samples::new([1.0, 2.0]));
        let text = rows(&machine, "v", &figure);
        let counts: Vec<usize> = text.lines().map(|l| l.split('\t').count()).collect();
        assert_eq!(counts, [COLUMNS.split('\t').count(); 2]);
        assert!(text.ends_with("\tpeer\ts\t2\t1.000000\t2.000000\t2.000000\t\t\n"), "{text}");
    }
}
