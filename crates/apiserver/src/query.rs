//! The query of a URL and the options in it.

use timonier_client::{DeleteOptions, Propagation};
use timonier_meta::{ApiError, ErrorKind, FieldError, FieldPath, GroupVersionKind, Selector};

use crate::percent;

/// The parameters of a query, decoded, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query(Vec<(String, String)>);

/// More parameters than any client sends.
const MAX_PARAMETERS: usize = 2048;

impl Query {
    /// Reads `a=b&c`. Fails with 400 on a broken escape or far too many parameters.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(ApiError::bad_request("too many query parameters"));
            }
            let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |t| percent::decode(t, true).map_err(ApiError::bad_request);
            pairs.push((decode(k)?, decode(v)?));
        }
        Ok(Query(pairs))
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// The first value of a parameter that is set to something.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// A boolean as Go's conversion reads it: set and neither `0` nor `false`.
    pub fn bool(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    /// An integer; 400 where it is none.
    pub fn int(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }
}

/// How a list's revision is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Match {
    #[default]
    Unset,
    NotOlderThan,
    Exact,
}

/// The options of list, watch and deletecollection.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    pub labels: Selector,
    pub fields: Selector,
    /// The text of `resourceVersion`: empty, `0` or a revision.
    pub resource_version: String,
    pub revision: Option<u64>,
    pub matching: Match,
    pub limit: usize,
    pub continue_token: String,
    pub timeout_seconds: Option<u64>,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

impl ListQuery {
    /// Reads the options and checks them as upstream's `ValidateListOptions`.
    pub fn parse(q: &Query, watch: bool) -> Result<Self, ApiError> {
        let selector = |name: &str, read: fn(&str) -> Result<Selector, String>| {
            read(q.text(name)).map_err(|e| {
                ApiError::bad_request(format!(
                    "unable to parse requirement: {}",
                    e.trim_start_matches("unable to parse requirement: ")
                ))
            })
        };
        let resource_version = q.text("resourceVersion").to_string();
        let revision = parse_revision(&resource_version)?;
        let options = ListQuery {
            labels: selector("labelSelector", Selector::parse)?,
            fields: selector("fieldSelector", Selector::parse_fields)?,
            resource_version,
            revision,
            matching: match q.text("resourceVersionMatch") {
                "NotOlderThan" => Match::NotOlderThan,
                "Exact" => Match::Exact,
                _ => Match::Unset,
            },
            limit: q.int("limit")?.unwrap_or(0).max(0) as usize,
            continue_token: q.text("continue").to_string(),
            timeout_seconds: q.int("timeoutSeconds")?.filter(|s| *s > 0).map(|s| s as u64),
            bookmarks: q.bool("allowWatchBookmarks"),
            send_initial_events: q.get("sendInitialEvents").map(|_| q.bool("sendInitialEvents")),
        };
        let errors = if watch { options.check_watch(q) } else { options.check_list(q) };
        if errors.is_empty() {
            return Ok(options);
        }
        Err(ApiError::invalid(
            &GroupVersionKind::new_static("meta.k8s.io", "v1", "ListOptions"),
            "",
            &errors,
        ))
    }

    fn check_watch(&self, q: &Query) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("resourceVersionMatch");
        let text = q.text("resourceVersionMatch");
        if self.send_initial_events.is_some() && self.matching != Match::NotOlderThan {
            errors.push(FieldError::forbidden(
                &path,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !text.is_empty() {
            if self.send_initial_events.is_none() {
                errors.push(FieldError::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if self.matching != Match::NotOlderThan {
                errors.push(FieldError::not_supported(&path, text, &["NotOlderThan"]));
            }
            if !self.continue_token.is_empty() {
                errors.push(FieldError::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
        }
        errors
    }

    fn check_list(&self, q: &Query) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("resourceVersionMatch");
        let text = q.text("resourceVersionMatch");
        if self.send_initial_events.is_some() {
            errors.push(FieldError::forbidden(
                &FieldPath::new("sendInitialEvents"),
                "sendInitialEvents is forbidden for list",
            ));
        }
        if !text.is_empty() {
            if self.resource_version.is_empty() {
                errors.push(FieldError::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !self.continue_token.is_empty() {
                errors.push(FieldError::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if self.matching == Match::Unset {
                errors.push(FieldError::not_supported(&path, text, &["Exact", "NotOlderThan"]));
            }
            if self.matching == Match::Exact && self.resource_version == "0" {
                errors.push(FieldError::forbidden(
                    &path,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        errors
    }
}

fn parse_revision(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let error = FieldError::invalid_str(
            &FieldPath::new("resourceVersion"),
            text,
            format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
        );
        ApiError::bad_request(error.to_string())
    })
}

/// How unknown and duplicate fields are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// The options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub struct WriteQuery {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
    /// Whether an apply takes fields from other managers.
    pub force: bool,
}

impl WriteQuery {
    /// Reads the options and checks them; `kind` is `CreateOptions`, `UpdateOptions` or
    /// `PatchOptions`.
    pub fn parse(q: &Query, kind: &'static str) -> Result<Self, ApiError> {
        Self::read(q, kind, false)
    }

    /// Reads the options of a server-side apply.
    pub fn parse_apply(q: &Query) -> Result<Self, ApiError> {
        Self::read(q, "PatchOptions", true)
    }

    fn read(q: &Query, kind: &'static str, apply: bool) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let dry_run = dry_run(q.all("dryRun"), &mut errors);
        let manager = q.text("fieldManager");
        let path = FieldPath::new("fieldManager");
        if manager.len() > 128 {
            errors.push(FieldError::too_long(&path, 128));
        }
        if let Some((i, c)) = manager.chars().enumerate().find(|(_, c)| c.is_control()) {
            errors.push(FieldError::invalid_str(
                &path,
                manager,
                format!("should only contain printable characters (invalid character {c:?} at position {i})"),
            ));
        }
        let validation = q.text("fieldValidation");
        let field_validation = match validation {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                errors.push(FieldError::not_supported(
                    &FieldPath::new("fieldValidation"),
                    other,
                    &["Ignore", "Strict", "Warn", ""],
                ));
                FieldValidation::Warn
            }
        };
        if apply && manager.is_empty() {
            errors.push(FieldError::required(&path, "is required for apply patch"));
        }
        if q.get("force").is_some() && !apply {
            let text = "may not be specified for non-apply patch";
            errors.push(FieldError::forbidden(&FieldPath::new("force"), text));
        }
        invalid_options(kind, &errors)?;
        Ok(WriteQuery { dry_run, field_validation, force: q.bool("force") })
    }
}

/// The options of a delete out of the query, where there is no body.
pub fn delete_options(q: &Query) -> Result<DeleteOptions, ApiError> {
    let mut errors = Vec::new();
    let mut options = DeleteOptions {
        grace_period_seconds: q.int("gracePeriodSeconds")?,
        dry_run: dry_run(q.all("dryRun"), &mut errors),
        ..DeleteOptions::default()
    };
    options.propagation = propagation(q.text("propagationPolicy"), &mut errors);
    if q.get("orphanDependents").is_some() && options.propagation.is_none() {
        let orphan = q.bool("orphanDependents");
        options.propagation =
            Some(if orphan { Propagation::Orphan } else { Propagation::Background });
    }
    invalid_options("DeleteOptions", &errors)?;
    Ok(options)
}

/// Reads a propagation policy; what is none of the three goes to `errors`.
pub fn propagation(text: &str, errors: &mut Vec<FieldError>) -> Option<Propagation> {
    match text {
        "" => None,
        "Orphan" => Some(Propagation::Orphan),
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        other => {
            errors.push(FieldError::not_supported(
                &FieldPath::new("propagationPolicy"),
                other,
                &["Foreground", "Background", "Orphan", "nil"],
            ));
            None
        }
    }
}

/// Reads `dryRun`; anything but `All` goes to `errors`.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<FieldError>) -> bool {
    let mut any = false;
    for value in values.filter(|v| !v.is_empty()) {
        any = true;
        if value != "All" {
            let mut error = FieldError::not_supported(&FieldPath::new("dryRun"), value, &["All"]);
            error.kind = ErrorKind::NotSupported;
            errors.push(error);
        }
    }
    any
}

/// The 422 of options that are wrong.
pub fn invalid_options(kind: &'static str, errors: &[FieldError]) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupVersionKind::new_static("meta.k8s.io", "v1", kind);
    Err(ApiError::invalid(&kind, "", errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    #[test]
    fn booleans_are_gos() {
        for (text, want) in [
            ("a", true),
            ("a=", true),
            ("a=1", true),
            ("a=false", false),
            ("a=0", false),
            ("", false),
        ] {
            assert_eq!(q(text).bool("a"), want, "{text}");
        }
    }

    #[test]
    fn list_options_are_checked() {
        let fails = |text: &str, watch| ListQuery::parse(&q(text), watch).unwrap_err();
        assert_eq!(
            fails("resourceVersionMatch=Exact", false).message,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        );
        assert_eq!(fails("sendInitialEvents=true", true).code, 422);
        assert_eq!(fails("labelSelector=a%20b", false).code, 400);
        assert_eq!(fails("fieldSelector=a%5Cq", false).code, 400);
        assert_eq!(fails("limit=x", false).code, 400);
        assert_eq!(fails("resourceVersion=x", false).code, 400);
        let ok = ListQuery::parse(
            &q("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"),
            true,
        )
        .unwrap();
        assert!(ok.bookmarks && ok.send_initial_events == Some(true));
    }

    #[test]
    fn write_options_are_checked() {
        assert!(WriteQuery::parse(&q("dryRun=All"), "CreateOptions").unwrap().dry_run);
        assert_eq!(
            WriteQuery::parse(&q("dryRun=None"), "CreateOptions").unwrap_err().message,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"None\": supported values: \"All\""
        );
        assert!(WriteQuery::parse(&q("fieldValidation=x"), "PatchOptions").is_err());
        assert!(delete_options(&q("propagationPolicy=x")).is_err());
    }

    /// Seeded noise must never panic.
    #[test]
    fn noise_is_survived() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let alphabet = "=&%+,!()<> abc01limit\\resourceVersion\u{e9}";
        let alphabet: Vec<char> = alphabet.chars().collect();
        for _ in 0..5_000 {
            let n = next() % 40;
            let text: String =
                (0..n).map(|_| alphabet[(next() % alphabet.len() as u64) as usize]).collect();
            for name in ["labelSelector=", "fieldSelector=", "resourceVersion=", ""] {
                if let Ok(q) = Query::parse(&format!("{name}{text}")) {
                    let _ = ListQuery::parse(&q, next() % 2 == 0);
                    let _ = WriteQuery::parse(&q, "CreateOptions");
                    let _ = delete_options(&q);
                }
            }
        }
    }
}
