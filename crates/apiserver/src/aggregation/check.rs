//! Whether the server behind an APIService is there, written into its condition `Available`.

use std::sync::Arc;

use futures::future::select_ok;
use timonier_client::{Client, WriteOptions};
use timonier_meta::gvk::resources::{APISERVICES, ENDPOINTSLICES, SERVICES};
use timonier_object::Value;
use timonier_schema::aggregation::{Remote, Verdict, reachable, with_condition};

use super::ask;
use crate::outgoing::Target;
use crate::server::ApiServer;

/// So many questions at once; one answer will do, so that a lost endpoint does no harm.
const ATTEMPTS: usize = 5;

/// Looks after one APIService; whether its server is available now.
pub async fn check(server: &Arc<ApiServer>, client: &dyn Client, object: &Value) -> bool {
    let Some(remote) = Remote::of(object) else { return true };
    let verdict = verdict(server, &remote).await;
    let now = server.env.now();
    if let Some(status) = with_condition(object.at("status"), &verdict, now) {
        let mut next = object.clone();
        next.set("status", status);
        let options = WriteOptions::default();
        let written = client.update(&APISERVICES, "", &remote.name, "status", next, &options).await;
        // Where somebody else wrote in between, the event of that write comes.
        if let Err(error) = written
            && error.code != 409
            && error.code != 404
        {
            tracing::debug!(name = %remote.name, %error, "a condition was not written");
        }
    }
    verdict.available
}

async fn verdict(server: &ApiServer, remote: &Remote) -> Verdict {
    let service = server.peek(&SERVICES, &remote.namespace, &remote.service);
    let slices = server.peek_all(&ENDPOINTSLICES, &remote.namespace);
    if let Err(verdict) = reachable(remote, service.as_deref(), &slices) {
        return verdict;
    }
    // As upstream's: whoever answers, the condition is no promise.
    let tls = server.aggregator.tls_of_anybody();
    let target = Target::of_service(&remote.namespace, &remote.service, remote.port, tls);
    let url = match target.address(server) {
        Ok((host, port)) => format!("https://{host}:{port}{}", remote.path()),
        Err(why) => return Verdict::no_answer(&remote.path(), &why),
    };
    let attempts = (0..ATTEMPTS).map(|_| Box::pin(attempt(server, &target, remote, &url)));
    match select_ok(attempts).await {
        Ok(_) => Verdict::passed(),
        Err(why) => Verdict::no_answer(&url, &why),
    }
}

async fn attempt(
    server: &ApiServer,
    target: &Target,
    remote: &Remote,
    url: &str,
) -> Result<(), String> {
    match ask::get(server, target, &remote.path(), "*/*").await? {
        (200..=299, _) => Ok(()),
        (status, _) => Err(format!("bad status from {url}: {status}")),
    }
}
