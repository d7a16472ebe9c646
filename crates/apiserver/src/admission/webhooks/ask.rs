//! One question to one hook.

use std::sync::Arc;
use std::time::Duration;

use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, GroupVersionKind, GroupVersionResource};
use timonier_object::{Value, value};
use timonier_policy::conditions::MatchConditions;
use timonier_policy::webhooks::{Answer, Asked, Hook, Review};
use timonier_schema::ResourceRow;

use crate::admission::Request;
use crate::admission::policies::Told;
use crate::call::Call;
use crate::outgoing::Target;
use crate::reviews::self_subject::user_info;
use crate::versions;

/// What hooks are asked about.
#[derive(Clone, Copy)]
pub struct About<'a> {
    pub call: &'a Call<'a>,
    pub operation: &'static str,
    pub subresource: &'a str,
    /// The kind of the object: the row's, or a subresource's own.
    pub kind: &'a GroupVersionKind,
    pub dry_run: bool,
}

impl<'a> About<'a> {
    /// A write on its way.
    pub fn of(request: &Request<'a>) -> Self {
        let own = &request.call.row.gvk;
        About {
            call: request.call,
            operation: request.operation.as_str(),
            subresource: request.subresource,
            kind: match request.subresource {
                "scale" => request.call.row.subresource("scale").map_or(own, |s| &s.kind),
                _ => own,
            },
            dry_run: request.dry_run,
        }
    }

    /// The question about a request to the version `row`, without the objects.
    pub fn review<'r>(
        &'r self,
        row: &'r ResourceRow,
        version: &'r str,
        uid: &'r str,
        name: &'r str,
    ) -> Review<'r> {
        let gvr = &self.call.row.gvr;
        Review {
            version,
            uid,
            operation: self.operation,
            subresource: self.subresource,
            kind: if *self.kind == self.call.row.gvk { &row.gvk } else { self.kind },
            resource: &row.gvr,
            request_kind: self.kind,
            request_resource: gvr,
            name,
            namespace: match gvr.resource.as_str() {
                "namespaces" if gvr.group.is_empty() => name,
                _ => self.call.namespace(),
            },
            user: user_info(self.call.user),
            object: Value::Null,
            old: Value::Null,
            dry_run: self.dry_run,
            options: self.options(),
        }
    }

    fn options(&self) -> Value {
        let kind = match self.operation {
            "CREATE" => "CreateOptions",
            "UPDATE" => "UpdateOptions",
            "DELETE" => "DeleteOptions",
            _ => return Value::Null,
        };
        let mut options = value!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
        if self.dry_run {
            options.set("dryRun", Value::array(["All".into()]));
        }
        options
    }
}

/// A request, as hooks are asked about it.
pub struct Question<'a> {
    pub about: &'a About<'a>,
    /// `Null` in a delete.
    pub object: &'a Value,
    /// `Null` in a create.
    pub old: &'a Value,
}

const GROUP: &str = "admissionregistration.k8s.io";

/// The configurations of a kind, in the order of their names; usually none.
pub fn configurations(call: &Call<'_>, plural: &'static str) -> Vec<Arc<Value>> {
    call.server.peek_all(&GroupVersionResource::new_static(GROUP, "v1", plural), "")
}

/// The row of the request, and those of the other versions of the same resource.
pub fn rows(call: &Call<'_>) -> Vec<Arc<ResourceRow>> {
    let mut rows = vec![call.row.clone()];
    let others = call
        .catalogue
        .rows()
        .filter(|row| row.stored && row.storage == call.row.storage && row.gvr != call.row.gvr);
    rows.extend(others.cloned());
    rows
}

impl Question<'_> {
    /// Asks the hook if it wants to be asked. `None`: it does not, or its failure is ignored.
    /// With the answer comes the row in whose version it is.
    pub async fn ask(
        &self,
        hook: Hook<'_>,
        rows: &[Arc<ResourceRow>],
    ) -> Result<Option<(Answer, Arc<ResourceRow>)>, ApiError> {
        let namespace =
            self.about.call.server.peek(&resources::NAMESPACES, "", self.about.call.namespace());
        let asked = Asked {
            operation: self.about.operation,
            subresource: self.about.subresource,
            object: self.object,
            old: self.old,
            namespace: namespace.as_deref(),
            rows,
        };
        let Some(row) = hook.wants(&asked).map_err(ApiError::internal)? else { return Ok(None) };
        if !self.conditions_hold(hook, &asked, row).await? {
            return Ok(None);
        }
        if self.about.dry_run && !hook.takes_dry_run() {
            let name = hook.name();
            return Err(ApiError::bad_request(format!(
                "admission webhook {name:?} does not support dry run"
            )));
        }
        let own = *self.about.kind == self.about.call.row.gvk;
        let shown = match own {
            true => (
                seen(self.about.call, row, self.object).await?,
                seen(self.about.call, row, self.old).await?,
            ),
            false => (self.object.clone(), self.old.clone()),
        };
        match self.exchange(hook, row, shown).await {
            Ok(answer) => {
                answer.warnings.iter().for_each(|w| self.about.call.warn(w));
                Ok(Some((answer, row.clone())))
            }
            Err(why) if hook.fails_closed() => {
                Err(ApiError::internal(format!("failed calling webhook {:?}: {why}", hook.name())))
            }
            Err(why) => {
                tracing::warn!(webhook = hook.name(), why, "ignoring that a webhook failed");
                Ok(None)
            }
        }
    }

    fn name(&self) -> &str {
        match self.about.call.info.name.as_str() {
            "" => self.object.name(),
            name => name,
        }
    }

    /// Whether the hook's match conditions hold. What they cannot decide is refused, unless the
    /// hook says otherwise.
    async fn conditions_hold(
        &self,
        hook: Hook<'_>,
        asked: &Asked<'_>,
        row: &Arc<ResourceRow>,
    ) -> Result<bool, ApiError> {
        if hook.value.at("matchConditions").is_empty() {
            return Ok(true);
        }
        let call = self.about.call;
        let compile = |_: &Value| MatchConditions::compile(hook.value.at("matchConditions"), false);
        let conditions = call.server.conditions.of(hook.configuration, hook.index, compile);
        let told = Told::of(self.about, row, asked, self.name()).await?;
        match conditions.hold(&told.facts(&Value::Null)) {
            Ok(hold) => Ok(hold),
            Err(_) if !hook.fails_closed() => Ok(false),
            Err(why) => Err(ApiError::forbidden(&call.resource(), self.name(), &why)),
        }
    }

    /// Asks about the object and the old one, which are in the version of `row`.
    async fn exchange(
        &self,
        hook: Hook<'_>,
        row: &Arc<ResourceRow>,
        shown: (Value, Value),
    ) -> Result<Answer, String> {
        let version = hook
            .review_version()
            .ok_or("webhook does not accept known AdmissionReview versions (v1, v1beta1)")?;
        let uid = self.about.call.server.env.uid();
        let mut review = self.about.review(row, version, &uid, self.name());
        (review.object, review.old) = shown;
        let question = review.question();
        let timeout = Duration::from_secs(hook.timeout_seconds());
        let failed = |why: String| format!("failed to call webhook: {why}");
        let target = Target::of(hook.value.at("clientConfig")).map_err(failed)?;
        let answer =
            target.post(self.about.call.server, &question, timeout).await.map_err(failed)?;
        Answer::read(&answer, hook.name(), version, &uid)
            .map_err(|why| format!("received invalid webhook response: {why}"))
    }
}

/// The object in the version that a hook sees.
pub async fn seen(
    call: &Call<'_>,
    row: &Arc<ResourceRow>,
    object: &Value,
) -> Result<Value, ApiError> {
    converted(versions::between(call.server, &call.row, row, object.clone()).await)
}

/// An object that a hook has patched, back in the version of the request.
pub async fn given_back(
    call: &Call<'_>,
    row: &Arc<ResourceRow>,
    object: Value,
) -> Result<Value, ApiError> {
    converted(versions::between(call.server, row, &call.row, object).await)
}

fn converted(result: Result<Value, ApiError>) -> Result<Value, ApiError> {
    result.map_err(|error| ApiError::internal(error.message))
}
