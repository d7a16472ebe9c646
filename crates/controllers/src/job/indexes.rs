//! Sets of completion indexes as text: `1,3-5,7`.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::Value;

/// The label and annotation with a pod's index.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The most indexes of a Job, as validation allows.
const MAX_INDEX: i64 = 1_000_000_000;

/// The index of a pod, if it is one of the Job's.
pub fn of(pod: &Value, completions: i64) -> Option<i64> {
    let index: i64 = pod.annotation(INDEX)?.parse().ok()?;
    (0..completions).contains(&index).then_some(index)
}

/// Reads `1,3-5,7`; what is malformed or out of bounds is left out.
pub fn parse(text: &str, completions: i64) -> BTreeSet<i64> {
    let mut set = BTreeSet::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            set.extend(first.max(0)..=last.min(completions.min(MAX_INDEX) - 1));
        }
    }
    set
}

/// Writes `1,3-5,7`.
pub fn format(set: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for &n in set {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => runs.push((n, n)),
        }
    }
    let texts: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => format!("{first}"),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        })
        .collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_read_and_print() {
        for text in ["", "0", "1,3-5,7", "0,1,3-9"] {
            assert_eq!(format(&parse(text, 10)), text);
        }
        assert_eq!(format(&parse("3-99,x,-1", 5)), "3,4");
    }
}
