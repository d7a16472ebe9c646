//! Physical lines to logical ones: directives, comments, continuations, heredocs.

use super::words;

/// A logical line.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// Where it begins; counts from 1.
    pub number: usize,
    /// Without continuations and comments.
    pub text: String,
    pub heredocs: Vec<Heredoc>,
}

/// `<<NAME` and the lines up to `NAME`.
#[derive(Clone, PartialEq, Debug)]
pub struct Heredoc {
    pub name: String,
    /// Each line with its line feed.
    pub content: String,
    /// Variables are replaced: the name was not quoted.
    pub expand: bool,
    /// The word in the instruction: `<<-"NAME"`.
    pub word: String,
}

type Fault = (usize, String);

/// The escape character and the logical lines.
pub fn split(text: &str) -> Result<(char, Vec<Line>), Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let physical: Vec<&str> = text.split('\n').map(|l| l.strip_suffix('\r').unwrap_or(l)).collect();
    let escape = directives(&physical)?;
    let mut lines = Vec::new();
    let mut at = 0;
    while at < physical.len() {
        let first = physical[at].trim_start();
        if first.trim_end().is_empty() || first.starts_with('#') {
            at += 1;
            continue;
        }
        let number = at + 1;
        let (text, next) = join_continued(&physical, at, escape);
        at = next;
        let text = text.trim().to_owned();
        if text.is_empty() {
            continue;
        }
        let mut heredocs = Vec::new();
        for mut heredoc in openings(&text, escape) {
            at = read_heredoc(&physical, at, &mut heredoc).ok_or_else(|| {
                (number, format!("unterminated heredoc: no line {:?} follows", heredoc.name))
            })?;
            heredocs.push(heredoc);
        }
        lines.push(Line { number, text, heredocs });
    }
    Ok((escape, lines))
}

/// `# escape=` and its like stand before everything else.
fn directives(physical: &[&str]) -> Result<char, Fault> {
    let mut escape = None;
    for (i, line) in physical.iter().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix('#') else { break };
        let Some((key, value)) = comment.split_once('=') else { break };
        let key = key.trim().to_ascii_lowercase();
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            break;
        }
        if key != "escape" {
            // `syntax` and `check` mean nothing here.
            continue;
        }
        if escape.is_some() {
            return Err((i + 1, "only one escape parser directive can be used".to_owned()));
        }
        escape = match value.trim() {
            "\\" => Some('\\'),
            "`" => Some('`'),
            other => return Err((i + 1, format!("invalid ESCAPE '{other}'. Must be ` or \\"))),
        };
    }
    Ok(escape.unwrap_or('\\'))
}

/// The logical line that begins at `at`, and where the next one may begin.
fn join_continued(physical: &[&str], mut at: usize, escape: char) -> (String, usize) {
    let mut text = String::new();
    let mut first = true;
    while at < physical.len() {
        let line = physical[at];
        at += 1;
        let trimmed = line.trim();
        if !first && (trimmed.is_empty() || trimmed.starts_with('#')) {
            // Comments and blank lines may stand within a continued instruction.
            continue;
        }
        first = false;
        match continued(line, escape) {
            Some(part) => text.push_str(part),
            None => {
                text.push_str(line);
                break;
            }
        }
    }
    (text, at)
}

/// The line without its escape character, if it ends with one that is not itself escaped.
fn continued(line: &str, escape: char) -> Option<&str> {
    let rest = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!rest.ends_with(escape)).then_some(rest)
}

/// The heredocs that an instruction opens. Only ADD, COPY and RUN can.
fn openings(text: &str, escape: char) -> Vec<Heredoc> {
    let keyword = |t: &str| t.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let mut rest = text;
    if keyword(rest) == "ONBUILD" {
        rest = rest[7..].trim_start();
    }
    if !matches!(keyword(rest).as_str(), "ADD" | "COPY" | "RUN") || !rest.contains("<<") {
        return Vec::new();
    }
    words::split_raw(rest, escape).iter().filter_map(|w| opening(w, escape)).collect()
}

/// Reads `<<NAME`, `<<-NAME`, `<<"NAME"`, `3<<NAME`.
pub fn opening(word: &str, escape: char) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, name) = match rest.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, rest),
    };
    let bare = words::unquote(name, escape);
    if bare.is_empty() || name.contains('<') {
        return None;
    }
    let expand = bare == name;
    let content = if chomp { "\t".to_owned() } else { String::new() };
    // `content` carries the wish to strip tabs until the lines are read.
    Some(Heredoc { name: bare, content, expand, word: word.to_owned() })
}

/// Fills a heredoc from the line `at` on; returns where the next instruction may begin.
fn read_heredoc(physical: &[&str], at: usize, heredoc: &mut Heredoc) -> Option<usize> {
    let chomp = std::mem::take(&mut heredoc.content) == "\t";
    for (i, line) in physical.iter().enumerate().skip(at) {
        let line = if chomp { line.trim_start_matches('\t') } else { line };
        if line == heredoc.name {
            return Some(i + 1);
        }
        heredoc.content.push_str(line);
        heredoc.content.push('\n');
    }
    None
}
