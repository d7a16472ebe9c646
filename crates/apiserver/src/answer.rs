//! From a verb's result to the answer in the form that the client asked for.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use timonier_meta::ApiError;
use timonier_object::{Value, json, value};

use crate::call::{Call, Object};
use crate::http::negotiate::{Encoding, Form, Shape};
use crate::http::respond::{self, Body};
use crate::table::{self, Include, Printer};
use crate::verbs::list::Page;
use crate::verbs::watch::{Change, Watch};

/// How the client wants its answer.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    pub form: Form,
    pub include: Include,
    pub headers: &'a HeaderMap,
}

/// One object.
pub fn object(call: &Call<'_>, wish: Wish<'_>, code: u16, object: &Object) -> Response<Body> {
    let bytes = match wish.form.shape {
        Shape::Object => object.bytes(call),
        Shape::Table => {
            let value = object.value(call);
            if value.kind() == "Status" {
                return finish(
                    call,
                    respond::object(code, wish.form.encoding, json::encode(&value).into()),
                );
            }
            let metadata = value!({ "resourceVersion": (value.resource_version()) });
            let printer = Printer::new(call, wish.include);
            let rows = vec![printer.row(&value)];
            json::encode(&table::table(metadata, Some(printer.definitions()), rows)).into()
        }
        Shape::Metadata => json::encode(&table::partial(&object.value(call))).into(),
    };
    finish(call, respond::object(code, wish.form.encoding, bytes))
}

/// A list.
pub fn list(call: &Call<'_>, wish: Wish<'_>, page: &Page) -> Response<Body> {
    list_of(call, wish, list_metadata(page), &page.items)
}

/// A list of objects with the list's metadata.
pub fn list_of(
    call: &Call<'_>,
    wish: Wish<'_>,
    metadata: Value,
    objects: &[Object],
) -> Response<Body> {
    let pieces = match wish.form.shape {
        Shape::Table => {
            let printer = Printer::new(call, wish.include);
            let rows = objects.iter().map(|o| printer.row(&o.value(call)));
            let table = table::table(metadata, Some(printer.definitions()), rows.collect());
            vec![json::encode(&table).into()]
        }
        Shape::Metadata => enclose(
            "PartialObjectMetadataList",
            "meta.k8s.io/v1",
            &metadata,
            objects.iter().map(|o| json::encode(&table::partial(&o.value(call))).into()),
        ),
        Shape::Object => {
            let version = call.row.gvk.group_version().to_string();
            let items = objects.iter().map(|o| o.bytes(call));
            enclose(&call.row.list_kind, &version, &metadata, items)
        }
    };
    let response = match wish.form.encoding {
        Encoding::Json => respond::pieces(200, "application/json", pieces, wish.headers),
        Encoding::Yaml => respond::object(200, Encoding::Yaml, pieces.concat().into()),
    };
    finish(call, response)
}

fn list_metadata(page: &Page) -> Value {
    let mut metadata = value!({ "resourceVersion": (page.revision.to_string()) });
    if !page.continue_token.is_empty() {
        metadata.set("continue", page.continue_token.as_str());
    }
    if let Some(n) = page.remaining {
        metadata.set("remainingItemCount", n);
    }
    metadata
}

/// The pieces of a list's JSON: the items' own bytes between what a list has around them.
fn enclose(
    kind: &str,
    version: &str,
    metadata: &Value,
    items: impl Iterator<Item = Bytes>,
) -> Vec<Bytes> {
    let head = format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{},\"items\":[",
        json::to_string(metadata)
    );
    let mut pieces = vec![Bytes::from(head)];
    for (i, item) in items.enumerate() {
        if i > 0 {
            pieces.push(Bytes::from_static(b","));
        }
        pieces.push(item);
    }
    pieces.push(Bytes::from_static(b"]}"));
    pieces
}

/// A watch as a stream of frames.
pub fn watch(call: &Call<'_>, wish: Wish<'_>, watch: Watch) -> Response<Body> {
    use futures::StreamExt;
    let (form, include) = (wish.form, wish.include);
    let mut first = true;
    let frames = watch.run(move |call, change| {
        let frame = frame(call, form, include, first, change);
        first = false;
        frame
    });
    let frames = frames.map(|result| Ok(result.unwrap_or_else(|error| error_frame(&error))));
    let mut response = respond::answer(200, "application/json", Bytes::new());
    *response.body_mut() = respond::stream(frames);
    finish(call, response)
}

/// A watch that could not start: the error is its only event, as upstream's cache tells it.
pub fn failed_watch(error: &ApiError) -> Response<Body> {
    respond::answer(200, "application/json", error_frame(error))
}

fn error_frame(error: &ApiError) -> Bytes {
    enframe("ERROR", &json::encode(&respond::status(error)))
}

fn frame(call: &Call<'_>, form: Form, include: Include, first: bool, change: Change) -> Bytes {
    let (kind, object) = match &change {
        Change::Added(object) => ("ADDED", object),
        Change::Modified(object) => ("MODIFIED", object),
        Change::Deleted(object) => ("DELETED", object),
        Change::Bookmark { revision, initial_events_end } => {
            let object = bookmark(call, form.shape, *revision, *initial_events_end);
            return enframe("BOOKMARK", &json::encode(&object));
        }
    };
    let bytes = match form.shape {
        Shape::Object => object.bytes(call),
        Shape::Metadata => json::encode(&table::partial(&object.value(call))).into(),
        Shape::Table => {
            let value = object.value(call);
            let metadata = value!({ "resourceVersion": (value.resource_version()) });
            let printer = Printer::new(call, include);
            // The columns stand in the first event only.
            let columns = first.then(|| printer.definitions());
            json::encode(&table::table(metadata, columns, vec![printer.row(&value)])).into()
        }
    };
    enframe(kind, &bytes)
}

fn enframe(kind: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
    out.freeze()
}

fn bookmark(call: &Call<'_>, shape: Shape, revision: u64, end: bool) -> Value {
    let mut metadata =
        value!({ "resourceVersion": (revision.to_string()), "creationTimestamp": null });
    if end {
        metadata.set("annotations", value!({ "k8s.io/initial-events-end": "true" }));
    }
    let (kind, version) = match shape {
        Shape::Object => (call.row.gvk.kind.as_str(), call.row.gvk.group_version().to_string()),
        Shape::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_string()),
        Shape::Table => return table::table(metadata, None, Vec::new()),
    };
    value!({ "kind": kind, "apiVersion": version, "metadata": (metadata) })
}

/// Adds what was said beside the answer.
pub fn finish(call: &Call<'_>, mut response: Response<Body>) -> Response<Body> {
    for warning in call.take_warnings() {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::try_from(format!("299 - \"{text}\"")) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
    response
}
