//! A unified difference of two values as indented JSON, three lines around each change, as
//! upstream appends it to what it refuses. Field names are the API's.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use timonier_object::Value;

const CONTEXT: usize = 3;

/// Values of more lines than this are shown whole, as one removal and one addition.
const MAX_LINES: usize = 2000;

/// The difference from `old` to `new`; empty where there is none.
pub fn unified(old: &Value, new: &Value) -> String {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    lines(old, "", 0, "", &mut a);
    lines(new, "", 0, "", &mut b);
    let edits = edits(&a, &b);
    let mut out = String::new();
    for (from, to) in hunks(&edits) {
        let part = &edits[from..to];
        let before = edits[..from].iter();
        let (skip_a, skip_b) = before.fold((0, 0), |(x, y), edit| match edit {
            Edit::Keep(_) => (x + 1, y + 1),
            Edit::Remove(_) => (x + 1, y),
            Edit::Add(_) => (x, y + 1),
        });
        let len_a = part.iter().filter(|e| !matches!(e, Edit::Add(_))).count();
        let len_b = part.iter().filter(|e| !matches!(e, Edit::Remove(_))).count();
        out.push_str(&format!("@@ -{} +{} @@\n", range(skip_a, len_a), range(skip_b, len_b)));
        for edit in part {
            let (sign, line) = match edit {
                Edit::Keep(line) => (' ', line),
                Edit::Remove(line) => ('-', line),
                Edit::Add(line) => ('+', line),
            };
            out.push_str(&format!("{sign}{line}\n"));
        }
    }
    out
}

#[derive(Clone, Copy)]
enum Edit<'a> {
    Keep(&'a str),
    Remove(&'a str),
    Add(&'a str),
}

fn range(start: usize, len: usize) -> String {
    match len {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        _ => format!("{},{len}", start + 1),
    }
}

/// The lines of indented JSON.
fn lines(value: &Value, name: &str, depth: usize, end: &str, out: &mut Vec<String>) {
    let pad = " ".repeat(depth);
    let name = if name.is_empty() { String::new() } else { format!("{name:?}: ") };
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push(format!("{pad}{name}{{"));
            for (i, (key, item)) in map.iter().enumerate() {
                lines(item, key, depth + 1, if i + 1 < map.len() { "," } else { "" }, out);
            }
            out.push(format!("{pad}}}{end}"));
        }
        Value::Array(items) if !items.is_empty() => {
            out.push(format!("{pad}{name}["));
            for (i, item) in items.iter().enumerate() {
                lines(item, "", depth + 1, if i + 1 < items.len() { "," } else { "" }, out);
            }
            out.push(format!("{pad}]{end}"));
        }
        other => out.push(format!("{pad}{name}{other}{end}")),
    }
}

/// The shortest way from `a` to `b`, by the longest common subsequence.
fn edits<'a>(a: &'a [String], b: &'a [String]) -> Vec<Edit<'a>> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (&a[head..], &b[head..]);
    let tail = rest_a.iter().rev().zip(rest_b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (mid_a, mid_b) = (&rest_a[..rest_a.len() - tail], &rest_b[..rest_b.len() - tail]);
    let mut out: Vec<Edit<'a>> = a[..head].iter().map(|l| Edit::Keep(l)).collect();
    if mid_a.len() > MAX_LINES || mid_b.len() > MAX_LINES {
        out.extend(mid_a.iter().map(|l| Edit::Remove(l)));
        out.extend(mid_b.iter().map(|l| Edit::Add(l)));
    } else {
        middle(mid_a, mid_b, &mut out);
    }
    out.extend(rest_a[rest_a.len() - tail..].iter().map(|l| Edit::Keep(l)));
    out
}

fn middle<'a>(a: &'a [String], b: &'a [String], out: &mut Vec<Edit<'a>>) {
    let width = b.len() + 1;
    let mut common = alloc::vec![0u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let both = i < a.len() && j < b.len();
        if both && a[i] == b[j] {
            out.push(Edit::Keep(&a[i]));
            i += 1;
            j += 1;
        } else if j == b.len() || both && common[(i + 1) * width + j] >= common[i * width + j + 1] {
            out.push(Edit::Remove(&a[i]));
            i += 1;
        } else {
            out.push(Edit::Add(&b[j]));
            j += 1;
        }
    }
}

/// Ranges of edits to show: changes with what surrounds them, joined where they touch.
fn hunks(edits: &[Edit<'_>]) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (i, edit) in edits.iter().enumerate() {
        if matches!(edit, Edit::Keep(_)) {
            continue;
        }
        let (from, to) = (i.saturating_sub(CONTEXT), (i + 1 + CONTEXT).min(edits.len()));
        match out.last_mut() {
            Some(last) if last.1 >= from => last.1 = to,
            _ => out.push((from, to)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn shows_changes_with_their_surroundings() {
        let old = value!({ "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": [{ "g": 1 }] });
        let mut new = old.clone();
        new.set("e", 6i64);
        assert_eq!(
            unified(&old, &new),
            "@@ -3,7 +3,7 @@\n  \"b\": 2,\n  \"c\": 3,\n  \"d\": 4,\n- \"e\": 5,\n+ \"e\": 6,\n  \"f\": [\n   {\n    \"g\": 1\n"
        );
        assert_eq!(unified(&old, &old), "");
    }
}
