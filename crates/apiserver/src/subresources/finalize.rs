//! `finalize`: the namespace controller says that a namespace is empty.

use timonier_meta::ApiError;
use timonier_object::Value;

use crate::call::{Call, Object};
use crate::strategy::{self, Part};
use crate::verbs::update::check_name;
use crate::write::{self, Write};

/// Sets the finalizers of a namespace's specification; without any, and being deleted, it goes.
pub async fn update(call: &Call<'_>, mut body: Value, dry_run: bool) -> Result<Object, ApiError> {
    let name = call.info.path_name();
    strategy::check_type(call, &mut body)?;
    check_name(&mut body, name)?;
    let write = Write { name, subresource: "finalize", part: Part::Whole, dry_run, applied: false };
    write::modify(call, write, |old| {
        let mut new = old.clone();
        match body.find("spec.finalizers") {
            Some(finalizers) => new.set("spec.finalizers", finalizers.clone()),
            None => {
                new.remove("spec.finalizers");
            }
        }
        new.set("metadata.resourceVersion", body.resource_version());
        new.set("metadata.uid", body.uid());
        Ok(new)
    })
    .await
}
