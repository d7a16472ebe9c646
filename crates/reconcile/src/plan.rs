//! What a reconciler wants done.

use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;
use timonier_meta::{GroupResource, GroupVersionResource, ObjectKey, Time};
use timonier_object::{Value, value};

/// The result of one reconcile. The default means that everything is as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In order; the first one that fails ends the plan, and the key runs again after a back-off.
    pub writes: Vec<Write>,
    /// Run the key again at this time, even if nothing changes.
    pub requeue_at: Option<Time>,
    /// Events to record once all writes are done. A write has its own for its own outcome.
    pub because: Vec<Reason>,
    /// Run the key again once these resources were observed up to these revisions: the decision
    /// would otherwise rest on an absence that may only be a delay.
    pub wait: Vec<(GroupResource, u64)>,
    /// Handed to the key's next run, once all writes are done: what the world does not tell, such
    /// as failures of objects that are gone. `None` forgets. A restart forgets too, so nothing
    /// but a wait may rest on it.
    pub remember: Option<Value>,
}

impl Plan {
    /// Nothing to do.
    pub fn nothing() -> Self {
        Plan::default()
    }

    /// A plan of one write.
    pub fn write(write: Write) -> Self {
        Plan { writes: alloc::vec![write], ..Plan::default() }
    }

    /// Makes the key run again at this time or before.
    pub fn requeue(&mut self, at: Time) {
        self.requeue_at = Some(self.requeue_at.map_or(at, |t| t.min(at)));
    }
}

/// One request to the API server, and the Events that tell about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub resource: GroupVersionResource,
    pub key: ObjectKey,
    pub operation: Operation,
    /// Recorded when the write was done.
    pub event: Option<Reason>,
    /// Recorded when the write was refused; the error's text is put after the message.
    pub failure: Option<Reason>,
}

/// What a write does. Each carries what it was decided on.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Creates the object under the name of the key, which the reconciler has chosen, so that a
    /// create whose reply is lost can be recognised.
    Create { object: Value },
    /// Replaces the object, or a subresource of it. The object holds the resource version and
    /// uid that the decision rests on.
    Update { subresource: &'static str, object: Value },
    /// Changes the object, or a subresource of it. A `metadata.uid` in the patch guards it.
    Patch { subresource: &'static str, kind: PatchKind, patch: Value },
    /// Deletes the object.
    Delete {
        preconditions: Preconditions,
        propagation: Option<Propagation>,
        grace_period_seconds: Option<i64>,
    },
}

/// The form of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
}

/// What becomes of the objects that an object owns when it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// What must hold for a delete to take place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<SmolStr>,
    pub resource_version: Option<SmolStr>,
}

impl Write {
    fn new(resource: &GroupVersionResource, key: ObjectKey, operation: Operation) -> Self {
        Write { resource: resource.clone(), key, operation, event: None, failure: None }
    }

    /// Creates `object`, which has its name (and namespace) set.
    pub fn create(resource: &GroupVersionResource, object: Value) -> Self {
        Self::new(resource, object.key(), Operation::Create { object })
    }

    /// Replaces an object read from the world.
    pub fn update(resource: &GroupVersionResource, object: Value) -> Self {
        Self::new(resource, object.key(), Operation::Update { subresource: "", object })
    }

    /// Replaces the status of an object read from the world.
    pub fn update_status(resource: &GroupVersionResource, object: Value) -> Self {
        Self::update_subresource(resource, "status", object)
    }

    /// Replaces a subresource of an object, such as `finalize`.
    pub fn update_subresource(
        resource: &GroupVersionResource,
        subresource: &'static str,
        object: Value,
    ) -> Self {
        Self::new(resource, object.key(), Operation::Update { subresource, object })
    }

    /// Patches `object` on the condition that it is still the same one (by uid).
    pub fn patch(
        resource: &GroupVersionResource,
        object: &Value,
        kind: PatchKind,
        patch: Value,
    ) -> Self {
        Self::patch_subresource(resource, object, "", kind, patch)
    }

    /// Patches a subresource of `object` on the condition that it is still the same one.
    pub fn patch_subresource(
        resource: &GroupVersionResource,
        object: &Value,
        subresource: &'static str,
        kind: PatchKind,
        mut patch: Value,
    ) -> Self {
        if kind != PatchKind::Json {
            patch.set("metadata.uid", object.uid());
        }
        Self::new(resource, object.key(), Operation::Patch { subresource, kind, patch })
    }

    /// Deletes `object` on the condition that it is still the same one (by uid).
    pub fn delete(resource: &GroupVersionResource, object: &Value) -> Self {
        let preconditions =
            Preconditions { uid: Some(object.uid().into()), resource_version: None };
        Self::new(
            resource,
            object.key(),
            Operation::Delete { preconditions, propagation: None, grace_period_seconds: None },
        )
    }

    /// Sets what becomes of the owned objects of a delete.
    pub fn propagate(mut self, to: Propagation) -> Self {
        if let Operation::Delete { propagation, .. } = &mut self.operation {
            *propagation = Some(to);
        }
        self
    }

    /// Sets the grace period of a delete.
    pub fn grace(mut self, seconds: i64) -> Self {
        if let Operation::Delete { grace_period_seconds, .. } = &mut self.operation {
            *grace_period_seconds = Some(seconds);
        }
        self
    }

    /// Makes a delete depend on the version of `object` that it was decided on.
    pub fn unchanged(mut self, object: &Value) -> Self {
        if let Operation::Delete { preconditions, .. } = &mut self.operation {
            preconditions.resource_version = Some(object.resource_version().into());
        }
        self
    }

    /// Records an Event when the write was done.
    pub fn event(mut self, reason: Reason) -> Self {
        self.event = Some(reason);
        self
    }

    /// Records an Event when the write was refused; the error's text is put after the message.
    pub fn on_failure(mut self, reason: Reason) -> Self {
        self.failure = Some(reason);
        self
    }
}

/// The type of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    /// The text in `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// Why something was done: becomes an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub involved: Reference,
    pub kind: EventType,
    /// CamelCase, for machines.
    pub reason: SmolStr,
    /// For people.
    pub message: String,
}

impl Reason {
    /// A `Normal` Event about `object`.
    pub fn normal(object: &Value, reason: &str, message: impl Into<String>) -> Self {
        Reason {
            involved: Reference::to(object),
            kind: EventType::Normal,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// A `Warning` Event about `object`.
    pub fn warning(object: &Value, reason: &str, message: impl Into<String>) -> Self {
        Reason { kind: EventType::Warning, ..Self::normal(object, reason, message) }
    }
}

/// `v1.ObjectReference`: what an Event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub api_version: SmolStr,
    pub kind: SmolStr,
    pub namespace: SmolStr,
    pub name: SmolStr,
    pub uid: SmolStr,
    pub resource_version: SmolStr,
    /// Part of the object, such as `spec.containers{web}`; empty for all of it.
    pub field_path: SmolStr,
}

impl Reference {
    /// A reference to a whole object.
    pub fn to(object: &Value) -> Self {
        Reference {
            api_version: object.api_version().into(),
            kind: object.kind().into(),
            namespace: object.namespace().into(),
            name: object.name().into(),
            uid: object.uid().into(),
            resource_version: object.resource_version().into(),
            field_path: SmolStr::default(),
        }
    }
}

impl From<&Reference> for Value {
    fn from(r: &Reference) -> Value {
        let mut out = value!({
            "kind": (&r.kind), "namespace": (&r.namespace), "name": (&r.name), "uid": (&r.uid),
            "apiVersion": (&r.api_version), "resourceVersion": (&r.resource_version),
            "fieldPath": (&r.field_path),
        });
        out.make_object().retain(|_, v| !v.is_empty());
        out
    }
}
