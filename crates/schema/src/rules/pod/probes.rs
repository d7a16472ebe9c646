//! Probes, lifecycle hooks and their handlers.

use alloc::format;

use super::super::at::{At, Errors};
use super::super::common::{check, header_name, port, port_or_name};

/// Checks a container's hooks and probes.
pub fn hooks(e: &mut Errors, container: &At<'_>, grace: Option<i64>, os: Option<&str>) {
    let lifecycle = container.get("lifecycle");
    if lifecycle.is_set() {
        for hook in ["postStart", "preStop"] {
            let hook = lifecycle.get(hook);
            if hook.is_set() {
                handler(e, &hook, grace);
            }
        }
        stop_signal(e, &lifecycle.get("stopSignal"), os);
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let at = container.get(kind);
        if !at.is_set() {
            continue;
        }
        probe(e, &at, grace);
        if kind == "readinessProbe" {
            let period = at.get("terminationGracePeriodSeconds");
            if period.is_set() {
                period.invalid(e, "must not be set for readinessProbes");
            }
        } else if at.get("successThreshold").int() != 1 {
            at.get("successThreshold").bad_int(e, "must be 1");
        }
    }
}

fn probe(e: &mut Errors, at: &At<'_>, grace: Option<i64>) {
    handler(e, at, grace);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        at.get(field).non_negative(e);
    }
    let period = at.get("terminationGracePeriodSeconds");
    if period.is_set() && period.int() <= 0 {
        period.bad_int(e, "must be greater than 0");
    }
}

fn handler(e: &mut Errors, at: &At<'_>, grace: Option<i64>) {
    let mut found = false;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action = at.get(kind);
        if !action.is_set() {
            continue;
        }
        if found {
            action.forbidden(e, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match kind {
            "exec" if action.get("command").is_empty() => action.get("command").required(e, ""),
            "httpGet" => http_get(e, &action),
            "tcpSocket" => port_or_name(e, &action.get("port")),
            "grpc" => port(e, &action.get("port")),
            "sleep" => sleep(e, &action, grace),
            _ => {}
        }
    }
    if !found {
        at.required(e, "must specify a handler type");
    }
}

fn http_get(e: &mut Errors, at: &At<'_>) {
    at.get("path").demand(e);
    port_or_name(e, &at.get("port"));
    at.get("scheme").one_of(e, &["HTTP", "HTTPS"]);
    let headers = at.get("httpHeaders");
    for header in headers.items() {
        check(e, &header.get("name").named(headers.path.clone()), header_name);
    }
}

fn sleep(e: &mut Errors, at: &At<'_>, grace: Option<i64>) {
    let seconds = at.get("seconds").int();
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let why =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        at.bad(e, seconds, why);
    }
}

fn stop_signal(e: &mut Errors, at: &At<'_>, os: Option<&str>) {
    if !at.is_set() {
        return;
    }
    match os {
        None => at.forbidden(e, "may not be set for containers with empty `spec.os.name`"),
        Some("windows") => {
            at.one_of(e, &["SIGKILL", "SIGTERM"]);
        }
        Some("linux") => {
            at.one_of(e, &SIGNALS);
        }
        Some(_) => {}
    }
}

const SIGNALS: [&str; 65] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use timonier_object::value;

    use super::*;

    #[test]
    fn handlers_and_thresholds() {
        let container = value!({
            "livenessProbe": { "exec": { "command": [] }, "tcpSocket": { "port": 80 }, "successThreshold": 2 },
            "readinessProbe": { "httpGet": { "path": "/", "port": 0, "scheme": "FTP" }, "successThreshold": 1 }
        });
        let mut e = Errors::new();
        hooks(&mut e, &At::new(&container, "c"), Some(30), None);
        let texts: Vec<String> = e.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "c.livenessProbe.exec.command: Required value",
                "c.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
                "c.livenessProbe.successThreshold: Invalid value: 2: must be 1",
                "c.readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "c.readinessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\""
            ]
        );
    }
}
