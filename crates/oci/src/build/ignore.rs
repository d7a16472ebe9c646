//! `.dockerignore`: which files of the context do not count.

use super::pattern;

/// The patterns of a `.dockerignore`, in order; the last that fits decides.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Debug)]
struct Rule {
    parts: Vec<String>,
    /// `!pattern`: fitting files count after all.
    exception: bool,
}

/// How many patterns a file may have.
const RULE_LIMIT: usize = 10_000;

impl Ignore {
    pub fn parse(text: &str) -> Ignore {
        let mut ignore = Ignore::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for line in text.lines().take(RULE_LIMIT) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (exception, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let mut parts: Vec<String> = Vec::new();
            for part in pattern.split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part.to_owned()),
                }
            }
            if !parts.is_empty() {
                ignore.rules.push(Rule { parts, exception });
            }
        }
        ignore
    }

    /// Whether some files in an ignored directory may count after all.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|r| r.exception)
    }

    /// Whether a path, by its names, is left out. A rule that fits a directory fits all in it.
    pub fn ignores(&self, path: &[Vec<u8>]) -> bool {
        let names: Vec<String> =
            path.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
        let mut out = false;
        for rule in &self.rules {
            if rule.exception == out && (1..=names.len()).any(|n| fits(&rule.parts, &names[..n])) {
                out = !rule.exception;
            }
        }
        out
    }
}

/// `**` stands for any number of names.
fn fits(pattern: &[String], path: &[String]) -> bool {
    // Which prefixes of the pattern fit the names read so far.
    let mut open = vec![false; pattern.len() + 1];
    open[0] = true;
    skip_double_stars(pattern, &mut open);
    for name in path {
        let mut next = vec![false; pattern.len() + 1];
        for (i, part) in pattern.iter().enumerate().filter(|(i, _)| open[*i]) {
            if part == "**" {
                next[i] = true;
            } else if pattern::matches(part, name) {
                next[i + 1] = true;
            }
        }
        skip_double_stars(pattern, &mut next);
        open = next;
    }
    open[pattern.len()]
}

fn skip_double_stars(pattern: &[String], open: &mut [bool]) {
    for (i, part) in pattern.iter().enumerate() {
        if open[i] && part == "**" {
            open[i + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_reads_it() {
        let ignore = Ignore::parse(
            "# c\n/target\n*.log\n!keep.log\n**/tmp\ndocs/*.md\n!docs/README.md\na/**/z\n\n",
        );
        let ignores = |path: &str| {
            let parts: Vec<Vec<u8>> = path.split('/').map(|p| p.as_bytes().to_vec()).collect();
            ignore.ignores(&parts)
        };
        for yes in
            ["target", "target/x/y", "a.log", "tmp", "a/b/tmp/f", "docs/x.md", "a/z", "a/b/c/z"]
        {
            assert!(ignores(yes), "{yes}");
        }
        for no in
            ["src", "keep.log", "sub/a.log", "docs/README.md", "docs/sub/x.md", "b/z", "target2"]
        {
            assert!(!ignores(no), "{no}");
        }
        let all = Ignore::parse("*\n!src\nsrc/secret");
        let of = |path: &str| {
            all.ignores(&path.split('/').map(|p| p.as_bytes().to_vec()).collect::<Vec<_>>())
        };
        assert!(of("x") && !of("src") && !of("src/a/b") && of("src/secret"));
        assert!(all.has_exceptions());
    }
}
