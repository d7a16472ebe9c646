//! kubectl as a person uses it: terminals, attached input, copies, the proxy, debugging.

use std::fs;

use crate::background::{Background, Terminal};
use crate::cases::pods::pod;
use crate::cases::services::fetch;
use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal, eventually, run};

pub fn commands_on_a_terminal(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("terminal")?;
    ns.apply(&pod("tty", "sleep 1000", ""))?;
    ns.ready(&["tty"])?;
    let mut shell = Terminal::start(&ns.command(&["exec", "-it", "tty", "--", "sh"]), 31, 97)?;
    shell.screen.expect("# ")?;
    shell.send("tty; echo \"size $(stty size)\"\n")?;
    shell.screen.expect("/dev/pts/")?;
    eventually("the first size arrives", || {
        shell.send("echo \"now $(stty size).\"\n")?;
        shell.screen.expect("\nnow ")?;
        let size = shell.screen.expect(".")?;
        equal("the size", size.as_str(), "31 97.")
    })?;
    shell.resize(45, 111)?;
    eventually("a change of the size arrives", || {
        shell.send("echo \"now $(stty size).\"\n")?;
        shell.screen.expect("\nnow ")?;
        let size = shell.screen.expect(".")?;
        equal("the size", size.as_str(), "45 111.")
    })?;
    // Ctrl-C reaches what runs in the container, not kubectl. Quotes keep the echo of what is typed
    // from looking like the answer.
    shell.send("sh -c 'trap \"echo caug\"\"ht; exit\" INT; echo wai\"\"ting; while :; do sleep 0.1; done'\n")?;
    shell.screen.expect("waiting")?;
    shell.send("\u{3}")?;
    shell.screen.expect("caught")?;
    shell.send("exit 5\n")?;
    equal("the shell's exit code", shell.finish()?, 5)
}

pub fn attached_input(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("attached")?;
    let script = "while read l; do echo \"got $l\"; test \"$l\" = end && exit 3; done; echo closed";
    ns.apply(&pod("reads", script, "    stdin: true\n  restartPolicy: Never\n"))?;
    ns.ready(&["reads"])?;
    let mut first = Background::start(&mut ns.command(&["attach", "-i", "reads"]))?;
    first.send("one\n")?;
    first.expect("got one\n")?;
    // The container's input stays open for the next who attaches.
    equal("the exit code of who leaves", first.finish()?, 0)?;
    let mut second = Background::start(&mut ns.command(&["attach", "-i", "reads"]))?;
    second.send("two\nend\n")?;
    second.expect("got end\n")?;
    ns.wait("jsonpath={.status.phase}=Failed", &["pod/reads"])?;
    equal("its log", ns.kubectl(&["logs", "reads"])?.as_str(), "got one\ngot two\ngot end\n")
}

pub fn copies_both_ways(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("copies")?;
    ns.apply(&pod("files", "sleep 1000", ""))?;
    ns.ready(&["files"])?;
    let dir = cluster.scratch("copies")?;
    let error = |e: std::io::Error| e.to_string();
    fs::create_dir_all(dir.join("up/deep")).map_err(error)?;
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
    fs::write(dir.join("up/large"), &large).map_err(error)?;
    fs::write(dir.join("up/deep/a b"), "text\n").map_err(error)?;
    let (up, back) = (dir.join("up"), dir.join("back"));
    ns.kubectl(&["cp", &up.to_string_lossy(), "files:/tmp/down"])?;
    let listed =
        ns.shell("files", "cd /tmp/down; find . -type f | sort; wc -c < large; cat 'deep/a b'")?;
    equal("what arrived", listed.as_str(), "./deep/a b\n./large\n12000000\ntext\n")?;
    ns.kubectl(&["cp", "files:/tmp/down", &back.to_string_lossy(), "--retries=3"])?;
    equal("the large file", fs::read(back.join("large")).map_err(error)? == large, true)?;
    equal(
        "the small one",
        fs::read_to_string(back.join("deep/a b")).map_err(error)?.as_str(),
        "text\n",
    )?;
    let one = back.join("one");
    ns.kubectl(&["cp", "files:/tmp/down/deep/a b", &one.to_string_lossy(), "-c", "main"])?;
    equal("a single file", fs::read_to_string(one).map_err(error)?.as_str(), "text\n")
}

pub fn proxy_serves(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("proxied")?;
    let script = "mkdir /w; echo page > /w/index.html; exec httpd -f -p 80 -h /w";
    let probe = "    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}\n";
    ns.apply(&pod("web", script, probe))?;
    ns.ready(&["web"])?;
    ns.kubectl(&["label", "pod", "web", "app=web"])?;
    ns.kubectl(&["expose", "pod", "web", "--port=80"])?;
    let proxy = Background::start(&mut ns.command(&["proxy", "--port=0"]))?;
    proxy.expect("Starting to serve on ")?;
    let address = proxy.expect("\n")?.trim().to_owned();
    let version = fetch(&format!("{address}/version"))?;
    contains(&version, &["\"minor\": \"35\""])?;
    contains(
        &fetch(&format!("{address}/api/v1/namespaces/proxied/pods/web"))?,
        &["\"kind\":\"Pod\""],
    )?;
    let pod = fetch(&format!("{address}/api/v1/namespaces/proxied/pods/web:80/proxy/"))?;
    equal("through the pod's proxy", pod.as_str(), "page")?;
    let service = format!("{address}/api/v1/namespaces/proxied/services/web:80/proxy/index.html");
    eventually("the Service's proxy answers", || {
        equal("its page", fetch(&service)?.as_str(), "page")
    })
}

pub fn debug_containers(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("debugged")?;
    ns.apply(&pod("sick", "exec sleep 4321", ""))?;
    ns.ready(&["sick"])?;
    let debug = [
        "debug",
        "sick",
        "--profile=general",
        "--image=busybox:e2e",
        "--target=main",
        "-c",
        "look",
        "--",
    ];
    // The target's processes are to be seen, its first one as number 1.
    let script = "ps | grep '1 .*sleep 4321' | grep -vq grep && hostname";
    ns.kubectl(&[&debug[..], &["sh", "-c", script]].concat())?;
    let ended = "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0";
    ns.wait(ended, &["pod/sick"])?;
    equal("what it saw", ns.kubectl(&["logs", "sick", "-c", "look"])?.as_str(), "sick\n")?;
    contains(&ns.kubectl(&["describe", "pod", "sick"])?, &["Ephemeral Containers:", "look:"])?;
    equal(
        "restarts",
        ns.value("pod/sick", "{.status.containerStatuses[0].restartCount}")?.as_str(),
        "0",
    )?;
    let copy = [
        "debug",
        "sick",
        "--profile=general",
        "--copy-to=twin",
        "--set-image=*=busybox:e2e",
        "--share-processes",
    ];
    ns.kubectl(&copy)?;
    ns.ready(&["twin"])?;
    equal(
        "the copy shares its processes",
        ns.value("pod/twin", "{.spec.shareProcessNamespace}")?.as_str(),
        "true",
    )?;
    contains(&ns.kubectl(&["exec", "twin", "--", "ps"])?, &["sleep 4321", "pause"])
}

pub fn run_and_remove(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("run-rm")?;
    let once =
        ["run", "once", "--image=busybox:e2e", "--restart=Never", "--rm", "-i", "--quiet", "--"];
    let text =
        ns.kubectl_with(&[&once[..], &["sh", "-c", "read l; echo \"got $l\""]].concat(), "x\n")?;
    contains(&text, &["got x"])?;
    contains(&ns.kubectl_fails(&["get", "pod", "once"], "")?, &["NotFound"])?;
    let output =
        run(&mut ns.command(&[&once[..], &["sh", "-c", "read l; exit 4"]].concat()), "x\n")?;
    equal("the exit code of the container", output.status, 4)
}
