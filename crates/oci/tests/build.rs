//! Builds real Dockerfiles with a real overlay and a chroot as the runner.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use common::*;
use timonier_oci::{BuildOptions, Error};

macro_rules! need {
    ($store:ident, $dir:ident, $test:expr) => {
        if !root_or_skip($test) {
            return;
        }
        let ($dir, $store) = store();
        let _ = &$dir;
        if base_image(&$store, "base:1").is_none() {
            return;
        }
    };
}

#[tokio::test]
async fn the_usual_dockerfile() {
    need!(store, dir, "the_usual_dockerfile");
    let context = context(&[
        (
            "Dockerfile",
            "FROM base:1\nARG VERSION=3\nENV APP=/srv/app MODE=\"a b\"\nWORKDIR $APP\n\
             RUN echo $VERSION > version && id -u > who && pwd >> who && rm /etc/group && mkdir -p /opt/x && echo \"$MODE\"\n\
             COPY --chown=web:50 --chmod=640 conf/*.conf conf/\nCOPY . all/\nADD [\"a b\", \"/${VERSION}q/\"]\n\
             USER web\nRUN id -u > /tmp/who2 || id -u > $APP/all/../who3 || true\nEXPOSE 80\nVOLUME /data\n\
             LABEL a=b\nSTOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s CMD true\nENTRYPOINT [\"/bin/sh\"]\nCMD [\"-c\", \"echo\"]\n",
        ),
        ("conf/x.conf", "x"),
        ("conf/y.conf", "y"),
        ("conf/no.txt", "z"),
        ("a b", "blank"),
        ("secret/key", "k"),
        (".dockerignore", "secret\nDockerfile\n"),
    ]);
    let (result, log) = build(&store, context.path(), "app:1").await;
    let image = result.unwrap_or_else(|e| panic!("{e}\n{}", log.output()));
    assert_eq!(image.repo_tags, ["docker.io/library/app:1"]);
    assert_eq!(read(&image, "srv/app/version"), "3\n");
    assert_eq!(read(&image, "srv/app/who"), "0\n/srv/app\n");
    assert!(
        find_opt(&image, "etc/group").is_none()
            && find_opt(&image, "srv/app/conf/no.txt").is_none()
    );
    let conf = find(&image, "srv/app/conf/x.conf").metadata().unwrap();
    assert_eq!((conf.uid(), conf.gid(), conf.mode() & 0o777), (33, 50, 0o640));
    assert_eq!(read(&image, "srv/app/all/conf/no.txt"), "z");
    assert_eq!(read(&image, "3q/a b"), "blank");
    assert!(find_opt(&image, "srv/app/all/secret").is_none());
    assert!(find_opt(&image, "srv/app/all/Dockerfile").is_none());
    assert!(log.output().contains("a b"));
    let c = &image.config.config;
    assert_eq!(c.env, ["PATH=/bin", "APP=/srv/app", "MODE=a b"]);
    assert_eq!(
        (c.user.as_str(), c.working_dir.as_str(), c.stop_signal.as_str()),
        ("web", "/srv/app", "SIGINT")
    );
    assert!(c.volumes.contains_key("/data") && c.exposed_ports.contains_key("80/tcp"));
    assert_eq!(image.argv(None, None), ["/bin/sh", "-c", "echo"]);
    let history = &image.config.history;
    assert_eq!(
        history.iter().filter(|h| !h.empty_layer).count(),
        image.config.rootfs.diff_ids.len()
    );
    // Mount points that the runner may make do not stay.
    let quiet = context_of("FROM base:1\nRUN --mount=type=tmpfs,target=/etc/deep/t true\nUSER 1\n");
    let nothing = build(&store, quiet.path(), "quiet:1").await.0.unwrap();
    assert_eq!(nothing.lower_dirs[0].read_dir().unwrap().count(), 0);
    for place in ["proc", "sys", "dev"] {
        assert!(find_opt(&image, place).is_none(), "{place}");
    }
    assert!(log.warnings().is_empty(), "{:?}", log.warnings());
}

#[tokio::test]
async fn cache_follows_content() {
    need!(store, dir, "cache_follows_content");
    let context = context(&[
        (
            "Dockerfile",
            "FROM base:1\nRUN echo a > /a\nCOPY f /f\nRUN cat /f > /g\nENV X=1\nUSER 5\n",
        ),
        ("f", "one"),
    ]);
    let (first, log) = build(&store, context.path(), "c:1").await;
    assert_eq!((log.cached(), read(&first.unwrap(), "g").as_str()), (0, "one"));
    // The same image, though time went by.
    let (second, log) = build(&store, context.path(), "c:2").await;
    assert_eq!((log.cached(), second.unwrap().repo_tags.len()), (3, 2));
    let later = BuildOptions {
        context: context.path().to_owned(),
        now: timonier_meta::Time::from_unix(2_000_000_000),
        tags: vec!["c:later".into()],
        ..BuildOptions::default()
    };
    let (second, log) = build_with(&store, &later).await;
    assert_eq!((log.cached(), second.unwrap().repo_tags.len()), (3, 3));
    // The time does not count, the content does.
    std::fs::write(context.path().join("f"), "one").unwrap();
    assert_eq!(build(&store, context.path(), "c:3").await.1.cached(), 3);
    std::fs::write(context.path().join("f"), "two").unwrap();
    let (third, log) = build(&store, context.path(), "c:4").await;
    assert_eq!((log.cached(), read(&third.unwrap(), "g").as_str()), (1, "two"));
    let options = BuildOptions {
        context: context.path().to_owned(),
        no_cache: true,
        now: timonier_meta::Time::from_unix(2_000_000_000),
        ..BuildOptions::default()
    };
    let (fresh, log) = build_with(&store, &options).await;
    assert_eq!(log.cached(), 0);
    assert!(fresh.unwrap().repo_tags.is_empty());
    assert!(log.warnings().is_empty());
}

#[tokio::test]
async fn stages_and_targets() {
    need!(store, dir, "stages_and_targets");
    let context = context(&[(
        "Dockerfile",
        "ARG BASE=base\nFROM ${BASE}:1 AS build\nRUN mkdir -p /out/sub && echo x > /out/sub/f && chmod 700 /out/sub && ln -s sub/f /out/l\n\
         FROM base:1 AS unused\nRUN false\nFROM scratch AS final\nCOPY --from=build /out /\nCOPY --from=0 /out/l /copied\n\
         COPY --from=base:1 /etc/passwd /p\nUSER 1\n",
    )]);
    let (result, log) = build(&store, context.path(), "s:1").await;
    let image = result.unwrap_or_else(|e| panic!("{e}\n{}", log.output()));
    assert_eq!(read(&image, "sub/f"), "x\n");
    assert_eq!(find(&image, "sub").metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(std::fs::read_link(find(&image, "l")).unwrap().to_str(), Some("sub/f"));
    assert_eq!(read(&image, "copied"), "x\n");
    assert!(read(&image, "p").contains("web"));
    assert!(find_opt(&image, "bin").is_none());
    let target = |name: &str| BuildOptions {
        context: context.path().to_owned(),
        target: Some(name.to_owned()),
        ..BuildOptions::default()
    };
    assert!(find_opt(&build_with(&store, &target("build")).await.0.unwrap(), "out/l").is_some());
    let error = build_with(&store, &target("unused")).await.0.unwrap_err().to_string();
    assert_eq!(
        error,
        "Dockerfile:5: process \"/bin/sh -c false\" did not complete successfully: exit code: 1"
    );
}

#[tokio::test]
async fn heredocs_scripts_and_mounts() {
    need!(store, dir, "heredocs_scripts_and_mounts");
    let context = context(&[
        (
            "Dockerfile",
            "FROM base:1\nENV N=v\nRUN <<EOF\necho one > /1\necho two > /2\nEOF\n\
             RUN <<X\n#!/bin/cat\nshown\nX\nRUN cat > /3 <<'Q' && echo done >> /3\n$N\nQ\n\
             COPY <<A <<\"B\" /d/\nis $N\nA\nis $N\nB\n\
             RUN --mount=type=cache,target=/c/deep echo kept >> /c/deep/f && cat /c/deep/f > /seen\n\
             RUN --mount=type=bind,source=sub,target=/m cat /m/f > /bound\n\
             RUN --mount=type=secret,id=s cat /run/secrets/s > /from-secret\n\
             RUN --mount=type=tmpfs,target=/t echo x > /t/f\nUSER 7\n",
        ),
        ("sub/f", "bind"),
        ("s.txt", "hush"),
    ]);
    let mut options = BuildOptions {
        context: context.path().to_owned(),
        secrets: BTreeMap::from([("s".to_owned(), context.path().join("s.txt"))]),
        ..BuildOptions::default()
    };
    let (result, log) = build_with(&store, &options).await;
    let image = result.unwrap_or_else(|e| panic!("{e}\n{}", log.output()));
    assert_eq!((read(&image, "1"), read(&image, "2")), ("one\n".into(), "two\n".into()));
    assert!(log.output().contains("shown"));
    assert_eq!(read(&image, "3"), "$N\ndone\n");
    assert_eq!((read(&image, "d/A"), read(&image, "d/B")), ("is v\n".into(), "is $N\n".into()));
    assert_eq!(
        (read(&image, "bound"), read(&image, "from-secret")),
        ("bind".into(), "hush".into())
    );
    for gone in ["c", "m", "run", "t", ".timonier-heredoc"] {
        assert!(find_opt(&image, gone).is_none(), "{gone} stayed");
    }
    options.no_cache = true;
    let again = build_with(&store, &options).await.0.unwrap();
    assert_eq!(read(&again, "seen"), "kept\nkept\n");
    // Under pressure the collector takes all of the cache, but no image in use.
    assert!(store.usage().unwrap().build_cache > 0);
    let in_use = std::collections::BTreeSet::from([again.id.clone()]);
    let limits = timonier_oci::GcLimits {
        bytes_to_free: 1 << 40,
        now: timonier_meta::Time::from_unix(4_000_000_000),
        ..Default::default()
    };
    let report = store.gc(&in_use, &limits).unwrap();
    assert!(report.freed > 0 && !report.deferred && !report.deleted.contains(&again.id));
    assert_eq!(store.usage().unwrap().build_cache, 0);
    assert_eq!(read(&again, "seen"), "kept\nkept\n");
}

#[tokio::test]
async fn add_unpacks_and_links_stay_inside() {
    need!(store, dir, "add_unpacks_and_links_stay_inside");
    let context = context(&[(
        "Dockerfile",
        "FROM base:1\nADD a.tar.gz /un/\nCOPY a.tar.gz /plain/\nRUN ln -s /etc /conf && ln -s /nowhere/deep /dangling\n\
         COPY link /conf/new\nCOPY link /dangling/file\nADD --chown=9:8 a.tar.gz /owned\nUSER 1\n",
    )]);
    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o600);
    tar.append_data(&mut header, "in/f", &b"abc"[..]).unwrap();
    std::fs::write(context.path().join("a.tar.gz"), tar.into_inner().unwrap().finish().unwrap())
        .unwrap();
    std::fs::write(context.path().join("real"), "linked").unwrap();
    std::os::unix::fs::symlink("real", context.path().join("link")).unwrap();
    let (result, log) = build(&store, context.path(), "a:1").await;
    let image = result.unwrap_or_else(|e| panic!("{e}\n{}", log.output()));
    assert_eq!(read(&image, "un/in/f"), "abc");
    assert!(find(&image, "plain/a.tar.gz").metadata().unwrap().is_file());
    assert_eq!(read(&image, "etc/new"), "linked");
    assert_eq!(read(&image, "nowhere/deep/file"), "linked");
    let owned = find(&image, "owned/in/f").metadata().unwrap();
    assert_eq!((owned.uid(), owned.gid()), (9, 8));
    assert!(!std::path::Path::new("/nowhere").exists());
    // A link out of the context finds nothing of the host.
    std::fs::remove_file(context.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", context.path().join("link")).unwrap();
    let error = build(&store, context.path(), "a:2").await.0.unwrap_err().to_string();
    assert_eq!(error, "Dockerfile:5: \"/link\": not found");
}

#[tokio::test]
async fn onbuild_shell_and_warnings() {
    need!(store, dir, "onbuild_shell_and_warnings");
    store.tag("base:1", "base").unwrap();
    let parent =
        context(&[("Dockerfile", "FROM base\nONBUILD COPY f /f\nONBUILD RUN cat /f > /g\n")]);
    let (image, log) = build(&store, parent.path(), "parent:1").await;
    assert_eq!(image.unwrap().config.config.on_build.len(), 2);
    let warnings = log.warnings();
    assert!(
        warnings[0].1.contains("has no tag") && warnings[1].1.contains("runs as root"),
        "{warnings:?}"
    );
    let child = context(&[
        ("Dockerfile", "FROM parent:1\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN cat /g\nUSER root\n"),
        ("f", "x"),
    ]);
    let (image, log) = build(&store, child.path(), "child:1").await;
    let image = image.unwrap_or_else(|e| panic!("{e}\n{}", log.output()));
    assert_eq!(read(&image, "g"), "x");
    assert!(image.config.config.on_build.is_empty());
    assert_eq!(image.config.config.shell.as_deref().unwrap()[1], "-ec");
    assert!(log.warnings().iter().any(|(line, text)| *line == 4 && text.contains("root")));
}

#[tokio::test]
async fn reproducible_with_a_source_date() {
    need!(store, dir, "reproducible_with_a_source_date");
    let context = context(&[
        (
            "Dockerfile",
            "FROM base:1\nRUN mkdir /d && echo x > /d/f && ln -s f /d/l\nCOPY f /g\nWORKDIR /w/x\nUSER 1\n",
        ),
        ("f", "one"),
    ]);
    let options = BuildOptions {
        context: context.path().to_owned(),
        no_cache: true,
        source_date_epoch: Some(1_000_000),
        ..BuildOptions::default()
    };
    let first = build_with(&store, &options).await.0.unwrap();
    // Times of files in images are whole seconds: the next build is in another one.
    let second = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let before = second();
    while second() == before {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    std::fs::write(context.path().join("f"), "one").unwrap();
    let second = build_with(&store, &options).await.0.unwrap();
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.config.created.as_deref(), Some("1970-01-12T13:46:40Z"));
    assert_eq!(find(&first, "d/f").metadata().unwrap().mtime(), 1_000_000);
}

#[tokio::test]
async fn faults_name_their_line() {
    need!(store, dir, "faults_name_their_line");
    for (text, message) in [
        ("FROM base:1\n\nCOPY none /x\n", "Dockerfile:3: \"/none\": not found"),
        (
            "FROM base:1\nCOPY ../x /x\n",
            "Dockerfile:2: forbidden path outside the build context: ../x",
        ),
        (
            "FROM base:1\nCOPY Dockerfile f /x\n",
            "Dockerfile:2: When using COPY with more than one source file, the destination must be a directory and end with a /",
        ),
        (
            "FROM base:1\nCOPY --chown=nobody f /x\n",
            "Dockerfile:2: --chown=nobody: unable to find user nobody: no matching entries in passwd file",
        ),
        (
            "FROM base:1\nCOPY --chmod=9 f /x\n",
            "Dockerfile:2: invalid chmod parameter: '9'. it should be octal string and between 0 and 07777",
        ),
        (
            "FROM base:1\nUSER ghost\nRUN true\n",
            "Dockerfile:3: unable to find user ghost: no matching entries in passwd file",
        ),
        (
            "FROM base:1\nCOPY f /etc\nCOPY f /etc/passwd/x\n",
            "Dockerfile:3: \"etc/passwd\" is not a directory",
        ),
        ("FROM $NONE\n", "Dockerfile:1: base name ($NONE) should not be blank"),
        (
            "FROM base:1\nRUN --mount=type=ssh true\n",
            "Dockerfile:2: --mount=type=ssh is not supported",
        ),
        ("FROM base:1\nRUNN x\n", "Dockerfile:2: unknown instruction: RUNN (did you mean RUN?)"),
    ] {
        let context = context(&[("Dockerfile", text), ("f", "x")]);
        let error = build(&store, context.path(), "bad:1").await.0.expect_err(message);
        assert_eq!(error.to_string(), message);
        assert!(matches!(error, Error::Build { .. } | Error::Dockerfile { .. }));
    }
    assert!(store.resolve("bad:1").is_err());
    assert_eq!(store.dir().join("tmp").read_dir().unwrap().count(), 0);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.path().to_str().unwrap()), "a mount was left behind");
}

#[tokio::test]
async fn add_from_a_url() {
    need!(store, dir, "add_from_a_url");
    let server = registry::Registry::start(registry::Options::default()).await;
    server.put_file("/files/data.txt", b"remote");
    let base = server.base();
    let text = format!(
        "FROM base:1\nADD http://{base}/files/data.txt /d/\nADD --checksum=sha256:{} http://{base}/files/data.txt /e\nUSER 1\n",
        timonier_oci::Digest::of(b"remote").hex()
    );
    let context = context(&[("Dockerfile", &text)]);
    let (result, log) = build(&store, context.path(), "u:1").await;
    let image = result.unwrap_or_else(|e| panic!("{e}\n{}", log.output()));
    assert_eq!((read(&image, "d/data.txt"), read(&image, "e")), ("remote".into(), "remote".into()));
    let mode = find(&image, "e").metadata().unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(context.path().join("Dockerfile"), text.replace("/files/data", "/files/none"))
        .unwrap();
    let error = build(&store, context.path(), "u:2").await.0.unwrap_err().to_string();
    assert!(error.starts_with("Dockerfile:2:") && error.contains("404"), "{error}");
}

#[tokio::test]
async fn futures_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let (_dir, store) = store();
    let options = BuildOptions::default();
    let mut progress = |_| {};
    let future = store.build(&options, &ChrootRunner, &mut progress);
    is_send(&future);
    drop(future);
    is_send(&store.pull("x", &timonier_oci::PullOptions::default()));
    is_send(&store.push("x", &timonier_oci::PushOptions::default()));
}

/// The mission's own Dockerfiles, on bases that stand in for those of the public registry.
#[tokio::test]
async fn the_missions_dockerfiles() {
    need!(store, dir, "the_missions_dockerfiles");
    let manifests =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/mission/manifests");
    if !manifests.is_dir() {
        eprintln!("the_missions_dockerfiles: skipped, ../shared is not here");
        return;
    }
    let text = |name: &str| std::fs::read_to_string(manifests.join(name)).unwrap();
    let fake = context(&[
        ("Dockerfile", "FROM base:1\nCOPY --chmod=755 apt-get /bin/\n"),
        ("apt-get", "#!/bin/sh\necho \"$@\" >> /apt.log\n"),
    ]);
    build(&store, fake.path(), "ubuntu:xenial").await.0.unwrap();
    let redis = context(&[("Dockerfile", &text("Dockerfile.redis"))]);
    let (image, log) = build(&store, redis.path(), "redis:1").await;
    let image = image.unwrap_or_else(|e| panic!("{e}\n{}", log.output()));
    assert_eq!(read(&image, "apt.log"), "update --fix-missing\ninstall -y redis-server\n");
    assert_eq!((image.config.config.user.as_str(), image.argv(None, None).len()), ("9000", 3));
    assert!(log.warnings().is_empty(), "{:?}", log.warnings());
    store.tag("base:1", "jboss/wildfly:11").unwrap();
    let wildfly = context(&[
        ("Dockerfile", &text("Dockerfile.wildfly")),
        ("target/petstore.war", "w"),
        ("target/x.txt", ""),
    ]);
    let (image, log) = build(&store, wildfly.path(), "petstore:1").await;
    let image = image.unwrap_or_else(|e| panic!("{e}\n{}", log.output()));
    let place = find(&image, "opt/jboss/wildfly/standalone/deployments");
    assert_eq!(place.read_dir().unwrap().count(), 1);
    assert!(log.output().contains("some # of cool things"));
}
