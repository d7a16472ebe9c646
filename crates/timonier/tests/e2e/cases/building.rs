//! `timonier build`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::background::Background;
use crate::cluster::Cluster;
use crate::shell::{Output, Result, contains, equal, run, succeed};

/// Writes a context and gives its directory.
fn context(cluster: &Cluster, name: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
    let dir = cluster.scratch(&format!("build-{name}"))?;
    for (file, text) in files {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&dir))
            .and_then(|()| fs::write(path, text))
            .map_err(|e| e.to_string())?;
    }
    Ok(dir)
}

/// Builds; the progress is on the standard error, the id alone on the standard output.
fn build(cluster: &Cluster, name: &str, dir: &Path, more: &[&str]) -> Result<Output> {
    let dir = dir.to_string_lossy();
    run(&mut cluster.command(&[&["build", "-t", name, &dir], more].concat()), "")
}

fn built(cluster: &Cluster, name: &str, dir: &Path, more: &[&str]) -> Result<Output> {
    let output = build(cluster, name, dir, more)?;
    match output.status {
        0 => Ok(output),
        code => Err(format!("build {name}: exit {code}\n{}", output.stderr)),
    }
}

const DOCKERFILE: &str = r#"# syntax=docker/dockerfile:1
ARG BASE=none
FROM ${BASE} AS tools
ARG WORD=nothing
RUN <<EOF
mkdir -p /out
echo "word $WORD" > /out/word
EOF
COPY <<"TEXT" /out/text
literal $WORD
TEXT

FROM scratch AS unused
COPY --from=nowhere /a /b

FROM parent-e2e:1
ENV A=1 B="two words" C=${BASE:-unset}
ENV D=$A$A
LABEL org.example.note="x y" plain=z
WORKDIR /srv
WORKDIR app
COPY --chown=1000:2000 --chmod=640 conf/*.conf conf/
COPY ["with blank", "./"]
ADD packed.tar /unpacked/
ADD one.txt two.txt many/
COPY --from=tools /out/ /from-stage/
COPY --from=busybox:e2e /bin/busybox /opt/busybox
RUN echo "$A $B $C $D" > env.txt && id -u > who.txt
RUN ["/bin/sh", "-c", "echo exec > form.txt"]
SHELL ["/bin/sh", "-uc"]
RUN (echo $UNDEFINED) || echo strict > strict.txt
RUN chmod 777 /srv/app
VOLUME ["/data"]
EXPOSE 8080/tcp 53/udp
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s CMD true
USER 1000:2000
RUN echo "$(id -u) $(id -g)" > user.txt
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["cat env.txt who.txt form.txt strict.txt user.txt conf/* 'with blank' many/* /unpacked/inside /from-stage/* /onbuild.txt; stat -c '%u %g %a' conf/a.conf; ls conf; pwd; id -u; trap 'echo stopped; exit 0' USR1; echo up; while :; do sleep 0.1; done"]
"#;

pub fn every_instruction(cluster: &Cluster) -> Result {
    let parent = context(
        cluster,
        "parent",
        &[("Dockerfile", "FROM busybox:e2e\nONBUILD COPY onbuild.txt /onbuild.txt\n")],
    )?;
    built(cluster, "parent-e2e:1", &parent, &[])?;
    let files = [
        ("Dockerfile", DOCKERFILE),
        ("conf/a.conf", "conf a\n"),
        ("conf/b.conf", "conf b\n"),
        ("conf/no.txt", "no\n"),
        ("with blank", "blank\n"),
        ("one.txt", "one\n"),
        ("two.txt", "two\n"),
        ("onbuild.txt", "onbuild\n"),
        ("inside", "unpacked\n"),
    ];
    let dir = context(cluster, "every", &files)?;
    succeed(
        Command::new("tar")
            .arg("-C")
            .arg(&dir)
            .arg("-cf")
            .arg(dir.join("packed.tar"))
            .arg("inside"),
        "",
    )?;
    let more =
        ["--build-arg", "BASE=busybox:e2e", "--build-arg", "WORD=given", "--label", "added=yes"];
    let output = built(cluster, "every-e2e:1", &dir, &more)?;
    equal(
        "the id alone",
        output.stdout.starts_with("sha256:") && output.stdout.lines().count() == 1,
        true,
    )?;
    let ns = cluster.namespace("built")?;
    ns.kubectl(&["run", "every", "--image=every-e2e:1"])?;
    ns.ready(&["every"])?;
    let follow = Background::start(&mut ns.command(&["logs", "-f", "every"]))?;
    let text = follow.expect("\nup\n")?;
    let expected = "1 two words unset 11\n0\nexec\nstrict\n1000 2000\nconf a\nconf b\nblank\none\ntwo\nunpacked\nliteral $WORD\nword given\nonbuild\n1000 2000 640\na.conf\nb.conf\n/srv/app\n1000\nup\n";
    equal("what the image holds", text.as_str(), expected)?;
    ns.kubectl(&["delete", "pod", "every", "--wait=false"])?;
    follow.expect("stopped\n")?;
    let config = config(cluster, "every-e2e:1")?;
    contains(
        &config,
        &[
            "\"org.example.note\":\"x y\"",
            "\"plain\":\"z\"",
            "\"added\":\"yes\"",
            "\"8080/tcp\"",
            "\"53/udp\"",
            "\"/data\"",
            "\"StopSignal\":\"SIGUSR1\"",
            "\"User\":\"1000:2000\"",
            "\"Interval\":5000000000",
        ],
    )
}

/// The configuration of an image, from a saved archive.
fn config(cluster: &Cluster, name: &str) -> Result<String> {
    let archive = cluster.scratch("saved")?.join(format!("{}.tar", name.replace([':', '/'], "-")));
    cluster.timonier(&["image", "save", "-o", &archive.to_string_lossy(), name])?;
    let tar = |arguments: &[&str]| {
        succeed(Command::new("tar").arg("-xOf").arg(&archive).args(arguments), "")
    };
    let manifest = tar(&["manifest.json"])?;
    let path = manifest
        .split("\"Config\":\"")
        .nth(1)
        .and_then(|t| t.split('"').next())
        .ok_or(manifest.clone())?;
    tar(&[path])
}

pub fn ignored_files_and_caches(cluster: &Cluster) -> Result {
    let dockerfile = "FROM busybox:e2e\nRUN cat /proc/sys/kernel/random/uuid > /id\nCOPY . /ctx\nRUN cd /ctx && echo files: $(find . -type f | sort)\n";
    let files = [
        ("Dockerfile", dockerfile),
        (
            ".dockerignore",
            "# what stays away\n*.log\n!keep.log\nsecret/\n**/deep\nDockerfile\n.dockerignore\n",
        ),
        ("a", "1"),
        ("x.log", "1"),
        ("keep.log", "1"),
        ("secret/key", "1"),
        ("dir/deep/er", "1"),
        ("dir/b", "1"),
        ("dir/y.log", "1"),
    ];
    let dir = context(cluster, "ignored", &files)?;
    let first = built(cluster, "cached-e2e:1", &dir, &[])?;
    contains(&first.stderr, &["files: ./a ./dir/b ./dir/y.log ./keep.log\n"])?;
    equal("steps from the cache at first", first.stderr.matches("cached\n").count(), 0)?;
    let again = built(cluster, "cached-e2e:2", &dir, &[])?;
    equal("the same image", &again.stdout, &first.stdout)?;
    equal("steps from the cache", again.stderr.matches("cached\n").count(), 3)?;
    fs::write(dir.join("secret/key"), "2").map_err(|e| e.to_string())?;
    let ignored = built(cluster, "cached-e2e:2", &dir, &[])?;
    equal("an ignored file changes nothing", &ignored.stdout, &first.stdout)?;
    fs::write(dir.join("a"), "2").map_err(|e| e.to_string())?;
    let changed = built(cluster, "cached-e2e:2", &dir, &[])?;
    equal("another image", changed.stdout != first.stdout, true)?;
    equal("the step before the change", changed.stderr.matches("cached\n").count(), 1)?;
    let anew = built(cluster, "cached-e2e:2", &dir, &["--no-cache"])?;
    equal("without the cache", anew.stderr.matches("cached\n").count(), 0)?;
    equal("yet another image", anew.stdout != changed.stdout, true)
}

pub fn errors_have_lines(cluster: &Cluster) -> Result {
    let cases = [
        ("FROM busybox:e2e\nRUM echo x\n", "Dockerfile:2: unknown instruction: RUM"),
        (
            "FROM busybox:e2e\nRUN echo a \\\n && exit 3\n",
            "Dockerfile:2: process \"/bin/sh -c echo a  && exit 3\" did not complete successfully: exit code: 3",
        ),
        ("FROM busybox:e2e\n\nCOPY nothing /x\n", "Dockerfile:3: \"/nothing\": not found"),
        (
            "FROM busybox:e2e\nCOPY ../../etc/passwd /x\n",
            "Dockerfile:2: forbidden path outside the build context",
        ),
        ("RUN x\n", "Dockerfile:1: no build stage in current context"),
        ("FROM busybox:e2e\nCOPY --wrong=1 a b\n", "Dockerfile:2: unknown flag: --wrong"),
        ("FROM busybox:e2e\nRUN <<EOF\necho\n", "Dockerfile:2: unterminated heredoc"),
        ("FROM busybox:e2e\n# note\nEXPOSE abc\n", "Dockerfile:3: invalid containerPort: abc"),
        (
            "FROM busybox:e2e\nUSER nobody-here\nRUN id\n",
            "Dockerfile:3: unable to find user nobody-here",
        ),
        (
            "FROM 127.0.0.1:1/absent:1\n",
            "Dockerfile:1: 127.0.0.1:1/absent:1 is not here, and cannot be pulled",
        ),
        ("", "Dockerfile:1: file with no instructions"),
    ];
    for (number, (dockerfile, expected)) in cases.iter().enumerate() {
        let dir = context(cluster, &format!("error-{number}"), &[("Dockerfile", dockerfile)])?;
        let output = build(cluster, "bad-e2e:1", &dir, &[])?;
        equal(expected, output.status, 1)?;
        contains(&output.stderr, &[expected])?;
    }
    let none = build(cluster, "bad-e2e:1", Path::new("/nowhere"), &[])?;
    contains(
        &none.stderr,
        &["timonier: read /nowhere/Dockerfile: No such file or directory (os error 2)\n"],
    )?;
    equal("an image after errors", cluster.timonier(&["images"])?.contains("bad-e2e"), false)
}
