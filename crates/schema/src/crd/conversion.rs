//! Objects in other versions of a CustomResourceDefinition whose conversion is a webhook: what it
//! is asked, and what its answer must be. The texts of errors are upstream's `webhookConverter`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{FieldError, FieldPath, GroupVersion, GroupVersionKind, names};
use timonier_object::{Value, value};

/// The webhook that converts the objects of a definition.
#[derive(Clone, PartialEq, Debug)]
pub struct Conversion {
    webhook: Value,
    /// Every version of the definition, served or not, with its group.
    versions: Vec<SmolStr>,
}

/// The group of the questions.
const GROUP: &str = "apiextensions.k8s.io";

impl Conversion {
    /// The webhook of a definition; `None` where objects change their `apiVersion` only.
    pub fn of(definition: &Value) -> Option<Self> {
        let spec = definition.at("spec");
        if spec.at("conversion.strategy").str() != "Webhook" {
            return None;
        }
        let group = spec.at("group").str();
        let names = spec.at("versions").items().iter();
        let versions = names.map(|v| format!("{group}/{}", v.at("name").str()).into()).collect();
        Some(Conversion { webhook: spec.at("conversion.webhook").clone(), versions })
    }

    /// Where the webhook is.
    pub fn client_config(&self) -> &Value {
        self.webhook.at("clientConfig")
    }

    /// The question for these objects in the version `desired`; `uid` names it. Fails where a
    /// version is none of the definition's, or the webhook understands no question.
    pub fn question(&self, uid: &str, desired: &str, objects: &[Value]) -> Result<Value, String> {
        if !self.has(desired) {
            return Err(format!("request to convert CR to an invalid group/version: {desired}"));
        }
        if let Some(object) = objects.iter().find(|o| !self.has(o.api_version())) {
            let from = object.api_version();
            return Err(format!("request to convert CR from an invalid group/version: {from}"));
        }
        let version = self.review_version().ok_or("no supported conversion review versions")?;
        Ok(value!({
            "kind": "ConversionReview",
            "apiVersion": (format!("{GROUP}/{version}")),
            "request": {
                "uid": uid,
                "desiredAPIVersion": desired,
                "objects": (Value::array(objects.iter().cloned())),
            },
        }))
    }

    fn has(&self, version: &str) -> bool {
        self.versions.iter().any(|v| v == version)
    }

    fn review_version(&self) -> Option<&str> {
        let versions = self.webhook.at("conversionReviewVersions").items();
        versions.iter().map(Value::str).find(|v| matches!(*v, "v1" | "v1beta1"))
    }

    /// The converted objects of an answer, with the metadata of the originals: only labels and
    /// annotations may be others. `failure` is of the call itself.
    pub fn read(
        &self,
        uid: &str,
        desired: &str,
        originals: &[Value],
        answer: Result<Value, String>,
    ) -> Result<Vec<Value>, String> {
        let gvk = originals.first().and_then(Value::gvk).unwrap_or_default();
        let failed = |why: String| format!("conversion webhook for {gvk} failed: {why}");
        let answer = answer.map_err(failed)?;
        let converted = self.converted(uid, &answer).map_err(failed)?;
        if converted.len() != originals.len() {
            return Err(format!(
                "conversion webhook for {gvk} returned {} objects, expected {}",
                converted.len(),
                originals.len()
            ));
        }
        let mut out = Vec::with_capacity(converted.len());
        for (index, (original, converted)) in originals.iter().zip(converted).enumerate() {
            let checked = one(original, converted, desired);
            out.push(checked.map_err(|wrong| wrong.text(&gvk, index, originals.len()))?);
        }
        Ok(out)
    }

    fn converted<'a>(&self, uid: &str, answer: &'a Value) -> Result<&'a [Value], String> {
        let response = answer.at("response");
        if self.review_version() == Some("v1") {
            let got = answer.gvk().unwrap_or_default();
            let expected = GroupVersionKind::new_static(GROUP, "v1", "ConversionReview");
            if got != expected {
                return Err(format!("expected webhook response of {expected}, got {got}"));
            }
            if response.is_null() {
                return Err("no response provided".to_string());
            }
            let got = response.at("uid").str();
            if got != uid {
                return Err(format!("expected response.uid={uid:?}, got {got:?}"));
            }
        }
        if response.is_null() {
            return Err("no response provided".to_string());
        }
        let (status, message) = (response.at("result.status"), response.at("result.message"));
        match (status.str(), message.str()) {
            ("Success", _) => Ok(response.at("convertedObjects").items()),
            (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
            (_, message) => Err(message.to_string()),
        }
    }
}

/// What is wrong with a converted object.
enum Wrong {
    Type(String),
    Object(String),
    Metadata(String),
}

impl Wrong {
    fn text(self, gvk: &GroupVersionKind, index: usize, of: usize) -> String {
        let head = format!("conversion webhook for {gvk} returned invalid");
        match (self, of) {
            (Wrong::Type(why), 1) => format!("{head} object at index 0: {why}"),
            (Wrong::Object(why), 1) => format!("{head} object: {why}"),
            (Wrong::Metadata(why), 1) => format!("{head} metadata: {why}"),
            (Wrong::Type(why) | Wrong::Object(why), _) => {
                format!("{head} converted object at index {index}: {why}")
            }
            (Wrong::Metadata(why), _) => {
                format!("{head} metadata in object at index {index}: {why}")
            }
        }
    }
}

fn one(original: &Value, converted: &Value, desired: &str) -> Result<Value, Wrong> {
    let (expected, got) = (desired, converted.api_version());
    if got != expected {
        let gv = GroupVersion::parse(got).unwrap_or_default();
        let why = format!("invalid groupVersion (expected {expected}, received {gv})");
        return Err(Wrong::Type(why));
    }
    let (expected, got) = (original.kind(), converted.kind());
    if got != expected {
        return Err(Wrong::Type(format!("invalid kind (expected {expected}, received {got})")));
    }
    for (what, before, after) in [
        ("name", original.name(), converted.name()),
        ("namespace", original.namespace(), converted.namespace()),
        ("UID", original.uid(), converted.uid()),
    ] {
        if before != after {
            return Err(Wrong::Object(format!("must have the same {what}: {before} != {after}")));
        }
    }
    restore(original, converted).map_err(Wrong::Metadata)
}

/// The converted object with the original's metadata and its own labels and annotations.
fn restore(original: &Value, converted: &Value) -> Result<Value, String> {
    let Some(answered) = converted.get("metadata") else {
        return Err("missing metadata in converted object".to_string());
    };
    if answered.as_object().is_none() {
        let of = go_type(answered);
        return Err(format!("invalid metadata of type {of} in converted object"));
    }
    let mut metadata = original.get("metadata").cloned().unwrap_or_else(Value::object);
    for field in ["labels", "annotations"] {
        let texts = answered.at(field);
        match texts {
            Value::Null => drop(metadata.remove(field)),
            Value::Object(_) => {
                check_texts(field, texts, metadata.at(field))?;
                metadata.set(field, texts);
            }
            other => {
                let of = go_type(other);
                return Err(format!("invalid metadata.{field} of type {of} in converted object"));
            }
        }
    }
    let mut out = converted.clone();
    out.set("metadata", metadata);
    Ok(out)
}

/// Checks labels or annotations where they are others than before.
fn check_texts(field: &str, texts: &Value, before: &Value) -> Result<(), String> {
    if let Some((key, value)) = texts.entries().find(|(_, v)| v.as_str().is_none()) {
        let of = go_type(value);
        return Err(format!(
            "metadata.{field}[{key}] must be a string, but is {of} in converted object"
        ));
    }
    let same = texts.entries().count() == before.entries().count()
        && texts.entries().all(|(key, value)| before.get(key) == Some(value));
    if same {
        return Ok(());
    }
    let mut errors = Vec::new();
    let labels = field == "labels";
    // Upstream's path of annotations is in the singular here.
    let path = FieldPath::new("metadata").child(if labels { "labels" } else { "annotation" });
    for (key, value) in texts.entries() {
        let name = if labels { key.to_string() } else { key.to_lowercase() };
        let whys = names::qualified_name(&name);
        errors.extend(whys.into_iter().map(|why| FieldError::invalid_str(&path, key, why)));
        if labels {
            let whys = names::label_value(value.str());
            let wrong = whys.into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid_str(&path, value.str(), why)));
        }
    }
    match errors.as_slice() {
        [] => Ok(()),
        [only] => Err(only.to_string()),
        all => {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            Err(format!("[{}]", all.join(", ")))
        }
    }
}

/// How Go prints the type of decoded JSON.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Str(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        _ => "float64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversion(reviews: Value) -> Conversion {
        Conversion::of(&value!({ "spec": {
            "group": "a.b", "versions": [{ "name": "v1" }, { "name": "v2" }],
            "conversion": { "strategy": "Webhook", "webhook": {
                "clientConfig": { "url": "https://c" }, "conversionReviewVersions": reviews } },
        } }))
        .unwrap()
    }

    fn object(version: &str) -> Value {
        value!({ "apiVersion": (format!("a.b/{version}")), "kind": "K",
            "metadata": { "name": "n", "namespace": "s", "uid": "u", "generation": 3,
                "labels": { "l": "1" } } })
    }

    fn answer(object: Value) -> Value {
        value!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": { "uid": "x", "result": { "status": "Success" },
                "convertedObjects": [object] } })
    }

    fn error(answer: Value) -> String {
        let c = conversion(value!(["v1"]));
        c.read("x", "a.b/v2", &[object("v1")], Ok(answer)).unwrap_err()
    }

    #[test]
    fn questions_are_in_the_first_version_that_is_known() {
        let c = conversion(value!(["v9", "v1beta1", "v1"]));
        let q = c.question("x", "a.b/v2", &[object("v1")]).unwrap();
        assert_eq!(q.api_version(), "apiextensions.k8s.io/v1beta1");
        assert_eq!(q.at("request.desiredAPIVersion").str(), "a.b/v2");
        assert_eq!(q.at("request.objects").items(), [object("v1")]);
        assert_eq!(
            conversion(value!(["v9"])).question("x", "a.b/v2", &[]).unwrap_err(),
            "no supported conversion review versions"
        );
        assert_eq!(
            c.question("x", "a.b/v3", &[]).unwrap_err(),
            "request to convert CR to an invalid group/version: a.b/v3"
        );
        assert_eq!(
            c.question("x", "a.b/v2", &[object("v0")]).unwrap_err(),
            "request to convert CR from an invalid group/version: a.b/v0"
        );
        assert!(
            Conversion::of(&value!({ "spec": { "conversion": { "strategy": "None" } } })).is_none()
        );
    }

    #[test]
    fn metadata_stay_but_for_labels_and_annotations() {
        let mut converted = object("v2");
        converted.set("metadata.generation", 9);
        converted.set("metadata.labels", value!({ "m": "2" }));
        converted.set("metadata.annotations", value!({ "A": "b c" }));
        converted.set("host", "h");
        let c = conversion(value!(["v1"]));
        let out = c.read("x", "a.b/v2", &[object("v1")], Ok(answer(converted))).unwrap();
        assert_eq!(
            out[0].at("metadata"),
            &value!({ "name": "n", "namespace": "s", "uid": "u", "generation": 3,
                "labels": { "m": "2" }, "annotations": { "A": "b c" } })
        );
        assert_eq!(out[0].at("host").str(), "h");
        let mut bare = object("v2");
        bare.remove("metadata.labels");
        let out = c.read("x", "a.b/v2", &[object("v1")], Ok(answer(bare))).unwrap();
        assert!(out[0].find("metadata.labels").is_none());
    }

    #[test]
    fn wrong_answers_are_named() {
        let with = |path: &str, v: Value| {
            let mut o = object("v2");
            o.set(path, v);
            answer(o)
        };
        let head = "conversion webhook for a.b/v1, Kind=K";
        let mut other = answer(object("v2"));
        other.set("response.uid", "y");
        let mut refused = answer(object("v2"));
        refused.set("response.result", value!({ "status": "Failure", "message": "no way" }));
        let mut silent = answer(object("v2"));
        silent.set("response.result", value!({}));
        let mut none = answer(object("v2"));
        none.set("response.convertedObjects", value!([]));
        for (answer, text) in [
            (
                value!({ "apiVersion": "a/v1", "kind": "B" }),
                " failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got a/v1, Kind=B",
            ),
            (other, " failed: expected response.uid=\"x\", got \"y\""),
            (refused, " failed: no way"),
            (silent, " failed: response.result.status was '', not 'Success'"),
            (none, " returned 0 objects, expected 1"),
            (
                answer(object("v1")),
                " returned invalid object at index 0: invalid groupVersion (expected a.b/v2, received a.b/v1)",
            ),
            (
                with("kind", "L".into()),
                " returned invalid object at index 0: invalid kind (expected K, received L)",
            ),
            (
                with("metadata.name", "m".into()),
                " returned invalid object: must have the same name: n != m",
            ),
            (
                with("metadata.uid", "v".into()),
                " returned invalid object: must have the same UID: u != v",
            ),
            (
                with("metadata.labels", value!([])),
                " returned invalid metadata: invalid metadata.labels of type []interface {} in converted object",
            ),
            (
                with("metadata.labels", value!({ "l": 1 })),
                " returned invalid metadata: metadata.labels[l] must be a string, but is int64 in converted object",
            ),
        ] {
            let got = error(answer);
            assert_eq!(got, format!("{head}{text}"));
        }
        let got = error(with("metadata.labels", value!({ "l": "-" })));
        assert!(got.contains("metadata.labels: Invalid value: \"-\""), "{got}");
        let c = conversion(value!(["v1"]));
        let got = c.read("x", "a.b/v2", &[object("v1")], Err("dial".into())).unwrap_err();
        assert_eq!(got, format!("{head} failed: dial"));
        let two = [object("v1"), object("v1")];
        let mut converted = answer(object("v2"));
        converted.entry("response.convertedObjects").make_array().push(object("v1"));
        let got = c.read("x", "a.b/v2", &two, Ok(converted)).unwrap_err();
        assert!(got.contains("invalid converted object at index 1: invalid groupVersion"), "{got}");
    }

    #[test]
    fn old_answers_are_not_asked_for_their_uid() {
        let c = conversion(value!(["v1beta1"]));
        let answer = value!({ "response": { "result": { "status": "Success" },
            "convertedObjects": [(object("v2"))] } });
        assert_eq!(c.read("x", "a.b/v2", &[object("v1")], Ok(answer)).unwrap().len(), 1);
    }
}
