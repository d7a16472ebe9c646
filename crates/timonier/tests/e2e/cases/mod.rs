//! The cases, one subject a file.

mod addresses;
mod applying;
mod bad_input;
mod building;
mod changing;
mod clients;
mod clusters;
mod confinement;
mod cordons;
mod environment;
pub mod images;
mod interactive;
mod kubectl;
mod lifecycle;
mod logs;
mod nodes;
pub mod pods;
mod policies;
mod reading;
mod reboot;
mod registries;
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

/// Cases that run beside each other; the slow ones come first.
pub fn beside() -> Vec<Case> {
    cases! {
        lifecycle: hooks_frame_a_life, hooks_over_http, failed_hooks_end_containers, startup_probes_come_first, liveness_probes_restart, grpc_probes, https_probes, sidecars_outlive_and_end_last, pull_policies;
        services: nginx_behind_a_service, dns_names_resolve, port_forward_reaches_a_pod;
        addresses: node_ports_and_host_ports, client_affinity, names_without_addresses, names_of_a_stateful_set;
        clients: older_and_newer_kubectl, helm_releases;
        environment: fields_and_resources, projected_volumes, paths_within_volumes, host_paths, the_api_from_within;
        confinement: users_and_groups, namespaces_of_the_host, system_call_filters, quality_of_service_in_cgroups, roots_that_cannot_be_written, limits_of_the_disk;
        interactive: commands_on_a_terminal, attached_input, copies_both_ways, proxy_serves, debug_containers, run_and_remove;
        logs: followed_to_the_end, parts_of_logs, logs_of_many;
        changing: settings_and_jobs_created, services_and_rules_created, edited_by_an_editor, three_kinds_of_patches, labels_and_annotations, fields_set, rollouts_pause_and_resume, run_and_expose;
        applying: deletion_forms, deletions_of_many, waiting_forms, applied_and_replaced;
        reading: watches_tell_changes, forms_of_output, paged_lists, described_kinds, events_in_order, what_the_server_has, who_may_what;
        building: every_instruction, ignored_files_and_caches, errors_have_lines;
        registries: archives_and_layouts, pushed_and_pulled, tokens_and_secrets;
        kubectl: get_in_all_forms, create_and_change, errors_are_upstreams, discovery_and_explain;
        pods: logs_exec_and_attach, probes_and_restarts, volumes_and_environment, init_containers_run_in_order, security;
        workloads: rolling_update_and_undo, jobs_complete, daemonsets_cover_nodes, deletion_cascades;
        survival: killed_containers_restart;
    }
}

/// Cases that change what all share: one after the other, at the end.
pub fn alone() -> Vec<Case> {
    cases! {
        policies: a_policy_denies_and_warns, rules_of_custom_resources_hold;
        cordons: cordoned_nodes_take_no_pods, drained_nodes_are_empty, taints_evict;
        requests: bodies_over_tls, anonymous_and_old_clients, private_files;
        survival: up_is_idempotent, server_killed, server_killed_at_any_moment;
        nodes: pods_reach_across_nodes, agent_killed, a_lost_node_is_given_up;
        bad_input: no_root, second_server, taken_name, taken_port, missing_kernel_features, full_disk;
        clusters: side_by_side;
        reboot: power_loss;
    }
}
