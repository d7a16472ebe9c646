//! The ConfigMap that tells servers behind APIServices whom to believe: users by their client
//! certificates, and this server when it speaks for users.

use timonier_client::{Client, WriteOptions};
use timonier_meta::gvk::resources::CONFIGMAPS;
use timonier_meta::{ApiError, SmolStr};
use timonier_object::{Value, value};

use crate::server::ApiServer;
use crate::storage;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The key of the ConfigMap in the store.
pub fn key() -> SmolStr {
    storage::resource_key(&CONFIGMAPS, NAMESPACE, NAME)
}

/// Writes the ConfigMap where it says something else, or nothing. Does nothing where this server
/// has no certificate to speak for users.
pub async fn ensure(server: &ApiServer, client: &dyn Client) -> Result<(), ApiError> {
    let Some(data) = data(server) else { return Ok(()) };
    let options = WriteOptions::default();
    match server.peek(&CONFIGMAPS, NAMESPACE, NAME) {
        None => {
            let map = value!({ "metadata": { "name": NAME }, "data": data });
            client.create(&CONFIGMAPS, NAMESPACE, "", "", map, &options).await?;
        }
        Some(old) => {
            let mut new = (*old).clone();
            for (key, text) in data.entries() {
                new.entry("data").make_object().insert(key, text.clone());
            }
            if new != *old {
                client.update(&CONFIGMAPS, NAMESPACE, NAME, "", new, &options).await?;
            }
        }
    }
    Ok(())
}

fn data(server: &ApiServer) -> Option<Value> {
    let proxy = server.config.front_proxy.as_ref()?;
    let text = |pem: &[u8]| String::from_utf8_lossy(pem).into_owned();
    Some(value!({
        "client-ca-file": (text(&proxy.client_ca_pem)),
        "requestheader-client-ca-file": (text(&proxy.ca_pem)),
        "requestheader-allowed-names": (format!("[{:?}]", proxy.common_name)),
        "requestheader-username-headers": "[\"X-Remote-User\"]",
        "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
        "requestheader-group-headers": "[\"X-Remote-Group\"]",
        "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
    }))
}
