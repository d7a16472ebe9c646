//! Containers from creation to removal, with real processes.

mod common;

use std::time::{Duration, Instant};

use common::{Fixture, exited, records, until};
use futures::StreamExt;
use timonier_runtime::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_logs_and_exits() {
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("a").await;
    let mut events = f.runtime.events();
    let config = f.config(&["sh", "-c", "echo out; echo err >&2; printf end; exit 3"]);
    let id = f.start(&sandbox, config).await;
    let exit = exited(&f.runtime, &id).await;
    assert_eq!((exit.code, exit.signal, exit.reason.as_str()), (3, None, "Error"));
    let mut records = records(&f.log_path());
    records.sort();
    let expected = [("stderr", "F", "err"), ("stdout", "F", "out"), ("stdout", "P", "end")];
    assert_eq!(records, expected.map(|(a, b, c)| (a.into(), b.into(), c.into())));
    let started = Event::ContainerStarted { sandbox: sandbox.clone(), container: id.clone() };
    assert_eq!(events.next().await, Some(started));
    let ended = events.next().await;
    assert!(matches!(ended, Some(Event::ContainerExited { container, .. }) if container == id));

    f.runtime.remove_container(&id).await.unwrap();
    assert!(f.runtime.container_status(&id).await.unwrap_err().is_not_found());
    f.runtime.remove_sandbox(&sandbox).await.unwrap();
    f.runtime.remove_sandbox(&sandbox).await.unwrap();
    assert!(f.runtime.list_sandboxes().await.unwrap().is_empty());
    let left = std::fs::read_dir(f.dir.path().join("state")).unwrap().count();
    assert_eq!(left, 0, "files are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_missing_is_a_start_error() {
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("missing").await;
    let id = f.runtime.create_container(&sandbox, f.config(&["nonsense"])).await.unwrap();
    let error = f.runtime.start_container(&id).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "unable to start container process: exec: \"nonsense\": executable file not found in $PATH"
    );
    let exit = exited(&f.runtime, &id).await;
    assert_eq!((exit.code, exit.reason.as_str()), (128, "StartError"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_gives_grace_and_then_kills() {
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("stop").await;
    let polite = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let id = f.start(&sandbox, f.config(&["sh", "-c", polite])).await;
    until(async || common::output(&f.log_path()).contains("up")).await;
    f.runtime.stop_container(&id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(exited(&f.runtime, &id).await.code, 7);

    // The first process of a PID namespace ignores what it does not handle.
    let id = f.start(&sandbox, f.config(&["sleep", "1000"])).await;
    let start = Instant::now();
    f.runtime.stop_container(&id, Duration::from_millis(300)).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));
    let exit = exited(&f.runtime, &id).await;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_inside() {
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("exec").await;
    let mut config = f.config(&["sleep", "1000"]);
    config.env.push("COLOUR=blue".into());
    config.cwd = "/work/dir".into();
    let id = f.start(&sandbox, config).await;
    let sh = |text: &str| ["sh", "-c", text].map(String::from).to_vec();
    let got = f.runtime.exec_sync(&id, &sh("pwd; echo $COLOUR; echo bad >&2; exit 5"), None).await;
    let got = got.unwrap();
    assert_eq!(String::from_utf8(got.stdout).unwrap(), "/work/dir\nblue\n");
    assert_eq!((got.stderr.as_slice(), got.exit_code), (b"bad\n".as_slice(), 5));

    let slow = f.runtime.exec_sync(&id, &sh("sleep 100"), Some(Duration::from_millis(200))).await;
    assert_eq!(slow.unwrap_err().to_string(), "command \"sh -c sleep 100\" timed out");

    let error = f.runtime.exec_sync(&id, &["nope".to_string()], None).await.unwrap_err();
    assert!(
        error.to_string().ends_with("exec: \"nope\": executable file not found in $PATH"),
        "{error}"
    );

    let argv = ["cat".to_string()].to_vec();
    let request = ExecRequest { argv, stdin: true, stdout: true, ..ExecRequest::default() };
    let mut process = f.runtime.exec(&id, request).await.unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"through the pipe").await.unwrap();
    drop(stdin);
    let mut text = String::new();
    process.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!((text.as_str(), process.exit.await.unwrap()), ("through the pipe", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_work_for_commands_and_containers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("tty").await;
    let script = "tty; until stty size | grep -q '^45 123$'; do sleep 0.02; done
        read line; stty size; echo got $line";
    let mut config = f.config(&["sh", "-c", script]);
    config.tty = true;
    config.stdin = true;
    let id = f.start(&sandbox, config).await;
    let request = AttachRequest { stdin: true, stdout: true, stderr: false };
    let mut process = f.runtime.attach(&id, request).await.unwrap();
    let size = TerminalSize { width: 123, height: 45 };
    process.resize.as_ref().unwrap().send(size).await.unwrap();
    process.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
    let mut text = String::new();
    process.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert!(text.contains("45 123\r\ngot hello\r\n"), "{text:?}");
    assert_eq!(process.exit.await.unwrap(), 0);
    assert!(common::output(&f.log_path()).contains("/dev/pts/0"));

    let id = f.start(&sandbox, f.config(&["sleep", "1000"])).await;
    let argv = ["sh", "-c", "tty; test -t 0 && test -t 2 && exit 9"].map(String::from).to_vec();
    let request = ExecRequest { argv, tty: true, stdin: true, stdout: true, stderr: false };
    let mut process = f.runtime.exec(&id, request).await.unwrap();
    let mut text = String::new();
    process.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!((text.as_str(), process.exit.await.unwrap()), ("/dev/pts/0\r\n", 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_readers_and_writers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("attach").await;
    let mut config = f.config(&["sh", "-c", "cat; echo done >&2"]);
    config.stdin = true;
    config.stdin_once = true;
    let id = f.start(&sandbox, config).await;
    let all = AttachRequest { stdin: true, stdout: true, stderr: true };
    let mut writer = f.runtime.attach(&id, all).await.unwrap();
    let mut reader = f.runtime.attach(&id, AttachRequest { stdin: false, ..all }).await.unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    let big = vec![b'x'; 300_000];
    let feed = tokio::spawn(async move {
        stdin.write_all(&big).await.unwrap();
        stdin.write_all(b"\n").await.unwrap();
    });
    let mut outputs = Vec::new();
    for process in [&mut writer, &mut reader] {
        let (mut out, mut err) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        outputs.push(tokio::spawn(async move {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            let _ = tokio::join!(out.read_to_end(&mut a), err.read_to_end(&mut b));
            (a.len(), b)
        }));
    }
    feed.await.unwrap();
    for output in outputs {
        assert_eq!(output.await.unwrap(), (300_001, b"done\n".to_vec()));
    }
    assert_eq!(writer.exit.await.unwrap(), 0);
    let logged: usize =
        records(&f.log_path()).iter().filter(|r| r.0 == "stdout").map(|r| r.2.len()).sum();
    assert_eq!(logged, 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_bind_and_lack_of_memory_is_told() {
    let Some(f) = Fixture::new().await else { return };
    let (exit, _) = f
        .script("dd if=/dev/zero of=/dev/null bs=200M count=1", |c| {
            c.resources.memory_limit = Some(32 << 20);
            c.resources.memory_swap_limit = Some(32 << 20);
        })
        .await;
    assert!(exit.oom_killed && exit.reason == "OOMKilled", "{exit:?}");

    let sandbox = f.sandbox("limits").await;
    let mut config = f.config(&["sleep", "1000"]);
    config.resources = Resources {
        memory_limit: Some(64 << 20),
        cpu_shares: Some(512),
        pids_limit: Some(50),
        ..Resources::default()
    };
    let id = f.start(&sandbox, config).await;
    let stats = f.runtime.container_stats(&id).await.unwrap();
    assert_eq!(stats.cgroup.memory_limit, Some(64 << 20));
    assert_eq!(stats.cgroup.pids, 1);
    assert!(stats.cgroup.memory_usage > 0 && stats.cgroup.cpu_usage_ns > 0);
    let more = Resources { memory_limit: Some(128 << 20), ..Resources::default() };
    f.runtime.update_container(&id, &more).await.unwrap();
    let stats = f.runtime.container_stats(&id).await.unwrap();
    assert_eq!(stats.cgroup.memory_limit, Some(128 << 20));
    assert!(f.runtime.sandbox_stats(&sandbox).await.unwrap().memory_usage > 0);
    let argv = ["sh", "-c", "dd if=/dev/zero of=/big bs=1M count=3"].map(String::from);
    f.runtime.exec_sync(&id, &argv, None).await.unwrap();
    let stats = f.runtime.container_stats(&id).await.unwrap();
    assert!(stats.writable_bytes >= 3 << 20, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_and_starting_is_fast() {
    let Some(f) = Fixture::new().await else { return };
    let sandbox = f.sandbox("fast").await;
    let (mut creates, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let begin = Instant::now();
        let id = f.runtime.create_container(&sandbox, f.config(&["true"])).await.unwrap();
        creates.push(begin.elapsed());
        let begin = Instant::now();
        f.runtime.start_container(&id).await.unwrap();
        starts.push(begin.elapsed());
        exited(&f.runtime, &id).await;
        f.runtime.remove_container(&id).await.unwrap();
    }
    creates.sort();
    starts.sort();
    println!(
        "create: median {:?}, best {:?}; start: median {:?}, best {:?} (unoptimised build)",
        creates[10], creates[0], starts[10], starts[0]
    );
    // A generous bound: other tests share the processors.
    assert!(creates[10] + starts[10] < Duration::from_millis(500));
}
