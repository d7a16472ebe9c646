//! Which form an answer takes, from the `Accept` header.

use http::HeaderMap;
use http::header::ACCEPT;
use timonier_meta::{ApiError, Reason};

/// The bytes of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Encoding {
    #[default]
    Json,
    Yaml,
}

/// What the objects are turned into.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Shape {
    #[default]
    Object,
    Table,
    /// `PartialObjectMetadata`, or a list of them.
    Metadata,
}

/// The form of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Form {
    pub encoding: Encoding,
    pub shape: Shape,
}

/// One clause of an `Accept` header.
#[derive(Debug)]
pub struct Clause<'a> {
    pub media_type: &'a str,
    /// Parameters but `q`.
    pub parameters: Vec<(&'a str, &'a str)>,
    quality: u32,
}

impl<'a> Clause<'a> {
    /// A parameter's value.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(k, _)| *k == name).map(|(_, v)| *v)
    }
}

/// The clauses in the order of the client's preference.
pub fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').take(64).filter_map(clause).collect();
    clauses.sort_by_key(|c| core::cmp::Reverse(c.quality));
    clauses
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().filter(|m| !m.is_empty())?;
    let mut clause = Clause { media_type, parameters: Vec::new(), quality: 1000 };
    for part in parts {
        let (k, v) = part.split_once('=').unwrap_or((part, ""));
        if k == "q" {
            clause.quality = v.parse::<f32>().map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32);
        } else {
            clause.parameters.push((k, v));
        }
    }
    Some(clause)
}

/// The `Accept` header's text; several headers count as one.
pub fn accept(headers: &HeaderMap) -> String {
    let all: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    all.join(",")
}

/// Chooses the form of an object's answer. 406 where the client takes none that we have.
pub fn negotiate(headers: &HeaderMap) -> Result<Form, ApiError> {
    let accept = accept(headers);
    if accept.trim().is_empty() {
        return Ok(Form::default());
    }
    clauses(&accept).iter().find_map(form).ok_or_else(not_acceptable)
}

/// As [`negotiate`], for what has no table: questions that are answered and never stored.
pub fn negotiate_without_table(headers: &HeaderMap) -> Result<Form, ApiError> {
    let accept = accept(headers);
    if accept.trim().is_empty() {
        return Ok(Form::default());
    }
    let mut forms = clauses(&accept).into_iter().filter_map(|c| form(&c));
    forms.find(|f| f.shape != Shape::Table).ok_or_else(not_acceptable)
}

fn form(clause: &Clause<'_>) -> Option<Form> {
    let encoding = match clause.media_type {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _ => return None,
    };
    let shape = match clause.parameter("as") {
        None => Shape::Object,
        Some(kind) => {
            let known = clause.parameter("g") == Some("meta.k8s.io")
                && matches!(clause.parameter("v"), Some("v1" | "v1beta1"));
            match kind {
                "Table" if known => Shape::Table,
                "PartialObjectMetadata" | "PartialObjectMetadataList" if known => Shape::Metadata,
                _ => return None,
            }
        }
    };
    Some(Form { encoding, shape })
}

fn not_acceptable() -> ApiError {
    ApiError::new(
        406,
        Reason::NotAcceptable,
        "only the following media types are accepted: application/json, application/yaml",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers).ok()
    }

    #[test]
    fn a_review_has_no_table() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            negotiate_without_table(&headers)
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(of(table).unwrap_err().code, 406);
        assert_eq!(of(&format!("{table}, application/json")).unwrap().shape, Shape::Object);
    }

    #[test]
    fn clients_get_what_they_ask_for() {
        let json = Form::default();
        let table = Form { shape: Shape::Table, ..json };
        let metadata = Form { shape: Shape::Metadata, ..json };
        let yaml = Form { encoding: Encoding::Yaml, ..json };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (accept, want) in [
            (kubectl, Some(table)),
            ("application/vnd.kubernetes.protobuf, */*", Some(json)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(json)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(metadata)),
            ("application/json;as=Table;g=other;v=v1,application/yaml", Some(yaml)),
            ("application/json;q=0.1,application/yaml;q=0.9", Some(yaml)),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/html", None),
            ("", Some(json)),
            (";;,,=q", None),
        ] {
            assert_eq!(of(accept), want, "{accept}");
        }
    }
}
