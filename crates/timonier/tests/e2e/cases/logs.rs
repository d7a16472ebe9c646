//! `kubectl logs` in its forms.

use crate::background::Background;
use crate::cases::pods::pod;
use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal};

pub fn followed_to_the_end(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("logs-followed")?;
    let script = "echo first; while ! test -e /tmp/go; do sleep 0.1; done; echo second; exit 0";
    ns.apply(&pod("slow", script, "  restartPolicy: Never\n"))?;
    ns.ready(&["slow"])?;
    let follow = Background::start(&mut ns.command(&["logs", "-f", "slow"]))?;
    follow.expect("first\n")?;
    ns.shell("slow", "touch /tmp/go")?;
    equal("what followed", follow.expect("second\n")?.as_str(), "second\n")?;
    equal("the follower's exit code", follow.finish()?, 0)
}

pub fn parts_of_logs(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("logs-parts")?;
    ns.apply(&pod("talks", "for i in 1 2 3 4 5; do echo line$i; done; sleep 1000", ""))?;
    ns.ready(&["talks"])?;
    let logs = |more: &[&str]| ns.kubectl(&[&["logs", "talks"], more].concat());
    equal("--tail", logs(&["--tail=2"])?.as_str(), "line4\nline5\n")?;
    equal("--tail=0", logs(&["--tail=0"])?.as_str(), "")?;
    equal("--limit-bytes", logs(&["--limit-bytes=7"])?.as_str(), "line1\nl")?;
    equal("--since of the past", logs(&["--since=1h"])?.lines().count(), 5)?;
    equal("--since-time of the future", logs(&["--since-time=2999-01-01T00:00:00Z"])?.len(), 0)?;
    let stamped = logs(&["--timestamps", "--tail=1"])?;
    let (time, line) = stamped.split_once(' ').unwrap_or_default();
    equal("the stamped line", line, "line5\n")?;
    equal("a stamp in UTC", time.ends_with('Z') && time.contains('T'), true)?;
    let both = ns
        .kubectl_fails(&["logs", "talks", "--since=1h", "--since-time=2999-01-01T00:00:00Z"], "")?;
    contains(&both, &["at most one of"])?;
    let never = ns.kubectl_fails(&["logs", "talks", "--previous"], "")?;
    contains(&never, &["previous terminated container \"main\" in pod \"talks\" not found"])?;
    contains(
        &ns.kubectl_fails(&["logs", "talks", "-c", "other"], "")?,
        &["container other is not valid for pod talks"],
    )
}

/// Two containers and an init container in each of two pods.
pub fn logs_of_many(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("logs-many")?;
    for name in ["p", "q"] {
        let more = "  - {name: other, image: 'busybox:e2e', command: [sh, -c, 'echo other; sleep 1000']}\n  initContainers:\n  - {name: early, image: 'busybox:e2e', command: [echo, early]}\n";
        ns.apply(&pod(name, "echo main; sleep 1000", more))?;
        ns.kubectl(&["label", "pod", name, "many=yes"])?;
    }
    ns.ready(&["p", "q"])?;
    equal("-c", ns.kubectl(&["logs", "p", "-c", "other"])?.as_str(), "other\n")?;
    equal(
        "-c of an init container",
        ns.kubectl(&["logs", "p", "-c", "early"])?.as_str(),
        "early\n",
    )?;
    let all = ns.kubectl(&["logs", "p", "--all-containers"])?;
    equal("--all-containers", all.lines().count(), 3)?;
    contains(&all, &["main\n", "other\n", "early\n"])?;
    let prefixed = ns.kubectl(&["logs", "-l", "many=yes", "--all-containers", "--prefix"])?;
    contains(
        &prefixed,
        &["[pod/p/main] main", "[pod/q/main] main", "[pod/q/other] other", "[pod/p/early] early"],
    )?;
    let both = Background::start(&mut ns.command(&["logs", "-f", "-l", "many=yes", "--prefix"]))?;
    both.expect("main\n")?;
    both.expect("main\n").map(drop)
}
