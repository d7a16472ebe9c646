//! Custom resources: definitions become rows of the catalogue, and take their objects with them
//! when they go.
//!
//! ```text
//! store ─watch─► definitions ─► names::status ─► rows ─► catalogue ─► status written
//!                     └─ deleted? ─► objects deleted ─► finalizer taken away
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use smol_str::SmolStr;
use timonier_client::{Client, DeleteOptions, WriteOptions};
use timonier_meta::gvk::resources::CUSTOMRESOURCEDEFINITIONS;
use timonier_meta::{ApiError, GroupResource, GroupVersionResource};
use timonier_object::{Value, value};
use timonier_policy::{User, groups};
use timonier_schema::crd::{self, names};
use timonier_store::{EventKind, Item};

use crate::server::ApiServer;
use crate::{objects, storage, versions};

/// Objects that finalizers hold are looked for again after this long.
const RETRY: Duration = Duration::from_secs(1);

/// What makes a definition's rows: they are made anew when it changes.
type Made = (i64, Value, bool);

/// The definitions there are and what is served of them.
pub struct Extensions {
    definitions: BTreeMap<SmolStr, Value>,
    served: BTreeMap<SmolStr, (GroupResource, Made)>,
    /// Up to where the definitions were read.
    revision: u64,
}

impl Extensions {
    /// Reads all definitions and serves those that are established.
    pub fn load(server: &ApiServer) -> Self {
        let mut extensions =
            Extensions { definitions: BTreeMap::new(), served: BTreeMap::new(), revision: 0 };
        extensions.read(server);
        extensions
    }

    fn read(&mut self, server: &ApiServer) {
        let snapshot = server.store.snapshot();
        self.revision = snapshot.revision;
        let prefix = prefix();
        let items = snapshot.range(&prefix, None);
        self.definitions = items.map(|i| (name_of(i), objects::decode(i))).collect();
        self.serve(server);
    }

    /// Follows the changes of definitions until the server is gone or goes down.
    pub async fn follow(mut self, server: Weak<ApiServer>) {
        loop {
            let Some(strong) = server.upgrade() else { return };
            let mut stopping = strong.stopping();
            if *stopping.borrow() {
                return;
            }
            let failed = self.settle(&strong).await;
            let waits = self.clean_up(&strong).await || failed;
            let watcher = strong.store.watch(prefix(), self.revision);
            drop(strong);
            let Ok(mut watcher) = watcher else {
                let Some(server) = server.upgrade() else { return };
                self.read(&server);
                continue;
            };
            let pause = if waits { RETRY } else { Duration::from_secs(3600) };
            let event = tokio::select! {
                event = watcher.next() => event,
                _ = stopping.changed() => return,
                () = tokio::time::sleep(pause) => continue,
            };
            let Some(server) = server.upgrade() else { return };
            match event {
                Ok(event) => {
                    self.revision = event.revision;
                    match event.kind {
                        EventKind::Put => {
                            let definition = objects::decode(&event.item);
                            self.definitions.insert(name_of(&event.item), definition);
                        }
                        EventKind::Delete => drop(self.definitions.remove(&name_of(&event.item))),
                    }
                    self.serve(&server);
                }
                // The store was closed, or events were lost.
                Err(_) if server.is_stopping() || server.store.is_closed() => return,
                Err(_) => self.read(&server),
            }
        }
    }

    /// Brings the catalogue up to date.
    fn serve(&mut self, server: &ApiServer) {
        let wanted: BTreeMap<SmolStr, Made> = self
            .definitions
            .iter()
            .filter(|(_, d)| d.condition_is_true("Established"))
            .map(|(name, d)| {
                let accepted = d.at("status.acceptedNames").clone();
                (name.clone(), (d.generation(), accepted, d.is_deleting()))
            })
            .collect();
        let mut catalogue = server.catalogue();
        let before = catalogue.clone();
        let stale = |name: &SmolStr, made: &Made| wanted.get(name) != Some(made);
        let gone: Vec<SmolStr> =
            self.served.iter().filter(|(n, (_, m))| stale(n, m)).map(|(n, _)| n.clone()).collect();
        for name in gone {
            if let Some((resource, _)) = self.served.remove(&name) {
                catalogue = catalogue.without(&resource);
            }
        }
        for (name, made) in wanted {
            if self.served.contains_key(&name) {
                continue;
            }
            match crd::rows(&self.definitions[&name]) {
                Ok(rows) => {
                    if rows.iter().any(|row| catalogue.is_built_in(&row.gvr)) {
                        tracing::warn!(%name, "the definition is of what is built in: it is not served");
                    }
                    let resource = resource_of(&self.definitions[&name]);
                    catalogue = catalogue.with(rows);
                    self.served.insert(name, (resource, made));
                }
                Err(error) => tracing::error!(%name, error, "the definition cannot be served"),
            }
        }
        if !Arc::ptr_eq(&before, &catalogue) {
            server.set_catalogue(catalogue);
        }
    }

    /// Writes the status of every definition whose status is not what it should be. Gives
    /// whether that failed.
    async fn settle(&mut self, server: &Arc<ApiServer>) -> bool {
        let mut failed = false;
        let now = server.env.now();
        let all: Vec<SmolStr> = self.definitions.keys().cloned().collect();
        for name in all {
            let definition = &self.definitions[&name];
            if definition.is_deleting() {
                continue;
            }
            let status = names::status(definition, self.definitions.values(), now);
            if &status == definition.at("status") {
                continue;
            }
            let mut next = definition.clone();
            next.set("status", status);
            // What is established is served before anybody reads so.
            let before = definition.clone();
            self.definitions.insert(name.clone(), next.clone());
            self.serve(server);
            let options = WriteOptions::default();
            let written = client(server)
                .update(&CUSTOMRESOURCEDEFINITIONS, "", &name, "status", next, &options)
                .await;
            // Where somebody else wrote in between, the event of that write comes.
            if let Err(error) = written
                && error.code != 409
            {
                tracing::debug!(%name, %error, "the status of a definition was not written");
                failed = true;
                self.definitions.insert(name, before);
            }
        }
        failed
    }

    /// Deletes the objects of definitions that are being deleted, and lets those go that have
    /// none left. Gives whether some have.
    async fn clean_up(&mut self, server: &Arc<ApiServer>) -> bool {
        let mut waits = false;
        for (name, definition) in &self.definitions {
            let held = definition.finalizers().any(|f| f == names::FINALIZER);
            if !definition.is_deleting() || !held {
                continue;
            }
            match delete_objects(server, definition).await {
                Ok(true) => waits |= release(server, name, definition).await.is_err(),
                Ok(false) => waits = true,
                Err(error) => {
                    waits = true;
                    tracing::debug!(%name, %error, "objects of a definition were not deleted");
                }
            }
        }
        waits
    }
}

fn prefix() -> SmolStr {
    storage::resource_key(&CUSTOMRESOURCEDEFINITIONS, "", "")
}

fn name_of(item: &Item) -> SmolStr {
    item.key.rsplit('/').next().unwrap_or_default().into()
}

fn resource_of(definition: &Value) -> GroupResource {
    GroupResource {
        group: definition.at("spec.group").smol(),
        resource: definition.at("spec.names.plural").smol(),
    }
}

fn client(server: &Arc<ApiServer>) -> Arc<dyn Client> {
    let masters = [SmolStr::new_static(groups::MASTERS)];
    server.client(User::authenticated("system:apiserver", masters))
}

/// Deletes all objects of a definition; whether none is left.
async fn delete_objects(server: &Arc<ApiServer>, definition: &Value) -> Result<bool, ApiError> {
    let of = resource_of(definition);
    let catalogue = server.catalogue();
    let mut rows = catalogue.rows().filter(|r| r.is_custom() && r.gvr.group_resource() == of);
    let Some(row) = rows.next() else { return Ok(true) };
    // In the stored version, no webhook need be asked.
    let row = versions::storage_row(&catalogue, row).unwrap_or(row);
    let resource: GroupVersionResource = row.gvr.clone();
    let client = client(server);
    let list = storage::prefix(row, "");
    let keys: Vec<SmolStr> =
        server.store.snapshot().range(&list, None).map(|i| i.key[list.len()..].into()).collect();
    for key in keys {
        let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
        match client.delete(&resource, namespace, name, &DeleteOptions::default()).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(server.store.snapshot().range(&list, None).next().is_none())
}

/// Takes the finalizer away.
async fn release(server: &Arc<ApiServer>, name: &str, definition: &Value) -> Result<(), ApiError> {
    let mut next = definition.clone();
    let rest = definition.finalizers().filter(|f| *f != names::FINALIZER).map(Value::from);
    next.set("metadata.finalizers", Value::array(rest));
    let options = WriteOptions::default();
    let client = client(server);
    let written = client.update(&CUSTOMRESOURCEDEFINITIONS, "", name, "", next, &options).await;
    match written {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a definition is when its deletion begins.
pub fn on_delete(definition: &mut Value, now: timonier_meta::Time) {
    let held = definition.finalizers().any(|f| f == names::FINALIZER);
    if !held {
        definition.entry("metadata.finalizers").make_array().push(names::FINALIZER.into());
    }
    let status = definition.entry("status");
    names::set_condition(
        status,
        "Terminating",
        true,
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        now,
    );
}

/// A stored version that was once one stays noted until somebody has moved its objects.
pub fn on_update(new: &mut Value) {
    let versions = new.at("spec.versions").items();
    let stored = versions.iter().find(|v| v.at("storage").bool()).map(|v| v.at("name").clone());
    let Some(stored) = stored else { return };
    if !new.at("status.storedVersions").items().contains(&stored) {
        new.entry("status.storedVersions").make_array().push(stored);
    }
}

/// A new definition has no status but the version in which its objects are stored.
pub fn on_create(new: &mut Value) {
    new.set("status", value!({}));
}
