//! What a container finds: its environment and its volumes.

use std::fs;

use crate::cases::pods::pod;
use crate::cluster::Cluster;
use crate::shell::{Result, contains, equal, eventually, tools};

pub fn fields_and_resources(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("fields")?;
    ns.kubectl(&[
        "create",
        "configmap",
        "all",
        "--from-literal=ONE=1",
        "--from-literal=not-a-name=x",
    ])?;
    let field = |name: &str, path: &str| {
        format!("    - {{name: {name}, valueFrom: {{fieldRef: {{fieldPath: \"{path}\"}}}}}}\n")
    };
    let resource = |name: &str, what: &str, divisor: &str| {
        format!(
            "    - {{name: {name}, valueFrom: {{resourceFieldRef: {{resource: {what}, divisor: {divisor}}}}}}}\n"
        )
    };
    let more = [
        "    resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 1500m, memory: 64Mi}}\n    envFrom: [{configMapRef: {name: all}, prefix: P_}]\n    env:\n",
        &field("NAME", "metadata.name"),
        &field("SPACE", "metadata.namespace"),
        &field("ID", "metadata.uid"),
        &field("LABEL", "metadata.labels['tier']"),
        &field("NOTE", "metadata.annotations['e2e.example/note']"),
        &field("IP", "status.podIP"),
        &field("HOST", "status.hostIP"),
        &field("NODE", "spec.nodeName"),
        &field("ACCOUNT", "spec.serviceAccountName"),
        &resource("CPUS", "limits.cpu", "1"),
        &resource("MILLIS", "requests.cpu", "1m"),
        &resource("BYTES", "limits.memory", "0"),
        &resource("MEBI", "requests.memory", "1Mi"),
        "    - {name: BOTH, value: '$(NAME)/$(MEBI)/$$(NAME)/$(NOTHING)'}\n    - {name: OPTIONAL, valueFrom: {configMapKeyRef: {name: missing, key: k, optional: true}}}\n",
    ].concat();
    let text = pod("sees", "sleep 1000", &more).replace(
        "{name: sees}",
        "{name: sees, labels: {tier: x}, annotations: {e2e.example/note: some text}}",
    );
    ns.apply(&text)?;
    ns.ready(&["sees"])?;
    let found = ns.shell("sees", "echo $NAME,$SPACE,$LABEL,$NOTE,$ACCOUNT,$CPUS,$MILLIS,$BYTES,$MEBI,$BOTH,$P_ONE,${OPTIONAL-unset}")?;
    equal(
        "the values",
        found.trim(),
        "sees,fields,x,some text,default,2,100,67108864,32,sees/32/$(NAME)/$(NOTHING),1,unset",
    )?;
    let expected =
        ns.value("pod/sees", "{.metadata.uid},{.status.podIP},{.status.hostIP},{.spec.nodeName}")?;
    equal(
        "what only the cluster knows",
        ns.shell("sees", "echo $ID,$IP,$HOST,$NODE")?.trim(),
        &expected,
    )?;
    let all = ns.kubectl(&["exec", "sees", "--", "cat", "/proc/self/environ"])?;
    contains(&all, &["KUBERNETES_SERVICE_HOST=", "\0P_not-a-name=x\0"])?;
    let more = "    env: [{name: X, valueFrom: {secretKeyRef: {name: absent, key: k}}}]\n";
    ns.apply(&pod("waits", "sleep 1000", more))?;
    ns.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError",
        &["pod/waits"],
    )?;
    contains(
        &ns.value("pod/waits", "{.status.containerStatuses[0].state.waiting.message}")?,
        &["secret \"absent\" not found"],
    )?;
    ns.kubectl(&["create", "secret", "generic", "absent", "--from-literal=k=v"])?;
    ns.ready(&["waits"])
}

pub fn projected_volumes(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("projected")?;
    ns.kubectl(&["create", "configmap", "map", "--from-literal=a=1", "--from-literal=b=2"])?;
    ns.kubectl(&["create", "secret", "generic", "keys", "--from-literal=c=3"])?;
    let more = "    resources: {limits: {memory: 64Mi}}\n    volumeMounts: [{name: all, mountPath: /all, readOnly: true}]\n  volumes:\n  - name: all\n    projected:\n      defaultMode: 0440\n      sources:\n      - configMap: {name: map, items: [{key: a, path: maps/first}]}\n      - secret: {name: keys, items: [{key: c, path: c, mode: 0400}]}\n      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: limit, resourceFieldRef: {containerName: main, resource: limits.memory}}]}\n      - serviceAccountToken: {path: token, audience: e2e, expirationSeconds: 600}\n      - configMap: {name: missing, optional: true}\n";
    ns.apply(
        &pod("all", "sleep 1000", more)
            .replace("{name: all}\n", "{name: all, labels: {tier: x}}\n"),
    )?;
    ns.ready(&["all"])?;
    let files = ns.shell("all", "cd /all; find -L . -type f ! -path './..*' | sort; cat maps/first c labels limit; stat -L -c %a maps/first c; touch new 2>&1")
        .or_else(|e| contains(&e, &["Read-only file system"]).map(|()| e))?;
    contains(
        &files,
        &[
            "./c\n./labels\n./limit\n./maps/first\n./token\n",
            "13tier=\"x\"67108864",
            "440\n400\n",
            "Read-only file system",
        ],
    )?;
    let token = ns.shell("all", "cat /all/token")?;
    let review = format!(
        "{{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"spec\":{{\"token\":\"{token}\",\"audiences\":[\"e2e\"]}}}}"
    );
    let answer = ns.kubectl_with(&["create", "-o", "json", "-f", "-"], &review)?;
    contains(
        &answer,
        &[
            "\"authenticated\": true",
            "system:serviceaccount:projected:default",
            "\"authentication.kubernetes.io/pod-name\"",
        ],
    )?;
    let other = ns.kubectl_with(
        &["create", "-o", "json", "-f", "-"],
        &review.replace("[\"e2e\"]", "[\"other\"]"),
    )?;
    equal("for another audience", other.contains("\"authenticated\": true"), false)?;
    // Changes arrive whole.
    ns.kubectl(&["label", "pod", "all", "--overwrite", "tier=y"])?;
    ns.kubectl(&["patch", "configmap", "map", "-p", r#"{"data":{"a":"9"}}"#])?;
    eventually("both changes arrive", || {
        equal(
            "the files",
            ns.shell("all", "cat /all/labels /all/maps/first")?.as_str(),
            "tier=\"y\"9",
        )
    })
}

pub fn paths_within_volumes(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("subpaths")?;
    ns.kubectl(&[
        "create",
        "configmap",
        "site",
        "--from-literal=index.html=page",
        "--from-literal=other=x",
    ])?;
    let more = "    env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n    volumeMounts:\n    - {name: site, mountPath: /www/index.html, subPath: index.html}\n    - {name: data, mountPath: /data, subPath: deep/er}\n    - {name: data, mountPath: /own, subPathExpr: '$(POD)'}\n    - {name: data, mountPath: /whole}\n    - {name: memory, mountPath: /memory}\n  volumes: [{name: site, configMap: {name: site}}, {name: data, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]\n";
    ns.apply(&pod("within", "sleep 1000", more))?;
    ns.ready(&["within"])?;
    let found = ns.shell("within", "ls /www; cat /www/index.html; echo; echo x > /data/f; echo y > /own/g; find /whole -type f | sort; grep -c ' /memory tmpfs' /proc/mounts; dd if=/dev/zero of=/memory/large bs=1M count=2 2>&1 | grep -o 'No space left'")?;
    equal(
        "the files",
        found.as_str(),
        "index.html\npage\n/whole/deep/er/f\n/whole/within/g\n1\nNo space left\n",
    )?;
    // A link in a volume leads nowhere outside of it.
    let dir = cluster.scratch("subpaths")?;
    std::os::unix::fs::symlink("/etc", dir.join("out")).map_err(|e| e.to_string())?;
    let more = format!(
        "    volumeMounts: [{{name: host, mountPath: /out, subPath: out}}]\n  volumes: [{{name: host, hostPath: {{path: '{}'}}}}]\n",
        dir.display()
    );
    ns.apply(&pod("escapes", "sleep 1000", &more))?;
    ns.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError",
        &["pod/escapes"],
    )?;
    contains(
        &ns.value("pod/escapes", "{.status.containerStatuses[0].state.waiting.message}")?,
        &["failed to prepare subPath for volumeMount \"host\" of container \"main\""],
    )
}

pub fn host_paths(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("host-paths")?;
    let dir = cluster.scratch("host-paths")?;
    fs::write(dir.join("file"), "text").map_err(|e| e.to_string())?;
    let socket =
        std::os::unix::net::UnixListener::bind(dir.join("socket")).map_err(|e| e.to_string())?;
    let volume = |name: &str, path: &str, kind: &str| {
        format!(
            "  - {{name: {name}, hostPath: {{path: '{}/{path}', type: '{kind}'}}}}\n",
            dir.display()
        )
    };
    let more = [
        "    volumeMounts: [{name: d, mountPath: /d}, {name: f, mountPath: /f}, {name: md, mountPath: /md}, {name: mf, mountPath: /mf}, {name: s, mountPath: /s}, {name: 'null', mountPath: /n}]\n  volumes:\n",
        &volume("d", "", "Directory"),
        &volume("f", "file", "File"),
        &volume("md", "made/dir", "DirectoryOrCreate"),
        &volume("mf", "made-file", "FileOrCreate"),
        &volume("s", "socket", "Socket"),
        "  - {name: 'null', hostPath: {path: /dev/null, type: CharDevice}}\n",
    ].concat();
    ns.apply(&pod("mounts", "sleep 1000", &more))?;
    ns.ready(&["mounts"])?;
    let found = ns.shell("mounts", "cat /f; echo new > /d/new; echo x > /md/x; echo y > /mf; test -S /s && test -c /n && echo kinds")?;
    equal("what the container sees", found.as_str(), "textkinds\n")?;
    let read = |path: &str| fs::read_to_string(dir.join(path)).map_err(|e| format!("{path}: {e}"));
    equal(
        "what the host sees",
        [read("new")?, read("made/dir/x")?, read("made-file")?].concat().as_str(),
        "new\nx\ny\n",
    )?;
    drop(socket);
    for (name, path, kind) in [
        ("no-dir", "file", "Directory"),
        ("no-file", "absent", "File"),
        ("no-socket", "file", "Socket"),
    ] {
        let more = format!(
            "    volumeMounts: [{{name: v, mountPath: /v}}]\n  volumes:\n{}",
            volume("v", path, kind)
        );
        ns.apply(&pod(name, "sleep 1000", &more))?;
        let selector = format!("--field-selector=involvedObject.name={name},reason=FailedMount");
        eventually("the wrong type is told", || {
            let text =
                ns.kubectl(&["get", "events", &selector, "-o", "jsonpath={.items[*].message}"])?;
            contains(&text, &["hostPath type check failed", &dir.join(path).to_string_lossy()])
        })?;
    }
    Ok(())
}

/// The real kubectl in a pod finds the API by the mounted token and certificate.
pub fn the_api_from_within(cluster: &Cluster) -> Result {
    let ns = cluster.namespace("in-cluster")?;
    let more = format!(
        "    volumeMounts: [{{name: tools, mountPath: /tools, readOnly: true}}]\n  volumes: [{{name: tools, hostPath: {{path: '{}'}}}}]\n",
        fs::canonicalize(tools()).map_err(|e| e.to_string())?.display()
    );
    ns.apply(&pod("inside", "sleep 1000", &more))?;
    ns.ready(&["inside"])?;
    let inside = |arguments: &[&str]| {
        ns.kubectl(
            &[&["exec", "inside", "--", "env", "HOME=/tmp", "/tools/kubectl"], arguments].concat(),
        )
    };
    contains(&inside(&["get", "--raw", "/version"])?, &["\"gitVersion\": \"v1.35"])?;
    let who = inside(&["auth", "whoami", "-o", "json"])?;
    contains(
        &who,
        &[
            "system:serviceaccount:in-cluster:default",
            "system:serviceaccounts:in-cluster",
            "\"authentication.kubernetes.io/pod-name\"",
            "inside",
        ],
    )?;
    let refused = ns.kubectl_fails(
        &["exec", "inside", "--", "env", "HOME=/tmp", "/tools/kubectl", "get", "pods"],
        "",
    )?;
    contains(
        &refused,
        &[
            "Error from server (Forbidden)",
            "User \"system:serviceaccount:in-cluster:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"in-cluster\"",
        ],
    )?;
    // Nobody but the cluster's own authority is believed, and no token but its own.
    let wrong = ns.kubectl_fails(
        &[
            "exec",
            "inside",
            "--",
            "env",
            "HOME=/tmp",
            "/tools/kubectl",
            "--token=x.y.z",
            "get",
            "pods",
        ],
        "",
    )?;
    contains(&wrong, &["must be logged in to the server"])?;
    let facts = ns.shell("inside", "cd /var/run/secrets/kubernetes.io/serviceaccount; readlink token; readlink ..data | cut -c1-4; cat namespace")?;
    equal("files that can be exchanged", facts.as_str(), "..data/token\n..20\nin-cluster")?;
    ns.apply(&pod("without", "sleep 1000", "  automountServiceAccountToken: false\n"))?;
    ns.ready(&["without"])?;
    equal(
        "without a token",
        ns.shell("without", "ls /var/run/secrets 2>/dev/null | wc -l")?.trim(),
        "0",
    )
}
