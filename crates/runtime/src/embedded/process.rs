//! Commands in containers, attached streams, and connections into pods.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::client::{Client, Failure};
use super::terminal::Terminal;
use super::{Shared, new_id};
use crate::api::*;
use crate::error::Context;
use crate::init::ProcessSpec;
use crate::shim::protocol::Call;

/// What [`Runtime::exec_sync`] collects of each stream.
const MAX_OUTPUT: usize = 16 << 20;
/// How long output may take after the command ended: a child may hold the pipe for ever.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
const RESIZES: usize = 4;

/// Our ends and the process's ends of three pipes.
struct Pipes {
    stdin: Option<ByteWriter>,
    stdout: Option<ByteReader>,
    stderr: Option<ByteReader>,
    theirs: Vec<OwnedFd>,
}

impl Pipes {
    /// Streams that are not wanted are `/dev/null`, or left out.
    fn new(wanted: [bool; 3], null: bool) -> io::Result<Self> {
        let mut pipes = Self { stdin: None, stdout: None, stderr: None, theirs: Vec::new() };
        for (index, wanted) in wanted.into_iter().enumerate() {
            if !wanted {
                if null {
                    pipes
                        .theirs
                        .push(File::options().read(true).write(true).open("/dev/null")?.into());
                }
                continue;
            }
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
            let theirs = match index {
                0 => {
                    pipes.stdin = Some(Box::pin(pipe::Sender::from_owned_fd(writer)?));
                    reader
                }
                1 => {
                    pipes.stdout = Some(Box::pin(pipe::Receiver::from_owned_fd(reader)?));
                    writer
                }
                _ => {
                    pipes.stderr = Some(Box::pin(pipe::Receiver::from_owned_fd(reader)?));
                    writer
                }
            };
            pipes.theirs.push(theirs);
        }
        Ok(pipes)
    }
}

fn running(shared: &Shared, id: &str) -> Result<(ContainerStatus, Arc<Client>)> {
    let status = shared.state.container(id)?;
    if !matches!(status.state, ContainerState::Running { .. }) {
        return Err(Error::WrongState(format!("container {id:?} is not running")));
    }
    let client = shared.state.client(&status.sandbox)?;
    Ok((status, client))
}

/// Starts a command; also returns its id, with which it can be signalled.
pub async fn exec(
    shared: &Arc<Shared>,
    id: &str,
    request: ExecRequest,
) -> Result<(String, Process)> {
    let (status, client) = running(shared, id)?;
    if request.argv.is_empty() {
        return Err(Error::Invalid("no command specified".into()));
    }
    let config = status.config;
    let process = ProcessSpec {
        argv: request.argv,
        terminal: request.tty,
        ..ProcessSpec::of_container(&config)
    };
    let mut pipes = if request.tty {
        Pipes { stdin: None, stdout: None, stderr: None, theirs: Vec::new() }
    } else {
        let wanted = [request.stdin, request.stdout, request.stderr];
        Pipes::new(wanted, true).context(|| "make pipes".into())?
    };
    let exec = new_id();
    let ended = client.expect_exec(&exec);
    let call = Call::Exec { exec: exec.clone(), container: id.into(), process: Box::new(process) };
    let fds: Vec<_> = pipes.theirs.iter().map(AsFd::as_fd).collect();
    let mut received = match client.call(call, &fds).await {
        Ok((_, fds)) => fds,
        Err(failure) => {
            client.forget_exec(&exec);
            return Err(match failure {
                Failure::Refused(text) => Error::Exec(text),
                Failure::Lost(error) => error,
            });
        }
    };
    drop(fds);
    pipes.theirs.clear();
    let mut resize = None;
    if let (true, Some(fd)) = (request.tty, received.pop()) {
        let terminal = Terminal::new(fd).context(|| "open the terminal".into())?;
        pipes.stdin = request.stdin.then(|| Box::pin(terminal.clone()) as ByteWriter);
        pipes.stdout = Some(Box::pin(terminal.clone()));
        let (sender, mut sizes) = mpsc::channel(RESIZES);
        resize = Some(sender);
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                terminal.resize(size);
            }
        });
    }
    let sandbox = status.sandbox;
    let exit = ended
        .map(move |code| code.map_err(|_| Error::Shim { sandbox, reason: "it went away".into() }))
        .boxed();
    let Pipes { stdin, stdout, stderr, .. } = pipes;
    Ok((exec, Process { stdin, stdout, stderr, resize, exit }))
}

pub async fn exec_sync(
    shared: &Arc<Shared>,
    id: &str,
    argv: &[String],
    timeout: Option<Duration>,
) -> Result<ExecOutput> {
    let request =
        ExecRequest { argv: argv.to_vec(), stdout: true, stderr: true, ..ExecRequest::default() };
    let (exec, process) = exec(shared, id, request).await?;
    let collecting = collect(process);
    let Some(limit) = timeout else { return collecting.await };
    match tokio::time::timeout(limit, collecting).await {
        Ok(output) => output,
        Err(_) => {
            if let Ok((_, client)) = running(shared, id) {
                let call = Call::SignalExec { exec, signal: libc::SIGKILL };
                let _ = client.call(call, &[]).await;
            }
            Err(Error::ExecTimeout { command: argv.join(" ") })
        }
    }
}

async fn collect(process: Process) -> Result<ExecOutput> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut exit = process.exit;
    let mut early = None;
    {
        let reading = futures::future::join(
            read_bounded(process.stdout, &mut stdout),
            read_bounded(process.stderr, &mut stderr),
        );
        tokio::pin!(reading);
        tokio::select! {
            _ = &mut reading => {}
            code = &mut exit => {
                let _ = tokio::time::timeout(OUTPUT_GRACE, &mut reading).await;
                early = Some(code);
            }
        }
    }
    let exit_code = match early {
        Some(code) => code?,
        None => exit.await?,
    };
    Ok(ExecOutput { stdout, stderr, exit_code })
}

/// Keeps the beginning, and goes on reading so that the command does not block.
async fn read_bounded(reader: Option<ByteReader>, into: &mut Vec<u8>) {
    let Some(mut reader) = reader else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n) = reader.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        let room = MAX_OUTPUT - into.len();
        into.extend_from_slice(&buffer[..n.min(room)]);
    }
}

pub async fn attach(shared: &Arc<Shared>, id: &str, request: AttachRequest) -> Result<Process> {
    let (status, client) = running(shared, id)?;
    let tty = status.config.tty;
    let wanted =
        [request.stdin && (status.config.stdin || tty), request.stdout, request.stderr && !tty];
    let mut pipes = Pipes::new(wanted, false).context(|| "make pipes".into())?;
    let [stdin, stdout, stderr] = wanted;
    let call = Call::Attach { container: id.to_string(), stdin, stdout, stderr };
    let fds: Vec<_> = pipes.theirs.iter().map(AsFd::as_fd).collect();
    client.call(call, &fds).await.map_err(Failure::into_error)?;
    drop(fds);
    pipes.theirs.clear();
    let resize = tty.then(|| {
        let (sender, mut sizes) = mpsc::channel(RESIZES);
        let container = id.to_string();
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                let call = Call::Resize { container: container.clone(), size };
                if client.call(call, &[]).await.is_err() {
                    return;
                }
            }
        });
        sender
    });
    let Pipes { stdin, stdout, stderr, .. } = pipes;
    Ok(Process { stdin, stdout, stderr, resize, exit: exit_of(shared, id)? })
}

fn exit_of(shared: &Shared, id: &str) -> Result<BoxFuture<'static, Result<i32>>> {
    let mut watch = shared.state.watch(id)?;
    let id = id.to_string();
    Ok(async move {
        let over = |s: &ContainerState| matches!(s, ContainerState::Exited { .. });
        match watch.wait_for(over).await.as_deref() {
            Ok(ContainerState::Exited { exit, .. }) => Ok(exit.code),
            _ => Err(Error::container(&id)),
        }
    }
    .boxed())
}

pub async fn port_forward(
    shared: &Arc<Shared>,
    sandbox: &str,
    port: u16,
) -> Result<Box<dyn Connection>> {
    let client = shared.state.client(sandbox)?;
    let (_, fds) = client.call(Call::Sockets, &[]).await.map_err(Failure::into_error)?;
    let addresses: [SocketAddr; 2] =
        [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
    let mut failures = Vec::new();
    for (fd, address) in fds.into_iter().zip(addresses) {
        // SAFETY: the descriptor is a fresh TCP socket of the pod that nobody else owns.
        let socket = unsafe { TcpSocket::from_raw_fd(fd.into_raw_fd()) };
        match socket.connect(address).await {
            Ok(stream) => return Ok(Box::new(stream)),
            Err(e) => {
                let family = if address.is_ipv4() { 4 } else { 6 };
                let text = e.to_string().to_lowercase();
                let text = text.split(" (os error").next().unwrap_or_default().to_string();
                failures.push(format!("IPv{family}: dial tcp{family} {address}: connect: {text}"));
            }
        }
    }
    let failures = failures.join(" ");
    Err(Error::WrongState(format!(
        "failed to connect to localhost:{port} inside the pod's network namespace, {failures}"
    )))
}
