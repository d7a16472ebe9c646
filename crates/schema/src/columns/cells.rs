//! What several tables compute the same way.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::{Duration, Time};
use timonier_object::{Value, label_selector};

/// What upstream prints for an absent value.
pub const NONE: &str = "<none>";

/// The time since a timestamp, `<unknown>` where there is none.
pub fn since(timestamp: &Value, now: Time) -> String {
    match timestamp.as_str().and_then(Time::parse) {
        Some(then) => human_duration(now - then),
        None => "<unknown>".into(),
    }
}

/// A span as `kubectl` prints it: two units at most, fewer the longer it is (upstream
/// `duration.HumanDuration`).
pub fn human_duration(d: Duration) -> String {
    let seconds = d.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |a: i64, unit: &str, b: i64, smaller: &str| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{smaller}") }
    };
    match () {
        () if seconds < -1 => "<invalid>".into(),
        () if seconds < 0 => "0s".into(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => pair(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 8 * 365 => pair(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

/// `<none>` in place of an empty text.
pub fn or_none(text: impl Into<String>) -> String {
    let text = text.into();
    if text.is_empty() { NONE.into() } else { text }
}

/// The string at a path, `<none>` where it is empty or absent.
pub fn str_or_none(object: &Value, path: &str) -> Value {
    or_none(object.at(path).str()).into()
}

/// A label selector as text, `<none>` for null and for everything.
pub fn selector(selector: &Value) -> Value {
    match label_selector(selector) {
        Ok(s) if !s.nothing => or_none(s.to_string()).into(),
        Ok(_) => NONE.into(),
        Err(_) => "<error>".into(),
    }
}

/// A map as `k=v,k=v`, sorted; `<none>` where it is empty.
pub fn pairs(map: &Value) -> Value {
    let mut list: Vec<String> = map.entries().map(|(k, v)| format!("{k}={}", v.str())).collect();
    list.sort();
    or_none(list.join(",")).into()
}

/// The names and the images of a pod template's containers.
pub fn container_names(object: &Value) -> Value {
    join(object.at("spec.template.spec.containers"), "name").into()
}

/// See [`container_names`].
pub fn container_images(object: &Value) -> Value {
    join(object.at("spec.template.spec.containers"), "image").into()
}

/// A field of every item, with commas between.
pub fn join(items: &Value, field: &str) -> String {
    let list: Vec<&str> = items.items().iter().map(|c| c.at(field).str()).collect();
    list.join(",")
}

/// The result of a simple JSONPath (`.a.b[0].c`, `.a['b.c']`, `[?(@.k=="v")]` filters): the first
/// match, null where there is none.
pub fn json_path(object: &Value, path: &str) -> Value {
    let mut found: Vec<&Value> = alloc::vec![object];
    let mut rest =
        path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    while !rest.is_empty() && !found.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let Some(end) = closing(tail) else { return Value::Null };
            found = found.into_iter().flat_map(|v| subscript(v, &tail[..end])).collect();
            rest = &tail[end + 1..];
        } else {
            let tail = rest.strip_prefix('.').unwrap_or(rest);
            let mut key = String::new();
            let mut chars = tail.char_indices().peekable();
            let mut end = tail.len();
            while let Some((i, c)) = chars.next() {
                match c {
                    '\\' => key.extend(chars.next().map(|(_, c)| c)),
                    '.' | '[' => {
                        end = i;
                        break;
                    }
                    c => key.push(c),
                }
            }
            rest = &tail[end..];
            if key.is_empty() {
                continue;
            }
            found = found.into_iter().flat_map(|v| field(v, &key)).collect();
        }
    }
    found.first().map_or(Value::Null, |v| (*v).clone())
}

fn field<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match key {
        "*" => value.items().iter().chain(value.entries().map(|(_, v)| v)).collect(),
        _ => value.get(key).into_iter().collect(),
    }
}

/// Where the bracket that is open at the start of the text closes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(i),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn subscript<'a>(value: &'a Value, inside: &str) -> Vec<&'a Value> {
    let inside = inside.trim();
    if let Some(filter) = inside.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        let (left, right) = match filter.split_once("==") {
            Some((l, r)) => (l.trim(), Some(r.trim().trim_matches(['\'', '"']))),
            None => (filter.trim(), None),
        };
        let left = left.trim_start_matches('@');
        let keep = |item: &&Value| {
            let found = json_path(item, left);
            match right {
                None => !found.is_null(),
                Some(text) => {
                    found.as_str().map_or_else(|| found.to_string() == text, |s| s == text)
                }
            }
        };
        return value.items().iter().filter(keep).collect();
    }
    let name = inside.trim_matches(['\'', '"']);
    if name.len() < inside.len() || name == "*" {
        return field(value, name);
    }
    let items = value.items();
    let index = match inside.parse::<i64>() {
        Ok(n) if n < 0 => items.len().checked_sub(n.unsigned_abs() as usize),
        Ok(n) => usize::try_from(n).ok(),
        Err(_) => None,
    };
    index.and_then(|i| items.get(i)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use timonier_object::value;

    use super::*;

    #[test]
    fn spans_print_as_kubectls() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn json_paths() {
        let v = value!({ "a": { "b.c": 1, "l": [{ "t": "x", "s": "True" }, { "t": "y", "s": "False" }] } });
        for (path, expected) in [
            (".a.l[0].t", value!("x")),
            (".a.l[-1].t", value!("y")),
            (".a['b.c']", value!(1)),
            (".a.b\\.c", value!(1)),
            (".a.l[?(@.t==\"y\")].s", value!("False")),
            (".x", value!(null)),
            ("{.a.l[*].t}", value!("x")),
            (".a.l[9]", value!(null)),
            (".a.l[", value!(null)),
        ] {
            assert_eq!(json_path(&v, path), expected, "{path}");
        }
    }
}
