//! What a container must not be able to do.

mod common;

use common::{Fixture, exited, output};
use timonier_runtime::*;

#[tokio::test(flavor = "multi_thread")]
async fn cgroups_are_visible_but_never_writable() {
    let Some(f) = Fixture::new().await else { return };
    let script = "
        cd /sys/fs/cgroup && ls -d memory* >/dev/null && cat */cgroup.procs cgroup.procs 2>/dev/null | head -1
        for file in memory/memory.limit_in_bytes memory.max memory/cgroup.procs cgroup.procs; do
            test -e $file && echo 999999999999 2>/dev/null > $file && echo LEAK $file
        done
        mkdir memory/x 2>/dev/null && echo LEAK mkdir
        mkdir x 2>/dev/null && echo LEAK mkdir
        mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo LEAK remount
        cat /proc/self/cgroup | grep -v ':/$' && echo LEAK path
        echo end";
    let (_, text) = f.script(script, |c| c.resources.memory_limit = Some(64 << 20)).await;
    assert!(text.ends_with("end") && !text.contains("LEAK"), "{text}");
    assert!(text.starts_with('1') || text.starts_with('0'), "its own group is readable: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_filter_is_active_in_containers_and_commands() {
    let Some(f) = Fixture::new().await else { return };
    let check = "grep Seccomp: /proc/self/status; unshare -U true 2>/dev/null && echo LEAK";
    let (_, text) = f.script(check, |_| {}).await;
    assert_eq!(text, "Seccomp:\t2");
    let (_, text) = f.script(check, |c| c.security.no_new_privs = true).await;
    assert_eq!(text, "Seccomp:\t2");
    let (_, text) = f.script(check, |c| c.security.seccomp = Seccomp::Unconfined).await;
    assert!(text.starts_with("Seccomp:\t0"), "{text}");

    // A custom profile decides, and holds for commands that are run later too.
    let sandbox = f.sandbox("filter").await;
    let mut config = f.config(&["sleep", "1000"]);
    config.security.seccomp = Seccomp::Custom(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#
            .into(),
    );
    let id = f.start(&sandbox, config).await;
    let argv = ["sh", "-c", "grep Seccomp: /proc/self/status; mkdir /x"].map(String::from);
    let got = f.runtime.exec_sync(&id, &argv, None).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got.stdout), "Seccomp:\t2\n");
    assert!(String::from_utf8_lossy(&got.stderr).contains("Function not implemented"), "{got:?}");

    let mut broken = f.config(&["true"]);
    broken.security.seccomp = Seccomp::Custom("{}".into());
    let error = f.runtime.create_container(&sandbox, broken).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot load seccomp profile"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_and_capabilities() {
    let Some(f) = Fixture::new().await else { return };
    let show = "id -u; id -g; id -G; grep -E 'CapEff|CapBnd|CapInh|NoNewPrivs' /proc/self/status; echo $HOME";
    let (_, text) = f.script(show, |_| {}).await;
    let caps = "CapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb";
    assert_eq!(text, format!("0\n0\n0\n{caps}\nNoNewPrivs:\t0\n/root"));

    let (_, text) = f
        .script(show, |c| {
            c.security.user =
                User { name: "web".into(), supplementary: vec![77], ..User::default() };
            c.security.no_new_privs = true;
            c.security.capabilities = vec!["CAP_CHOWN".into()];
        })
        .await;
    let caps = "CapInh:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000001";
    assert_eq!(text, format!("1000\n1001\n1001 4 77\n{caps}\nNoNewPrivs:\t1\n/tmp"));

    let (_, text) =
        f.script("grep CapEff /proc/self/status", |c| c.security.privileged = true).await;
    // All that this host has to give.
    let host = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = host.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).unwrap();
    assert_eq!(text, format!("CapEff:\t{bounding}"));

    let sandbox = f.sandbox("caps").await;
    let mut config = f.config(&["true"]);
    config.security.capabilities = vec!["CAP_MADE_UP".into()];
    let error = f.runtime.create_container(&sandbox, config).await.unwrap_err();
    assert_eq!(error.to_string(), "unknown capability \"CAP_MADE_UP\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_hidden_devices_refused_and_roots_sealed() {
    let Some(f) = Fixture::new().await else { return };
    let script = "
        test -s /proc/kcore && echo LEAK kcore
        cat /proc/timer_list 2>/dev/null | grep . && echo LEAK timers
        ls /sys/firmware | grep . && echo LEAK firmware
        echo 1 2>/dev/null > /proc/sys/kernel/panic && echo LEAK sysctl
        echo b 2>/dev/null > /proc/sysrq-trigger && echo LEAK sysrq
        mknod /tmp/disk b 254 0 && dd if=/tmp/disk of=/dev/null bs=512 count=1 2>/dev/null && echo LEAK disk
        mknod /tmp/mem c 1 1 && dd if=/tmp/mem of=/dev/null bs=1 count=1 2>/dev/null && echo LEAK mem
        mount -t tmpfs none /tmp 2>/dev/null && echo LEAK mount
        test -c /dev/null && echo x > /dev/null && head -c 1 /dev/zero >/dev/null && echo end";
    let (_, text) = f.script(script, |_| {}).await;
    assert_eq!(text, "end");

    let script =
        "touch /x 2>/dev/null && echo LEAK; touch /dev/shm/ok && touch /data/ok && echo end
        touch /ro/x 2>/dev/null && echo LEAK ro";
    let data = f.dir.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let (_, text) = f
        .script(script, |c| {
            c.security.readonly_rootfs = true;
            c.mounts = vec![Mount::bind(&data, "/data"), Mount::bind(&data, "/ro").readonly()];
        })
        .await;
    assert_eq!(text, "end");
    assert!(data.join("ok").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn mount_targets_stay_inside_the_root() {
    let Some(f) = Fixture::new().await else { return };
    let outside = f.dir.path().join("outside");
    let layer = f.dir.path().join("evil");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::create_dir_all(&layer).unwrap();
    std::os::unix::fs::symlink(&outside, layer.join("link")).unwrap();
    let sandbox = f.sandbox("evil").await;
    let mut config = f.config(&["ls", "/link/deep"]);
    if let Rootfs::Overlay { lower_dirs } = &mut config.rootfs {
        lower_dirs.insert(0, layer.clone());
    }
    config.mounts = vec![Mount::bind(f.dir.path().join("layer/etc"), "/link/deep")];
    let id = f.start(&sandbox, config.clone()).await;
    assert_eq!(exited(&f.runtime, &id).await.code, 0);
    assert!(output(&f.log_path()).contains("passwd"));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "something was made outside");

    for target in ["/proc/self/attr", "/proc", "/"] {
        config.mounts = vec![Mount::bind("/tmp", target)];
        let id = f.runtime.create_container(&sandbox, config.clone()).await.unwrap();
        let error = f.runtime.start_container(&id).await.unwrap_err().to_string();
        assert!(error.contains("cannot be mounted"), "{error}");
    }
}

/// While a process is prepared the shim's descriptors must be out of reach of the paths that the
/// pod's author chose (CVE-2024-21626).
#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_through_a_descriptor_of_the_host() {
    let Some(f) = Fixture::new().await else { return };
    let outside = f.dir.path().join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::copy(f.dir.path().join("layer/bin/busybox"), outside.join("true")).unwrap();
    let outside = outside.to_str().unwrap();
    let through = |number: u32| format!("/proc/self/fd/{number}{}{outside}", "/..".repeat(12));
    let sandbox = f.sandbox("descriptors").await;
    let running = f.start(&sandbox, f.config(&["sleep", "1000"])).await;
    let start = async |config: ContainerConfig| {
        let id = f.runtime.create_container(&sandbox, config).await.unwrap();
        let result = f.runtime.start_container(&id).await;
        result.expect_err("it started").to_string()
    };
    for number in 3..32 {
        let program = format!("{}/true", through(number));
        start(f.config(&[&program])).await;
        let argv = [program];
        f.runtime.exec_sync(&running, &argv, None).await.expect_err("the command ran");
        let mut config = f.config(&["true"]);
        config.cwd = format!("{}/made", through(number));
        start(config).await;
    }
    // Of another process in the same PID namespace, too.
    let mut config = f.config(&["true"]);
    config.cwd = format!("/proc/1/root{outside}/made");
    config.pid = Some(PidMode::Target(running.clone()));
    let error = start(config).await;
    assert!(error.contains("chdir to cwd"), "{error}");
    let names: Vec<_> =
        std::fs::read_dir(outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["true"], "something was made outside");
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_of_the_image_are_written_to_below_a_read_only_root() {
    let Some(f) = Fixture::new().await else { return };
    let script = "
        touch /x 2>/dev/null && echo LEAK root
        for dir in /bin /new/deep /new; do touch $dir/written && echo $dir; done
        test -x /bin/busybox && echo image
        grep -c ' /new/deep ' /proc/mounts
        test -e /proc/self/status && echo proc";
    let (_, text) = f
        .script(script, |c| {
            c.security.readonly_rootfs = true;
            c.volumes = ["/bin", "/new", "/new/deep", "/proc"].map(String::from).into();
        })
        .await;
    assert_eq!(text, "/bin\n/new/deep\n/new\nimage\n1\nproc");
    // The image itself stays as it is.
    let (_, text) = f.script("ls -d /bin/written /new 2>/dev/null; echo end", |_| {}).await;
    assert_eq!(text, "end");
}
