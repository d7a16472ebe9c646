//! The cases, one subject a file.

mod bad_input;
mod clusters;
pub mod images;
mod kubectl;
mod nodes;
mod pods;
mod policies;
mod reboot;
mod requests;
mod services;
mod survival;
mod workloads;

use crate::cluster::Cluster;
use crate::shell::Result;

/// One case.
pub struct Case {
    pub name: &'static str,
    pub run: fn(&Cluster) -> Result,
}

macro_rules! cases {
    ($($module:ident: $($name:ident),+;)*) => {
        vec![$($(Case { name: concat!(stringify!($module), "::", stringify!($name)), run: $module::$name }),+),*]
    };
}

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    cases! {
        kubectl: get_in_all_forms, create_and_change, errors_are_upstreams, discovery_and_explain;
        policies: a_policy_denies_and_warns, rules_of_custom_resources_hold;
        pods: logs_exec_and_attach, probes_and_restarts, volumes_and_environment, init_containers_run_in_order, security;
        workloads: rolling_update_and_undo, jobs_complete, daemonsets_cover_nodes, deletion_cascades;
        services: nginx_behind_a_service, dns_names_resolve, port_forward_reaches_a_pod;
        nodes: pods_reach_across_nodes, agent_killed, a_lost_node_is_given_up;
        survival: killed_containers_restart, up_is_idempotent, server_killed, server_killed_at_any_moment;
        requests: bodies_over_tls, anonymous_and_old_clients, private_files;
        bad_input: no_root, second_server, taken_name, taken_port, missing_kernel_features, full_disk;
        clusters: side_by_side;
        reboot: power_loss;
    }
}
