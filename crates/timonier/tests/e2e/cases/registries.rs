//! Images in and out: archives, layouts, registries.

use std::fs;
use std::process::Command;

use crate::background::Background;
use crate::cases::pods::pod;
use crate::cluster::Cluster;
use crate::gate::Gate;
use crate::shell::{Result, contains, equal, run, succeed};

/// Makes an image of one more file and gives its id.
fn image(cluster: &Cluster, name: &str, text: &str) -> Result<String> {
    let dir = cluster.scratch(&format!("image-{}", name.replace([':', '/'], "-")))?;
    fs::write(
        dir.join("Dockerfile"),
        format!("FROM busybox:e2e\nRUN echo {text} > /text\nCMD [\"cat\", \"/text\"]\n"),
    )
    .map_err(|e| e.to_string())?;
    Ok(cluster.timonier(&["build", "-t", name, &dir.to_string_lossy()])?.trim().to_owned())
}

/// Runs an image to its end in a pod and gives its log.
fn log_of(cluster: &Cluster, space: &str, image: &str) -> Result<String> {
    let ns = cluster.namespace(space)?;
    ns.kubectl(&[
        "run",
        "once",
        &format!("--image={image}"),
        "--restart=Never",
        "--image-pull-policy=Never",
    ])?;
    ns.wait("jsonpath={.status.phase}=Succeeded", &["pod/once"])?;
    ns.kubectl(&["logs", "once"])
}

pub fn archives_and_layouts(cluster: &Cluster) -> Result {
    let id = image(cluster, "archived-e2e:1", "archived")?;
    let dir = cluster.scratch("archives")?;
    let archive = dir.join("docker.tar");
    let path = archive.to_string_lossy().into_owned();
    cluster.timonier(&["image", "save", "-o", &path, "archived-e2e:1"])?;
    contains(
        &cluster.timonier(&["image", "rm", "archived-e2e:1"])?,
        &["Untagged: docker.io/library/archived-e2e:1", "Deleted: sha256:"],
    )?;
    equal("gone", cluster.timonier(&["images"])?.contains("archived-e2e"), false)?;
    let imported = cluster.timonier(&["image", "import", &path])?;
    contains(&imported, &["archived-e2e:1", &id])?;
    equal("its log", log_of(cluster, "from-archive", "archived-e2e:1")?.as_str(), "archived\n")?;
    contains(
        &cluster.timonier(&["images"])?,
        &["REPOSITORY", "docker.io/library/archived-e2e", &id[7..19]],
    )?;
    // The same as an OCI layout: the archive holds both forms.
    let layout = dir.join("layout");
    fs::create_dir_all(&layout).map_err(|e| e.to_string())?;
    succeed(Command::new("tar").arg("-C").arg(&layout).arg("-xf").arg(&archive), "")?;
    fs::remove_file(layout.join("manifest.json")).map_err(|e| e.to_string())?;
    equal(
        "a layout",
        layout.join("index.json").exists() && layout.join("oci-layout").exists(),
        true,
    )?;
    cluster.timonier(&["image", "rm", "archived-e2e:1"])?;
    let imported =
        cluster.timonier(&["image", "import", "-t", "layout-e2e:1", &layout.to_string_lossy()])?;
    contains(&imported, &["layout-e2e:1", &id])?;
    equal("its log", log_of(cluster, "from-layout", "layout-e2e:1")?.as_str(), "archived\n")?;
    let packed = dir.join("layout.tar");
    succeed(Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&packed).arg("."), "")?;
    let mut import = cluster.command(&["image", "import", "-t", "packed-e2e:1", "-"]);
    let file = fs::File::open(&packed).map_err(|e| e.to_string())?;
    equal(
        "from standard input",
        import.stdin(file).output().map_err(|e| e.to_string())?.status.success(),
        true,
    )?;
    contains(&cluster.timonier(&["images"])?, &["docker.io/library/packed-e2e"])?;
    // A blob that is not what its name says is refused.
    let (index, blobs) = (layout.join("index.json"), layout.join("blobs/sha256"));
    let text = fs::read_to_string(&index).map_err(|e| e.to_string())?;
    let hex = text.split("\"digest\":\"sha256:").nth(1).and_then(|t| t.get(..64));
    let (hex, wrong) = (hex.ok_or(text.clone())?, "0".repeat(64));
    fs::rename(blobs.join(hex), blobs.join(&wrong))
        .and_then(|()| fs::write(&index, text.replace(hex, &wrong)))
        .map_err(|e| e.to_string())?;
    let bad = run(
        &mut cluster.command(&["image", "import", "-t", "bad-e2e:1", &layout.to_string_lossy()]),
        "",
    )?;
    equal("a broken layout", bad.status, 1)?;
    contains(&bad.stderr, &[&format!("{wrong}\" in the archive has digest sha256:{hex}")])?;
    let none = run(&mut cluster.command(&["image", "import", "/dev/null"]), "")?;
    equal("an empty archive", none.status, 1)
}

/// A registry over a directory of its own; gives `host:port`.
fn registry(cluster: &Cluster, name: &str, more: &[&str]) -> Result<(Background, String)> {
    let dir = cluster.scratch(name)?.to_string_lossy().into_owned();
    let arguments = ["registry", "--listen=127.0.0.1:0", "--dir", &dir];
    let mut command = cluster.program(&crate::cluster::binary());
    let registry = Background::start(command.args(arguments).args(more))?;
    registry.expect("the registry listens on http")?;
    let address = registry.expect("/\n")?;
    let address = address
        .trim_start_matches("s")
        .trim_start_matches("://")
        .trim_end_matches("/\n")
        .to_owned();
    Ok((registry, address))
}

pub fn pushed_and_pulled(cluster: &Cluster) -> Result {
    let (_registry, address) = registry(cluster, "registry", &[])?;
    let id = image(cluster, "pushed-e2e:1", "pushed")?;
    let name = format!("{address}/team/pushed:1");
    cluster.timonier(&["image", "tag", "pushed-e2e:1", &name])?;
    cluster.timonier(&["image", "push", &name])?;
    cluster.timonier(&["image", "rm", &name, "pushed-e2e:1"])?;
    contains(&cluster.timonier(&["pull", &name])?, &[&id])?;
    cluster.timonier(&["image", "rm", &name])?;
    // The kubelet pulls by itself, and says so.
    let ns = cluster.namespace("pulls")?;
    ns.kubectl(&[
        "run",
        "pulls",
        &format!("--image={name}"),
        "--restart=Never",
        "--image-pull-policy=Always",
    ])?;
    ns.wait("jsonpath={.status.phase}=Succeeded", &["pod/pulls"])?;
    equal("its log", ns.kubectl(&["logs", "pulls"])?.as_str(), "pushed\n")?;
    let events =
        ns.kubectl(&["get", "events", "-o", "jsonpath={range .items[*]}{.message};{end}"])?;
    contains(
        &events,
        &[
            &format!("Pulling image \"{name}\""),
            &format!("Successfully pulled image \"{name}\" in "),
            "Image size: ",
        ],
    )?;
    let missing = run(&mut cluster.command(&["pull", &format!("{address}/team/nothing:1")]), "")?;
    equal("what is not there", missing.status, 1)?;
    contains(&missing.stderr, &["not found"])
}

pub fn tokens_and_secrets(cluster: &Cluster) -> Result {
    let (_registry, address) = registry(cluster, "registry-behind", &[])?;
    image(cluster, "guarded-e2e:1", "guarded")?;
    let open = format!("{address}/guarded:1");
    cluster.timonier(&["image", "tag", "guarded-e2e:1", &open])?;
    cluster.timonier(&["image", "push", &open])?;
    let gate = Gate::start(address).map_err(|e| e.to_string())?;
    let name = format!("{}/guarded:1", gate.address);
    let refused = run(&mut cluster.command(&["pull", &name]), "")?;
    equal("without a password", refused.status, 1)?;
    let ns = cluster.namespace("tokens")?;
    let host = gate.address.to_string();
    let guarded = |pod_name: &str, more: &str| {
        ns.apply(&pod(pod_name, "cat /text; sleep 1000", more).replace("busybox:e2e", &name))
    };
    guarded("stranger", "")?;
    ns.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff",
        &["pod/stranger"],
    )?;
    equal("tokens for nobody", gate.tokens(), 0)?;
    ns.kubectl(&[
        "create",
        "secret",
        "docker-registry",
        "ann",
        &format!("--docker-server={host}"),
        "--docker-username=ann",
        "--docker-password=secret",
    ])?;
    guarded("ann", "  imagePullSecrets: [{name: ann}]\n")?;
    ns.ready(&["ann"])?;
    equal("its log", ns.kubectl(&["logs", "ann"])?.as_str(), "guarded\n")?;
    equal("a token was used", gate.tokens() > 0, true)?;
    // A registry with users of its own, and the user's own password file.
    let users = cluster.scratch("users")?.join("users");
    fs::write(&users, "ann:secret\n").map_err(|e| e.to_string())?;
    let (_own, own) = registry(cluster, "registry-users", &["--users", &users.to_string_lossy()])?;
    let own_name = format!("{own}/guarded:1");
    cluster.timonier(&["image", "tag", "guarded-e2e:1", &own_name])?;
    let refused = run(&mut cluster.command(&["image", "push", &own_name]), "")?;
    equal("a push without a password", refused.status, 1)?;
    let docker = cluster.scratch(".docker")?.join("config.json");
    fs::write(&docker, format!("{{\"auths\":{{\"{own}\":{{\"auth\":\"YW5uOnNlY3JldA==\"}}}}}}"))
        .map_err(|e| e.to_string())?;
    cluster.timonier(&["image", "push", &own_name])?;
    contains(&cluster.timonier(&["pull", &own_name])?, &["sha256:"])
}
