//! Glob patterns: those of file names, and those of substitutions.

/// Whether one path component fits a pattern of Go's `filepath.Match`: `*`, `?`, `[a-z]`, `\x`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on if the last star has to take one more character.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p, n + 1));
            p += 1;
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return true;
        }
        if let Some(c) = name.get(n)
            && let Some(next) = one(&pattern, p, *c)
        {
            (p, n) = (next, n + 1);
            continue;
        }
        match retry {
            Some((star, from)) if from <= name.len() => {
                retry = Some((star, from + 1));
                (p, n) = (star + 1, from);
            }
            _ => return false,
        }
    }
}

/// Matches one character; the result is where the pattern goes on.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => class(pattern, p, c),
        '\\' => (pattern.get(p + 1) == Some(&c)).then_some(p + 2),
        literal => (*literal == c).then_some(p + 1),
    }
}

fn class(pattern: &[char], start: usize, c: char) -> Option<usize> {
    let mut at = start + 1;
    let negated = matches!(pattern.get(at), Some('^' | '!'));
    at += usize::from(negated);
    let mut found = false;
    let mut first = true;
    while first || pattern.get(at) != Some(&']') {
        first = false;
        let mut take = || {
            at += usize::from(pattern.get(at) == Some(&'\\'));
            let c = pattern.get(at).copied();
            at += 1;
            c
        };
        let low = take()?;
        let mut high = low;
        if pattern.get(at) == Some(&'-') && pattern.get(at + 1).is_some_and(|c| *c != ']') {
            at += 1;
            at += usize::from(pattern.get(at) == Some(&'\\'));
            high = *pattern.get(at)?;
            at += 1;
        }
        found |= (low..=high).contains(&c);
        pattern.get(at)?;
    }
    (found != negated).then_some(at + 1)
}

/// Whether a text has anything special in it.
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// `${v#pattern}` and its relations: the value without the shortest or longest fitting beginning
/// or end.
pub fn trim(value: &str, pattern: &str, front: bool, longest: bool) -> String {
    let cuts: Vec<usize> = value.char_indices().map(|(i, _)| i).chain([value.len()]).collect();
    let fits = |cut: &&usize| match front {
        true => matches(pattern, &value[..**cut]),
        false => matches(pattern, &value[**cut..]),
    };
    // The shortest beginning ends at the first cut, the shortest end begins at the last.
    let cut = if front == longest { cuts.iter().rev().find(fits) } else { cuts.iter().find(fits) };
    match (cut, front) {
        (Some(cut), true) => value[*cut..].to_owned(),
        (Some(cut), false) => value[..*cut].to_owned(),
        (None, _) => value.to_owned(),
    }
}

/// `${v/pattern/new}`; with `all` every place. The longest fit wins.
pub fn replace(value: &str, pattern: &str, new: &str, all: bool) -> String {
    let mut out = String::new();
    let mut rest = value;
    let mut done = pattern.is_empty();
    while !rest.is_empty() {
        // Values are short; longer ones are left alone rather than searched for long.
        let fit = if done || rest.len() > 8192 {
            None
        } else {
            let ends = rest.char_indices().map(|(i, c)| i + c.len_utf8());
            ends.rev().find(|end| matches(pattern, &rest[..*end]))
        };
        match fit {
            Some(end) => {
                out.push_str(new);
                rest = &rest[end..];
                done = !all;
            }
            None => {
                let step = rest.chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..step]);
                rest = &rest[step..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components() {
        for (pattern, name, fits) in [
            ("*.war", "a.war", true),
            ("*.war", "a.warx", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[]a]", "]", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("*a*b*c", "xxaybzc", true),
            ("", "", true),
            ("*", "", true),
            ("[a", "a", false),
            ("é*", "éx", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        let hard = "*a".repeat(50);
        assert!(!matches(&hard, &"a".repeat(49)));
    }
}
