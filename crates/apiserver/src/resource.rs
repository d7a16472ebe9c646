//! A request to a resource: verb and subresource decide what happens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use timonier_client::{DeleteOptions, PatchType, Preconditions};
use timonier_meta::{ApiError, GroupVersionKind, Reason};
use timonier_object::{Value, json, yaml};
use timonier_policy::User;

use crate::answer::{self, Wish};
use crate::call::{Call, Object};
use crate::http::body;
use crate::http::negotiate::{negotiate, negotiate_without_table};
use crate::http::respond::{self, Body};
use crate::query::{self, FieldValidation, ListQuery, Query, WriteQuery};
use crate::request::RequestInfo;
use crate::server::ApiServer;
use crate::strategy::{self, Part};
use crate::subresources::{
    approval, binding, ephemeral_containers, eviction, finalize, resize, scale, token,
};
use crate::table::Include;
use crate::verbs::update::{Updated, check_name};
use crate::verbs::{create, delete, deletecollection, get, list, patch, update, watch};
use crate::write::{self, Write};
use crate::{admission, decode, managed, proxy, reviews};

/// A body has this long to arrive.
const BODY: Duration = Duration::from_secs(60);

/// A request with its body still to be read.
pub struct Incoming<B> {
    pub request: http::Request<B>,
    pub query: Query,
}

/// Answers a request to a resource that is authorized.
pub async fn serve<B>(
    server: &Arc<ApiServer>,
    user: &User,
    info: &RequestInfo,
    incoming: Incoming<B>,
) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(mut call) = Call::find(server, user, info) else {
        return Ok(respond::text(404, "404 page not found\n"));
    };
    let stated = incoming.query.text("fieldManager");
    call.manager = managed::manager_of(stated, incoming.request.headers());
    call.follows = true;
    allowed(&call)?;
    server.check_store()?;
    deprecations(&call);
    if proxy::is_connect(&call) {
        admission::webhooks::connect(&call, &incoming.query).await?;
        return proxy::serve(&call, incoming.request, &incoming.query).await;
    }
    let (parts, body) = incoming.request.into_parts();
    let stored = call.row.verbs.names().any(|verb| verb == "get");
    let wish = Wish {
        form: if stored {
            negotiate(&parts.headers)?
        } else {
            negotiate_without_table(&parts.headers)?
        },
        include: Include::parse(incoming.query.text("includeObject")),
        headers: &parts.headers,
    };
    let query = &incoming.query;
    match info.verb {
        "get" | "list" | "watch" => read(&call, query, wish).await,
        _ => {
            let body = tokio::time::timeout(BODY, body::read(body)).await.map_err(|_| {
                ApiError::new(408, Reason::Timeout, "the body of the request did not come in time")
            })??;
            let change = Change { call: &call, query, headers: &parts.headers, body: &body };
            let result = change.run(wish).await;
            // What was said counts also where the request failed.
            Ok(result.unwrap_or_else(|error| {
                answer::finish(&call, respond::error(&error, wish.form.encoding))
            }))
        }
    }
}

/// Says of old kinds what is used instead.
fn deprecations(call: &Call<'_>) {
    match (call.row.gvr.group.as_str(), call.row.gvr.resource.as_str()) {
        ("", "endpoints") => {
            call.warn("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        ("", "componentstatuses") => call.warn("v1 ComponentStatus is deprecated in v1.19+"),
        _ => {
            if let Some(text) = call.row.deprecation() {
                call.warn(text);
            }
        }
    }
}

/// Refuses verbs and subresources that the row does not have.
fn allowed(call: &Call<'_>) -> Result<(), ApiError> {
    let info = call.info;
    let verbs = if info.subresource.is_empty() {
        Some(call.row.verbs)
    } else {
        call.row.subresource(&info.subresource).map(|s| s.verbs)
    };
    let Some(verbs) = verbs else {
        let text = "the server could not find the requested resource";
        return Err(ApiError::new(404, Reason::NotFound, text));
    };
    // `list` of a subresource is `get` without a name and does not exist.
    let bound = call.row.namespaced && info.namespace.is_empty();
    let writes = matches!(info.verb, "create" | "update" | "patch" | "delete" | "deletecollection");
    // OPTIONS is no verb; whether it is allowed is for what lies behind the proxy to say.
    let passed_on = info.verb.is_empty() && info.subresource == "proxy";
    if !verbs.has(info.verb) && !passed_on || bound && writes && call.row.stored {
        return Err(ApiError::new(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        ));
    }
    Ok(())
}

async fn read(call: &Call<'_>, query: &Query, wish: Wish<'_>) -> Result<Response<Body>, ApiError> {
    match call.info.verb {
        "get" => {
            let version = match query.text("resourceVersion") {
                "" => None,
                text => Some(text.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "strconv.ParseUint: parsing {text:?}: invalid syntax"
                    ))
                })?),
            };
            let object = match call.info.subresource.as_str() {
                "scale" => scale::get(call, version).await?,
                _ => get::get(call, version).await?,
            };
            Ok(answer::object(call, wish, 200, &object))
        }
        "list" => {
            let page = list::list(call, &ListQuery::parse(query, false)?).await?;
            Ok(answer::list(call, wish, &page))
        }
        _ => {
            let options = ListQuery::parse(query, true)?;
            match watch::watch(call, &options).await {
                Ok(watch) => Ok(answer::watch(call, wish, watch)),
                Err(error) if error.code == 410 => Ok(answer::failed_watch(&error)),
                Err(error) => Err(error),
            }
        }
    }
}

/// A request that changes something.
struct Change<'a> {
    call: &'a Call<'a>,
    query: &'a Query,
    headers: &'a HeaderMap,
    body: &'a Bytes,
}

impl Change<'_> {
    async fn run(&self, wish: Wish<'_>) -> Result<Response<Body>, ApiError> {
        let call = self.call;
        match call.info.verb {
            "create" => {
                let (code, object) = self.create().await?;
                Ok(answer::object(call, wish, code, &object))
            }
            "update" => match self.update().await? {
                Updated::Changed(object) => Ok(answer::object(call, wish, 200, &object)),
                Updated::Created(object) => Ok(answer::object(call, wish, 201, &object)),
            },
            "patch" => {
                let (code, object) = self.patch().await?;
                Ok(answer::object(call, wish, code, &object))
            }
            "delete" => {
                let name = call.info.path_name();
                let deleted = delete::delete(call, name, &self.delete_options()?).await?;
                Ok(answer::object(call, wish, 200, &deleted.answer(call)))
            }
            _ => {
                let select = ListQuery::parse(self.query, false)?;
                let options = self.delete_options()?;
                let done = deletecollection::delete_collection(call, &select, &options).await?;
                let metadata: Value =
                    [("resourceVersion", done.revision.to_string())].into_iter().collect();
                Ok(answer::list_of(call, wish, metadata, &done.objects))
            }
        }
    }

    /// The body as an object of the row's kind.
    fn object(&self, options: &WriteQuery) -> Result<Value, ApiError> {
        let sent = decode::body(self.call, self.headers, self.body, &self.call.row.gvk)?;
        let mut object = sent.object;
        strategy::check_type(self.call, &mut object)?;
        decode::accept(self.call, object, sent.duplicates, options.field_validation)
    }

    /// The body as an object of a subresource's kind.
    fn object_as(&self, gvk: &GroupVersionKind, options: &WriteQuery) -> Result<Value, ApiError> {
        let sent = decode::body(self.call, self.headers, self.body, gvk)?;
        let mut object = sent.object;
        // A patch release ago clients sent evictions as policy/v1beta1; the fields are the same.
        if gvk == &eviction::KIND && object.api_version() == "policy/v1beta1" {
            object.set("apiVersion", "policy/v1");
        }
        strategy::check_kind(gvk, &mut object)?;
        decode::accept_as(self.call, gvk, object, sent.duplicates, options.field_validation)
    }

    /// The body as an object of a subresource's kind that admission webhooks have seen.
    async fn asked(&self, gvk: &GroupVersionKind, options: &WriteQuery) -> Result<Value, ApiError> {
        let mut body = self.object_as(gvk, options)?;
        admission::webhooks::body(self.call, gvk, &mut body, options.dry_run).await?;
        Ok(body)
    }

    async fn create(&self) -> Result<(u16, Object), ApiError> {
        let call = self.call;
        let options = WriteQuery::parse(self.query, "CreateOptions")?;
        let name = call.info.path_name();
        match call.info.subresource.as_str() {
            "" => {}
            "binding" => {
                let body = self.asked(&binding::KIND, &options).await?;
                return Ok((201, binding::create(call, name, &body, options.dry_run).await?));
            }
            "eviction" => {
                let body = self.asked(&eviction::KIND, &options).await?;
                return Ok((201, eviction::create(call, name, &body, options.dry_run).await?));
            }
            "token" => {
                let body = self.asked(&token::KIND, &options).await?;
                return Ok((201, token::create(call, name, body).await?));
            }
            _ => return Err(no_such_subresource()),
        }
        let object = self.object(&options)?;
        if let Some(answered) = reviews::create(call, object.clone()) {
            return Ok((201, answered?));
        }
        if call.row.gvk == binding::KIND {
            let mut body = object;
            admission::webhooks::body(call, &binding::KIND, &mut body, options.dry_run).await?;
            return Ok((201, self.bind(&body, options.dry_run).await?));
        }
        Ok((201, create::create(call, object, options.dry_run).await?))
    }

    /// `POST …/bindings`: the pod is named by the body.
    async fn bind(&self, body: &Value, dry_run: bool) -> Result<Object, ApiError> {
        let info = RequestInfo {
            resource: "pods".into(),
            subresource: "binding".into(),
            name: body.name().into(),
            ..self.call.info.clone()
        };
        let call =
            Call::find(self.call.server, self.call.user, &info).ok_or_else(no_such_subresource)?;
        call.authorize()?;
        binding::create(&call, body.name(), body, dry_run).await
    }

    async fn update(&self) -> Result<Updated, ApiError> {
        let call = self.call;
        let options = WriteQuery::parse(self.query, "UpdateOptions")?;
        let dry_run = options.dry_run;
        let changed = match call.info.subresource.as_str() {
            "" => {
                let object = self.object(&options)?;
                return update::update(call, object, Part::Main, dry_run).await;
            }
            "status" => {
                let object = self.object(&options)?;
                return update::update(call, object, Part::Status, dry_run).await;
            }
            "scale" => {
                let body = self.object_as(&scale::KIND, &options)?;
                scale::update(call, body, dry_run).await?
            }
            "finalize" => finalize::update(call, self.object(&options)?, dry_run).await?,
            "approval" => approval::update(call, self.object(&options)?, dry_run).await?,
            "ephemeralcontainers" | "resize" => {
                let body = self.object(&options)?;
                self.part_of_pod(dry_run, |_| Ok(body.clone())).await?
            }
            _ => return Err(no_such_subresource()),
        };
        Ok(Updated::Changed(changed))
    }

    /// Changes the part of a pod that the subresource is for.
    async fn part_of_pod(
        &self,
        dry_run: bool,
        mut body: impl FnMut(&Value) -> Result<Value, ApiError> + Send,
    ) -> Result<Object, ApiError> {
        let call = self.call;
        let name = call.info.path_name();
        let subresource = call.info.subresource.as_str();
        let change = match subresource {
            "resize" => resize::change,
            _ => ephemeral_containers::change,
        };
        let write = Write { name, subresource, part: Part::Main, dry_run, applied: false };
        write::modify(call, write, |old| {
            let mut body = body(old)?;
            check_name(&mut body, name)?;
            change(old, &body).map_err(|errors| call.invalid(name, &errors))
        })
        .await
    }

    /// Server-side apply of the body, to a part of the object or to its scale.
    async fn apply(&self, part: Option<Part>) -> Result<(u16, Object), ApiError> {
        let call = self.call;
        let options = WriteQuery::parse_apply(self.query)?;
        let text = std::str::from_utf8(self.body)
            .map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))?;
        // Most of what is applied is JSON, which may be deeper than a manifest that somebody wrote.
        let (applied, duplicate) = match json::decode_strict(self.body) {
            Ok(sent) if sent.duplicates.is_empty() => (sent.value, None),
            _ => yaml::decode_loose(text)
                .map_err(|why| ApiError::bad_request(format!("error decoding YAML: {why}")))?,
        };
        let strict = options.field_validation == FieldValidation::Strict;
        // A key set twice is an error before anything is stored.
        let dry_run = options.dry_run || duplicate.is_some() && strict;
        let dry = WriteQuery { dry_run, ..options.clone() };
        let (created, object) = match part {
            Some(part) => patch::apply_object(call, applied, part, &dry).await?,
            None => (false, scale::apply(call, applied, &dry).await?),
        };
        match (duplicate, options.field_validation) {
            (Some(why), FieldValidation::Strict) => {
                let text = format!("error strict decoding YAML: {why}");
                return Err(ApiError::bad_request(text));
            }
            (Some(why), FieldValidation::Warn) => call.warn(why),
            _ => {}
        }
        Ok((if created { 201 } else { 200 }, object))
    }

    async fn patch(&self) -> Result<(u16, Object), ApiError> {
        let kind = patch::kind(&body::content_type(self.headers))?;
        match (kind, self.call.info.subresource.as_str()) {
            (PatchType::Apply, "") => self.apply(Some(Part::Main)).await,
            (PatchType::Apply, "status") => self.apply(Some(Part::Status)).await,
            (PatchType::Apply, "scale") => self.apply(None).await,
            (PatchType::Apply, _) => Err(patch::apply_unsupported()),
            _ => Ok((200, self.patch_part(kind).await?)),
        }
    }

    async fn patch_part(&self, kind: PatchType) -> Result<Object, ApiError> {
        let call = self.call;
        let options = WriteQuery::parse(self.query, "PatchOptions")?;
        let patch = json::decode(self.body)
            .map_err(|why| ApiError::bad_request(format!("error decoding patch: {why}")))?;
        let dry_run = options.dry_run;
        match call.info.subresource.as_str() {
            "" => patch::patch(call, kind, &patch, Part::Main, &options).await,
            "status" => patch::patch(call, kind, &patch, Part::Status, &options).await,
            "scale" => scale::patch(call, kind, &patch, dry_run).await,
            "approval" => {
                let now = call.server.env.now().rfc3339();
                self.patch_whole(kind, &patch, dry_run, |old, new| approval::change(old, new, &now))
                    .await
            }
            "ephemeralcontainers" | "resize" => {
                self.part_of_pod(dry_run, |old| patch::apply(call, kind, old, &patch)).await
            }
            _ => Err(no_such_subresource()),
        }
    }

    async fn patch_whole(
        &self,
        kind: PatchType,
        patch: &Value,
        dry_run: bool,
        change: impl Fn(&Value, &Value) -> Value + Send + Sync,
    ) -> Result<Object, ApiError> {
        let call = self.call;
        let name = call.info.path_name();
        let subresource = call.info.subresource.as_str();
        let write = Write { name, subresource, part: Part::Whole, dry_run, applied: false };
        write::modify(call, write, |old| {
            let patched = patch::apply(call, kind, old, patch)?;
            Ok(change(old, &patched))
        })
        .await
    }

    /// The options of a delete: the body's where there is one, else the query's.
    fn delete_options(&self) -> Result<DeleteOptions, ApiError> {
        let from_query = query::delete_options(self.query)?;
        if self.body.is_empty() {
            return Ok(from_query);
        }
        let gvk = GroupVersionKind::new_static("", "v1", "DeleteOptions");
        let sent = decode::body(self.call, self.headers, self.body, &gvk)?;
        if !matches!(sent.object.kind(), "" | "DeleteOptions") {
            return Err(ApiError::bad_request(
                "decoded object cannot be converted to DeleteOptions",
            ));
        }
        // Upstream does not ask for strict options.
        let ignore = FieldValidation::Ignore;
        let body = decode::accept_as(self.call, &gvk, sent.object, Vec::new(), ignore)?;
        let mut options = delete_options_of(&body)?;
        options.dry_run |= from_query.dry_run;
        options.propagation = options.propagation.or(from_query.propagation);
        options.grace_period_seconds =
            options.grace_period_seconds.or(from_query.grace_period_seconds);
        Ok(options)
    }
}

/// Reads a `DeleteOptions` object.
pub fn delete_options_of(body: &Value) -> Result<DeleteOptions, ApiError> {
    let mut errors = Vec::new();
    let propagation = query::propagation(body.at("propagationPolicy").str(), &mut errors);
    let dry_run = query::dry_run(body.at("dryRun").items().iter().map(Value::str), &mut errors);
    let orphan = body.at("orphanDependents").as_bool();
    if orphan.is_some() && propagation.is_some() {
        errors.push(timonier_meta::FieldError::invalid(
            &timonier_meta::FieldPath::new("propagationPolicy"),
            body.at("propagationPolicy"),
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    query::invalid_options("DeleteOptions", &errors)?;
    let text = |path: &str| body.find(path).map(Value::smol).filter(|t| !t.is_empty());
    Ok(DeleteOptions {
        grace_period_seconds: body.at("gracePeriodSeconds").as_i64(),
        propagation: propagation.or(orphan.map(|orphan| {
            if orphan {
                timonier_client::Propagation::Orphan
            } else {
                timonier_client::Propagation::Background
            }
        })),
        preconditions: Preconditions {
            uid: text("preconditions.uid"),
            resource_version: text("preconditions.resourceVersion"),
        },
        dry_run,
    })
}

fn no_such_subresource() -> ApiError {
    ApiError::new(404, Reason::NotFound, "the server could not find the requested resource")
}
