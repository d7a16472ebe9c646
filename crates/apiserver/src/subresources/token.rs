//! `token`: a signed token of a service account.

use timonier_meta::gvk::resources;
use timonier_meta::{ApiError, Duration, FieldError, FieldPath, GroupVersionKind};
use timonier_object::Value;

use crate::admission::node_restriction;
use crate::auth::token::{Claims, claims};
use crate::call::{Call, Object};
use crate::strategy;

/// The kind of the body.
pub const KIND: GroupVersionKind =
    GroupVersionKind::new_static("authentication.k8s.io", "v1", "TokenRequest");

const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
const DEFAULT: i64 = 3600;
/// Tokens that pods mount by themselves hold a year, so that old clients which read them once go
/// on working; a use after the asked-for time is worth a warning.
const EXTENDED: i64 = 365 * 24 * 3600;
const MOUNTED: i64 = 3607;

/// Issues a token for the account `name`.
pub async fn create(call: &Call<'_>, name: &str, mut request: Value) -> Result<Object, ApiError> {
    strategy::check_kind(&KIND, &mut request)?;
    let account = call
        .server
        .peek(&resources::SERVICEACCOUNTS, call.namespace(), name)
        .ok_or_else(|| call.not_found(name))?;
    node_restriction::check_token(call, &request)?;
    let seconds = request.at("spec.expirationSeconds").int_or(DEFAULT);
    check(name, seconds)?;
    let mut audiences: Vec<String> =
        request.at("spec.audiences").items().iter().map(|a| a.str().to_string()).collect();
    if audiences.is_empty() {
        audiences.clone_from(&call.server.config.audiences);
    }
    let bound = bound_object(call, &request, name)?;
    let mounted = seconds == MOUNTED
        && bound.as_ref().is_some_and(|b| b.kind == "pod")
        && audiences == call.server.config.audiences;
    let now = call.server.env.now();
    let node = bound.as_ref().and_then(|b| b.node.as_ref());
    let claims = claims(
        &call.server.config.issuer,
        &call.server.env.uid(),
        now,
        &Claims {
            namespace: call.namespace(),
            account: (name, account.uid()),
            bound: bound.as_ref().map(|b| (b.kind, b.name.as_str(), b.uid.as_str())),
            node: node.map(|(name, uid)| (name.as_str(), uid.as_str())),
            audiences: &audiences,
            expires_in: if mounted { EXTENDED } else { seconds },
            warn_after: mounted.then_some(seconds),
        },
    );
    let token = call.server.token_key.sign(&claims).map_err(ApiError::internal)?;
    request.set("metadata.name", name);
    request.set("metadata.namespace", call.namespace());
    request.set("metadata.creationTimestamp", now.rfc3339());
    request.set("spec.audiences", audiences.iter().map(Value::from).collect::<Vec<_>>());
    request.set("spec.expirationSeconds", seconds);
    request.set("status.token", token);
    let expires = now + Duration::from_secs(seconds);
    request.set("status.expirationTimestamp", expires.rfc3339());
    Ok(Object::made(request))
}

fn check(name: &str, seconds: i64) -> Result<(), ApiError> {
    let path = FieldPath::new("spec.expirationSeconds");
    let why = if seconds < SHORTEST {
        "may not specify a duration less than 10 minutes"
    } else if seconds > LONGEST {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    Err(ApiError::invalid(&KIND, name, &[FieldError::invalid(&path, seconds, why)]))
}

/// What the token is bound to.
struct Bound {
    kind: &'static str,
    name: String,
    uid: String,
    /// Name and uid of a pod's node.
    node: Option<(String, String)>,
}

fn bound_object(
    call: &Call<'_>,
    request: &Value,
    account: &str,
) -> Result<Option<Bound>, ApiError> {
    let reference = request.at("spec.boundObjectRef");
    if reference.is_empty() {
        return Ok(None);
    }
    let (name, uid) = (reference.at("name").str(), reference.at("uid").str());
    let version = reference.at("apiVersion").str();
    let (kind, resource, namespace) = match (version, reference.at("kind").str()) {
        ("v1", "Pod") => ("pod", &resources::PODS, call.namespace()),
        ("v1", "Secret") => ("secret", &resources::SECRETS, call.namespace()),
        ("v1", "Node") => ("node", &resources::NODES, ""),
        (version, kind) => {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to object with kind {kind:?} in version {version:?}"
            )));
        }
    };
    let gone = || ApiError::not_found(&resource.group_resource(), name);
    let object = call.server.peek(resource, namespace, name).ok_or_else(gone)?;
    if !uid.is_empty() && uid != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(&resource.group_resource(), name, &why));
    }
    if kind == "pod" && object.at("spec.serviceAccountName").str() != account {
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let node_name = object.at("spec.nodeName").str();
    let node = (kind == "pod")
        .then(|| call.server.peek(&resources::NODES, "", node_name))
        .flatten()
        .map(|node| (node.name().to_string(), node.uid().to_string()));
    Ok(Some(Bound { kind, name: name.into(), uid: object.uid().into(), node }))
}
