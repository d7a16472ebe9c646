//! The catalogue's schemas as strategic merge sees them.

use timonier_schema::Schema;

use crate::MergeSchema;

impl MergeSchema for Schema<'_> {
    fn field(&self, name: &str) -> Option<Self> {
        self.property(name)
    }

    fn element(&self) -> Option<Self> {
        self.items()
    }

    fn strategy(&self, name: &str) -> bool {
        match name {
            "merge" => self.patch_merges(),
            "retainKeys" => self.patch_retains_keys(),
            _ => false,
        }
    }

    fn merge_key(&self) -> &str {
        Schema::merge_key(*self).unwrap_or("")
    }
}
