//! What each instruction says.

use super::lines::{self, Heredoc, Line};
use super::words::{split_raw, take_flags, unquote};
use crate::config::Healthcheck;

/// An instruction, its variables not yet replaced.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    From {
        platform: Option<String>,
        image: String,
        name: Option<String>,
    },
    Run(Run),
    Copy(Copy),
    /// Values are raw words.
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Arg(Vec<(String, Option<String>)>),
    Workdir(String),
    User(String),
    Expose(String),
    Volume(Form),
    Entrypoint(Form),
    Cmd(Form),
    Shell(Vec<String>),
    Healthcheck(Health),
    Stopsignal(String),
    Onbuild(String),
    Maintainer(String),
}

/// A command line for a shell, or one that needs none.
#[derive(Clone, PartialEq, Debug)]
pub enum Form {
    Shell(String),
    Exec(Vec<String>),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    pub form: Form,
    pub mounts: Vec<MountFlag>,
    pub network: Option<String>,
    pub heredocs: Vec<Heredoc>,
}

/// `--mount=key=value,flag,…`, raw.
pub type MountFlag = String;

/// `COPY` and `ADD`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Copy {
    pub add: bool,
    /// Raw words, heredocs among them.
    pub sources: Vec<String>,
    pub dest: String,
    pub from: Option<String>,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub checksum: Option<String>,
    pub heredocs: Vec<Heredoc>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Health {
    None,
    /// `test` is empty where the command is for the shell, which is only known later.
    Check {
        check: Healthcheck,
        command: Form,
    },
}

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

type Parsed<T> = Result<T, String>;

/// Reads one logical line. The error is the reason alone.
pub fn parse(line: &Line, escape: char) -> Parsed<Command> {
    let word = line.text.split_whitespace().next().unwrap_or_default();
    let keyword = word.to_ascii_uppercase();
    let args = line.text[word.len()..].trim();
    if !KEYWORDS.contains(&keyword.as_str()) {
        return Err(unknown(word, &keyword));
    }
    if args.is_empty() {
        return Err(format!("{keyword} requires at least one argument"));
    }
    let mut flags = Flags { keyword: &keyword, list: Vec::new() };
    let mut rest = args;
    if matches!(keyword.as_str(), "FROM" | "RUN" | "ADD" | "COPY" | "HEALTHCHECK") {
        (flags.list, rest) = take_flags(args, escape);
    } else if args.starts_with("--")
        && !matches!(keyword.as_str(), "CMD" | "ENTRYPOINT" | "ONBUILD" | "LABEL" | "MAINTAINER")
    {
        let flag = args.split_whitespace().next().unwrap_or_default();
        return Err(format!("unknown flag: {flag} ({keyword} has none)"));
    }
    let command = match keyword.as_str() {
        "FROM" => from(rest, &mut flags)?,
        "RUN" => run(rest, line, &mut flags)?,
        "ADD" | "COPY" => copy(rest, line, &mut flags, escape)?,
        "ENV" => Command::Env(pairs("ENV", args, escape)?),
        "LABEL" => Command::Label(pairs("LABEL", args, escape)?),
        "ARG" => arg(args, escape)?,
        "CMD" => Command::Cmd(form(args)),
        "ENTRYPOINT" => Command::Entrypoint(form(args)),
        "VOLUME" => volume(args)?,
        "SHELL" => match form(args) {
            Form::Exec(list) if !list.is_empty() => Command::Shell(list),
            _ => return Err("SHELL requires the arguments to be in JSON form".to_owned()),
        },
        "HEALTHCHECK" => healthcheck(rest, &mut flags)?,
        "ONBUILD" => onbuild(args)?,
        "EXPOSE" => Command::Expose(args.to_owned()),
        "MAINTAINER" => Command::Maintainer(args.to_owned()),
        "WORKDIR" => Command::Workdir(args.to_owned()),
        "USER" => Command::User(single("USER", args, escape)?),
        _ => Command::Stopsignal(single("STOPSIGNAL", args, escape)?),
    };
    flags.none_left()?;
    Ok(command)
}

fn unknown(word: &str, keyword: &str) -> String {
    let shown: String = word.chars().take(60).collect();
    let near = KEYWORDS.iter().map(|k| (distance(k, keyword), k)).min();
    match near {
        Some((d, k)) if d <= 2 && keyword.len() <= 16 => {
            format!("unknown instruction: {shown} (did you mean {k}?)")
        }
        _ => format!("unknown instruction: {shown}"),
    }
}

/// The number of letters to change, add or drop.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(32).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// The flags of an instruction; each is taken by whoever knows it.
struct Flags<'a> {
    keyword: &'a str,
    list: Vec<(String, Option<String>)>,
}

impl Flags<'_> {
    fn take(&mut self, name: &str) -> Parsed<Option<String>> {
        let mut all = self.take_all(name)?;
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(format!("duplicate flag specified: {name}")),
        }
    }

    fn take_all(&mut self, name: &str) -> Parsed<Vec<String>> {
        let mut values = Vec::new();
        for (_, value) in self.list.extract_if(.., |(n, _)| n == name) {
            values.push(value.ok_or_else(|| format!("missing a value on flag: --{name}"))?);
        }
        Ok(values)
    }

    /// A flag that is on or off.
    fn take_bool(&mut self, name: &str) -> Parsed<bool> {
        let mut on = false;
        for (_, value) in self.list.extract_if(.., |(n, _)| n == name) {
            on = match value.as_deref() {
                None | Some("true") => true,
                Some("false") => false,
                Some(other) => {
                    return Err(format!("expecting boolean value for flag {name}, not: {other}"));
                }
            };
        }
        Ok(on)
    }

    fn none_left(&self) -> Parsed<()> {
        match self.list.first() {
            Some((name, _)) => {
                Err(format!("unknown flag: --{name} ({} does not know it)", self.keyword))
            }
            None => Ok(()),
        }
    }
}

/// A JSON array of strings is the exec form; everything else is for the shell.
fn form(args: &str) -> Form {
    if args.starts_with('[')
        && let Ok(list) = serde_json::from_str::<Vec<String>>(args)
    {
        return Form::Exec(list);
    }
    Form::Shell(args.to_owned())
}

fn from(args: &str, flags: &mut Flags<'_>) -> Parsed<Command> {
    let words: Vec<&str> = args.split_whitespace().collect();
    let (image, name) = match words.as_slice() {
        [image] => (*image, None),
        [image, keyword, name] if keyword.eq_ignore_ascii_case("as") => (*image, Some(*name)),
        [_, _, _] => return Err("second argument to FROM must be AS".to_owned()),
        _ => return Err("FROM requires either one or three arguments".to_owned()),
    };
    if let Some(name) = name {
        let lower = name.to_ascii_lowercase();
        let good = lower.bytes().enumerate().all(|(i, b)| {
            b.is_ascii_lowercase() || (i > 0 && (b.is_ascii_digit() || b"-_.".contains(&b)))
        });
        if !good {
            return Err(format!(
                "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
            ));
        }
        if lower == "scratch" {
            return Err("scratch is a reserved name for a build stage".to_owned());
        }
    }
    let name = name.map(str::to_ascii_lowercase);
    Ok(Command::From { platform: flags.take("platform")?, image: image.to_owned(), name })
}

fn run(args: &str, line: &Line, flags: &mut Flags<'_>) -> Parsed<Command> {
    let mounts = flags.take_all("mount")?;
    let network = flags.take("network")?;
    match flags.take("security")?.as_deref() {
        None | Some("sandbox") => {}
        Some(other) => {
            return Err(format!("security {other:?} is not supported: RUN is always sandboxed"));
        }
    }
    if args.is_empty() {
        return Err("RUN requires at least one argument".to_owned());
    }
    Ok(Command::Run(Run { form: form(args), mounts, network, heredocs: line.heredocs.clone() }))
}

fn copy(args: &str, line: &Line, flags: &mut Flags<'_>, escape: char) -> Parsed<Command> {
    let add = flags.keyword == "ADD";
    let mut copy = Copy { add, heredocs: line.heredocs.clone(), ..Copy::default() };
    copy.chown = flags.take("chown")?;
    copy.chmod = flags.take("chmod")?;
    // Layers are always independent of what is below, so `--link` asks for nothing more.
    flags.take_bool("link")?;
    if add {
        copy.checksum = flags.take("checksum")?;
    } else {
        copy.from = flags.take("from")?;
    }
    let mut list = match form(args) {
        Form::Exec(list) => list,
        Form::Shell(text) => split_raw(&text, escape),
    };
    let keyword = flags.keyword;
    match list.len() {
        0 => {
            return Err(format!(
                "{keyword} requires at least two arguments, but none were provided"
            ));
        }
        1 => {
            return Err(format!(
                "{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
            ));
        }
        _ => {}
    }
    copy.dest = list.pop().expect("at least two");
    copy.sources = list;
    if lines::opening(&copy.dest, escape).is_some() {
        return Err(format!("{keyword} cannot accept a heredoc as a destination"));
    }
    Ok(Command::Copy(copy))
}

/// `a=b c="d e"`, or the old form `a b c` with one name.
fn pairs(keyword: &str, args: &str, escape: char) -> Parsed<Vec<(String, String)>> {
    let words = split_raw(args, escape);
    if !words[0].contains('=') {
        let (name, value) = args
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("{keyword} must have two arguments"))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let mut out = Vec::new();
    for word in &words {
        let (name, value) = word.split_once('=').ok_or_else(|| {
            format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value")
        })?;
        if name.is_empty() {
            return Err(format!("{keyword} names can not be blank"));
        }
        out.push((name.to_owned(), value.to_owned()));
    }
    Ok(out)
}

fn arg(args: &str, escape: char) -> Parsed<Command> {
    let mut out = Vec::new();
    for word in split_raw(args, escape) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (unquote(&word, escape), None),
        };
        if name.is_empty() {
            return Err("ARG names can not be blank".to_owned());
        }
        out.push((name, value));
    }
    Ok(Command::Arg(out))
}

fn volume(args: &str) -> Parsed<Command> {
    let form = form(args);
    if let Form::Exec(list) = &form
        && (list.is_empty() || list.iter().any(|v| v.trim().is_empty()))
    {
        return Err("VOLUME specified can not be an empty string".to_owned());
    }
    Ok(Command::Volume(form))
}

fn single(keyword: &str, args: &str, escape: char) -> Parsed<String> {
    match split_raw(args, escape).as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(format!("{keyword} requires exactly one argument")),
    }
}

fn onbuild(args: &str) -> Parsed<Command> {
    let trigger = args.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match trigger.as_str() {
        "ONBUILD" => Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()),
        "MAINTAINER" | "FROM" => Err(format!("{trigger} isn't allowed as an ONBUILD trigger")),
        _ => super::parse_one(args).map(|_| Command::Onbuild(args.to_owned())),
    }
}

fn healthcheck(args: &str, flags: &mut Flags<'_>) -> Parsed<Command> {
    let mut duration = |name: &str| match flags.take(name)? {
        Some(text) => {
            go_duration(&text).ok_or_else(|| format!("invalid duration {text:?} of --{name}"))
        }
        None => Ok(0),
    };
    let mut check = Healthcheck {
        interval: duration("interval")?,
        timeout: duration("timeout")?,
        start_period: duration("start-period")?,
        start_interval: duration("start-interval")?,
        ..Healthcheck::default()
    };
    if let Some(text) = flags.take("retries")? {
        let retries = text.parse::<i64>().ok().filter(|n| *n >= 0);
        check.retries = retries.ok_or_else(|| format!("--retries cannot be {text:?}"))?;
    }
    let (kind, rest) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if rest.trim().is_empty() => Ok(Command::Healthcheck(Health::None)),
        "NONE" => Err("HEALTHCHECK NONE takes no arguments".to_owned()),
        "CMD" if rest.trim().is_empty() => Err("Missing command after HEALTHCHECK CMD".to_owned()),
        "CMD" => Ok(Command::Healthcheck(Health::Check { check, command: form(rest.trim()) })),
        _ => Err(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)")),
    }
}

/// Go's notation of spans, `1m30s`, in nanoseconds; at least a millisecond unless zero.
fn go_duration(text: &str) -> Option<i64> {
    let mut total = 0f64;
    let mut rest = text;
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (total == 0.0 || (1e6..9e18).contains(&total)).then_some(total as i64)
}
