//! Reads the fact files.

use std::fs;
use std::path::Path;

/// A struct of the API.
pub struct Struct {
    /// Such as `core.v1.Pod`.
    pub name: String,
    pub atomic: bool,
    pub unions: String,
    pub fields: Vec<FieldFacts>,
}

/// A field of a struct.
pub struct FieldFacts {
    pub name: String,
    pub number: [u8; 3],
    pub omit_empty: bool,
    pub omit_zero: bool,
    pub go: Go,
    pub attributes: Vec<(String, String)>,
}

impl FieldFacts {
    /// An attribute's value, empty where it is not set.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }
}

/// A Go type.
#[derive(Clone)]
pub enum Go {
    Pointer(Box<Go>),
    Slice(Box<Go>),
    Map(Box<Go>, Box<Go>),
    Basic(String),
    /// A struct or a special type, such as `core.v1.Container`.
    Named(String),
    /// A named type that is not a struct.
    Alias(String, Box<Go>),
}

impl Go {
    fn parse(text: &str) -> Go {
        let boxed = |t: &str| Box::new(Go::parse(t));
        if let Some(rest) = text.strip_prefix('*') {
            return Go::Pointer(boxed(rest));
        }
        if let Some(rest) = text.strip_prefix("[]") {
            return Go::Slice(boxed(rest));
        }
        if let Some(rest) = text.strip_prefix("map[") {
            let close = rest.find(']').expect("a map type closes its key");
            return Go::Map(boxed(&rest[..close]), boxed(&rest[close + 1..]));
        }
        match text.split_once('=') {
            Some((name, under)) => Go::Alias(name.into(), boxed(under)),
            None if text.contains('.') => Go::Named(text.into()),
            None => Go::Basic(text.into()),
        }
    }

    /// The type as Go prints it: the package's last word and the name.
    pub fn print(&self) -> String {
        let last_two = |name: &str| {
            let mut parts: Vec<&str> = name.rsplit('.').take(2).collect();
            parts.reverse();
            parts.join(".")
        };
        match self {
            Go::Pointer(t) => format!("*{}", t.print()),
            Go::Slice(t) => format!("[]{}", t.print()),
            Go::Map(k, v) => format!("map[{}]{}", k.print(), v.print()),
            Go::Basic(name) => name.clone(),
            Go::Named(name) | Go::Alias(name, _) => last_two(name),
        }
    }
}

/// Reads every file of a directory, in the order of their names.
pub fn read(dir: &Path) -> Vec<Struct> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("the facts are part of the crate")
        .map(|e| e.expect("a readable directory").path())
        .filter(|p| p.extension().is_some_and(|e| e == "facts"))
        .collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let package = file.file_stem().expect("a file name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("a readable file");
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with("# ")) {
            read_line(&package, line, &mut all);
        }
    }
    all.sort_by(|a: &Struct, b| a.name.cmp(&b.name));
    all
}

fn read_line(package: &str, line: &str, all: &mut Vec<Struct>) {
    if let Some(rest) = line.strip_prefix('[') {
        let (name, attributes) = rest.split_once(']').expect("a header closes");
        let unions = attributes.split(' ').find_map(|a| a.strip_prefix("unions="));
        all.push(Struct {
            name: format!("{package}.{name}"),
            atomic: attributes.contains("map=atomic"),
            unions: unions.unwrap_or("").into(),
            fields: Vec::new(),
        });
        return;
    }
    // The values of an enum may hold spaces, so that they come last.
    let (line, allowed) = line.split_once(" enum=").map_or((line, None), |(l, e)| (l, Some(e)));
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("too short: {package}: {line}"));
    let (name, number, options, go) = (word(), word(), word(), word());
    let mut numbers = [0u8; 3];
    for (to, from) in numbers.iter_mut().zip(number.split('.')) {
        *to = from.parse().unwrap_or_else(|_| panic!("bad number: {package}: {line}"));
    }
    let attributes = words.map(|a| {
        let (k, v) = a.split_once('=').unwrap_or_else(|| panic!("bad word: {package}: {line}"));
        (k.to_string(), v.to_string())
    });
    all.last_mut().expect("a header comes first").fields.push(FieldFacts {
        name: name.into(),
        number: numbers,
        omit_empty: options.contains('o'),
        omit_zero: options.contains('z'),
        go: Go::parse(go),
        attributes: attributes.chain(allowed.map(|e| ("enum".into(), e.into()))).collect(),
    });
}
