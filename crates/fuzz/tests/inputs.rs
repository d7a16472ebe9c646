//! Every target takes its seeds, and upstream's golden files.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use timonier_fuzz::{Target, all};

#[test]
fn every_target_takes_its_seeds() {
    for target in all() {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        attempt(&target, b"");
        for seed in &seeds {
            attempt(&target, seed);
        }
    }
}

#[test]
fn targets_have_names_of_their_own() {
    let targets = all();
    let names: BTreeSet<&str> = targets.iter().map(|t| t.name).collect();
    assert_eq!(names.len(), targets.len());
}

#[test]
fn golden_files_and_their_beginnings_do_no_harm() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = here.ancestors().map(|d| d.join("shared/data/golden-v1.35")).find(|p| p.is_dir());
    let Some(golden) = golden else {
        return println!("skipped: ../shared is not there");
    };
    let mut files: Vec<PathBuf> =
        fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let targets = all();
    let named = |name: &str| targets.iter().find(|t| t.name == name).unwrap();
    for file in files {
        let wanted = match file.extension().and_then(|e| e.to_str()) {
            Some("pb") => ["protobuf"].as_slice(),
            Some("json") => &["json", "objects"],
            Some("yaml") => &["yaml"],
            _ => continue,
        };
        let input = fs::read(&file).unwrap();
        for target in wanted.iter().map(|name| named(name)) {
            for part in [1, 2, 3, 4] {
                attempt(target, &input[..input.len() * part / 4]);
            }
        }
    }
}

fn attempt(target: &Target, input: &[u8]) {
    if catch_unwind(|| (target.run)(input)).is_err() {
        panic!("{} fails on {:?}", target.name, String::from_utf8_lossy(input));
    }
}
