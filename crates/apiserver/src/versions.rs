//! Between the version of a request and the version that is stored. Custom resources may have a
//! webhook for that: it is asked wherever an object is not in the version that is wanted.

use std::sync::Arc;
use std::time::Duration;

use timonier_meta::{ApiError, Reason};
use timonier_object::Value;
use timonier_schema::{Catalogue, ResourceRow, convert, decode};
use timonier_store::Item;

use crate::call::Call;
use crate::outgoing::Target;
use crate::server::ApiServer;

/// Upstream's patience with conversion webhooks.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A question to a webhook is about so many bytes of objects or one object.
const QUESTION: usize = 512 * 1024;

/// The object in the version of the row, where no webhook need be asked.
pub fn from_storage_as_is(row: &ResourceRow, mut object: Value) -> Value {
    convert::from_storage(row, &mut object);
    object
}

/// Objects as they were stored, in the version of the row.
pub async fn from_storage(
    server: &ApiServer,
    row: &ResourceRow,
    objects: Vec<Value>,
) -> Result<Vec<Value>, ApiError> {
    let mut objects = ask(server, row, &row.gvr.group_version().to_string(), objects).await?;
    objects.iter_mut().for_each(|object| convert::from_storage(row, object));
    Ok(objects)
}

/// The object in the version that is stored.
pub async fn to_storage(call: &Call<'_>, object: Value) -> Result<Value, ApiError> {
    if call.stored_as_is() {
        return Ok(object);
    }
    let row = &call.row;
    let version = row.storage.group_version().to_string();
    let mut object = one(ask(call.server, row, &version, vec![object]).await?);
    convert::to_storage(row, &mut object);
    if let Some(stored) = storage_row(&call.catalogue, row).filter(|s| s.gvr != row.gvr) {
        // What the stored version does not know is not kept, whoever converted.
        decode::prune(stored, &mut object);
    }
    Ok(object)
}

/// An object of a request, in the version of another row of the same resource.
pub async fn between(
    server: &ApiServer,
    from: &ResourceRow,
    to: &ResourceRow,
    mut object: Value,
) -> Result<Value, ApiError> {
    if object.is_null() || from.gvr == to.gvr {
        return Ok(object);
    }
    object = one(ask(server, to, &to.gvr.group_version().to_string(), vec![object]).await?);
    if from.conversion.is_none() {
        convert::to_storage(from, &mut object);
    }
    convert::from_storage(to, &mut object);
    Ok(object)
}

/// The row of the version in which a custom resource is stored, where that one is served.
pub fn storage_row<'a>(
    catalogue: &'a Catalogue,
    row: &ResourceRow,
) -> Option<&'a Arc<ResourceRow>> {
    let stored = &row.storage;
    let found = catalogue.resource(&stored.group, &stored.version, &stored.resource);
    found.filter(|found| found.is_custom())
}

/// The items in portions that are one question each.
pub fn portions(items: &[Arc<Item>]) -> impl Iterator<Item = &[Arc<Item>]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = rest.iter().take_while(|item| {
            size += item.value.len();
            size <= QUESTION
        });
        let count = fits.count().max(1).min(rest.len());
        let portion;
        (portion, rest) = rest.split_at(count);
        (!portion.is_empty()).then_some(portion)
    })
}

fn one(objects: Vec<Value>) -> Value {
    objects.into_iter().next().unwrap_or_default()
}

/// Asks the row's webhook for those objects that are in another version. Upstream's 500 where it
/// fails.
async fn ask(
    server: &ApiServer,
    row: &ResourceRow,
    version: &str,
    mut objects: Vec<Value>,
) -> Result<Vec<Value>, ApiError> {
    let Some(conversion) = &row.conversion else { return Ok(objects) };
    let places: Vec<usize> =
        (0..objects.len()).filter(|i| objects[*i].api_version() != version).collect();
    if places.is_empty() {
        return Ok(objects);
    }
    let sent: Vec<Value> = places.iter().map(|i| objects[*i].take()).collect();
    let failed = |why: String| ApiError::new(500, Reason::Unknown, why);
    let uid = server.env.uid();
    let question = conversion.question(&uid, version, &sent).map_err(failed)?;
    let answer = match Target::of(conversion.client_config()) {
        Ok(target) => target.post(server, &question, TIMEOUT).await,
        Err(why) => Err(why),
    };
    let converted = conversion.read(&uid, version, &sent, answer).map_err(failed)?;
    for (place, object) in places.into_iter().zip(converted) {
        objects[place] = object;
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_bounded_and_lose_nothing() {
        let item = |size: usize| {
            Arc::new(Item {
                key: "k".into(),
                value: vec![0; size].into(),
                create_revision: 1,
                mod_revision: 1,
                expires: 0,
            })
        };
        let sizes = [1, QUESTION, 2 * QUESTION, 1, 1, QUESTION - 1];
        let items: Vec<Arc<Item>> = sizes.into_iter().map(item).collect();
        let counts: Vec<usize> = portions(&items).map(<[_]>::len).collect();
        assert_eq!(counts, [1, 1, 1, 2, 1]);
        assert_eq!(portions(&[]).count(), 0);
    }
}
