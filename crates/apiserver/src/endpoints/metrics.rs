//! `/metrics`: Prometheus text.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use http::Response;

use crate::http::respond::{self, Body};
use crate::server::ApiServer;

/// Prints the counters.
pub fn serve(server: &ApiServer) -> Response<Body> {
    let metrics = &server.metrics;
    let snapshot = server.store.snapshot();
    let rows: [(&str, &str, &str, String); 6] = [
        (
            "apiserver_request_total",
            "counter",
            "Requests answered or under way.",
            metrics.requests.load(Ordering::Relaxed).to_string(),
        ),
        (
            "apiserver_request_error_total",
            "counter",
            "Requests answered with 4xx or 5xx.",
            metrics.errors.load(Ordering::Relaxed).to_string(),
        ),
        (
            "apiserver_current_inflight_requests",
            "gauge",
            "Requests under way, watches left out.",
            metrics.in_flight.load(Ordering::Relaxed).to_string(),
        ),
        (
            "apiserver_longrunning_requests",
            "gauge",
            "Watches.",
            metrics.watches.load(Ordering::Relaxed).to_string(),
        ),
        (
            "apiserver_storage_objects_total",
            "gauge",
            "Keys in the store.",
            snapshot.len().to_string(),
        ),
        (
            "apiserver_storage_revision",
            "gauge",
            "The store's revision.",
            snapshot.revision.to_string(),
        ),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in rows {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    respond::answer(200, "text/plain; version=0.0.4; charset=utf-8", text)
}
