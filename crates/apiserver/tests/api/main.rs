//! API transcripts: HTTP in, HTTP out, one file per behaviour.

mod common;
mod hooked;

mod apply;
mod authentication;
mod authorization;
mod bodies;
mod client;
mod conversion;
mod custom;
mod delete;
mod discovery;
mod events;
mod every_kind;
mod failed_store;
mod first_objects;
mod forms;
mod fuzz;
mod list;
mod namespaces;
mod nodes;
mod patch;
mod pods;
mod policies;
mod proxy;
mod quotas;
mod races;
mod reviews;
mod scale;
mod services;
mod tls;
mod update;
mod watch;
mod webhooks;
