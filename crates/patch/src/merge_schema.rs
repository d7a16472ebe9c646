//! What strategic merge needs to know of a kind's schema.

/// A place in the schema of a kind.
pub trait MergeSchema: Sized {
    /// The schema of a field of this object.
    fn field(&self, name: &str) -> Option<Self>;

    /// The schema of this list's items.
    fn element(&self) -> Option<Self>;

    /// Whether `x-kubernetes-patch-strategy` names this strategy (`merge`, `replace`).
    fn strategy(&self, name: &str) -> bool;

    /// `x-kubernetes-patch-merge-key`, empty for lists of plain values.
    fn merge_key(&self) -> &str;
}
