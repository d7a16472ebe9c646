//! `/healthz`, `/livez`, `/readyz`, each also with `?verbose` and by check.

use http::Response;

use crate::http::respond::{self, Body};
use crate::query::Query;
use crate::server::ApiServer;

/// Answers a health request; `None` for a check that does not exist.
pub fn serve(server: &ApiServer, parts: &[&str], query: &Query) -> Option<Response<Body>> {
    let endpoint = parts[0];
    let checks = checks(server, endpoint);
    if let [_, name] = parts {
        let (_, ok) = checks.into_iter().find(|(n, _)| n == name)?;
        return Some(match ok {
            true => respond::text(200, "ok"),
            false => respond::text(500, format!("internal server error: {name} failed\n")),
        });
    }
    if parts.len() > 1 {
        return None;
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut lines = String::new();
    let mut healthy = true;
    for (name, ok) in checks {
        if excluded.contains(&name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if ok {
            lines.push_str(&format!("[+]{name} ok\n"));
        } else {
            healthy = false;
            lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
        }
    }
    Some(match (healthy, query.bool("verbose")) {
        (true, false) => respond::text(200, "ok"),
        (true, true) => respond::text(200, format!("{lines}{endpoint} check passed\n")),
        (false, _) => respond::text(500, format!("{lines}{endpoint} check failed\n")),
    })
}

fn checks(server: &ApiServer, endpoint: &str) -> Vec<(&'static str, bool)> {
    let store = !server.store.is_closed() && server.store.failure().is_none();
    let mut checks = vec![("ping", true), ("log", true), ("etcd", store)];
    if endpoint == "readyz" {
        checks.push(("informer-sync", true));
        checks.push(("shutdown", !server.is_stopping()));
    }
    checks
}
