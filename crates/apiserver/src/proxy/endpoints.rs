//! One of the addresses behind a Service.

use smol_str::SmolStr;
use timonier_meta::gvk::resources;
use timonier_object::Value;

use crate::server::ApiServer;

/// A ready endpoint of a Service's port, by chance; `None` where there is none.
pub fn choose(server: &ApiServer, service: &Value, port: &Value) -> Option<(SmolStr, u16)> {
    let name = port.at("name").str();
    let mut endpoints = Vec::new();
    for slice in server.peek_all(&resources::ENDPOINTSLICES, service.namespace()) {
        if slice.label("kubernetes.io/service-name") != Some(service.name()) {
            continue;
        }
        let ports = slice.at("ports").items();
        let same = ports.iter().find(|p| p.at("name").str() == name);
        let Some(number) = same.and_then(|p| u16::try_from(p.at("port").as_i64()?).ok()) else {
            continue;
        };
        for endpoint in slice.at("endpoints").items() {
            if endpoint.at("conditions.ready").as_bool().unwrap_or(true) {
                let addresses = endpoint.at("addresses").items();
                endpoints.extend(addresses.iter().map(|a| (a.smol(), number)));
            }
        }
    }
    if endpoints.is_empty() {
        return None;
    }
    let chosen = server.env.random() as usize % endpoints.len();
    Some(endpoints.swap_remove(chosen))
}
