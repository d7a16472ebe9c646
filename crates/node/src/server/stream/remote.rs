//! A process's streams tied to a client's, whatever carries them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use timonier_object::{Value, value};
use timonier_runtime::{ByteReader, ByteWriter, Process, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Output may come late when a child of the command holds the pipe; then it is cut off.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);
/// A resize message is tiny; more than this is nonsense.
const MAX_RESIZE: usize = 4096;

/// The streams that a client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Stdout,
    Stderr,
    Error,
}

/// Where output goes.
#[async_trait]
pub trait Output: Send + Sync + 'static {
    async fn write(&self, channel: Channel, bytes: &[u8]) -> io::Result<()>;
    /// No more on this channel.
    async fn finish(&self, channel: Channel);
    /// Everything is said.
    async fn close(&self);
}

/// The client's side.
pub struct Remote {
    pub output: Arc<dyn Output>,
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// JSON texts such as `{"Width":80,"Height":24}`.
    pub resize: Option<mpsc::Receiver<Bytes>>,
    /// Ends when the client is gone.
    pub closed: BoxFuture<'static, ()>,
    /// From version 4 on the end is told as a `Status`; before, only errors are, as plain text.
    pub status: bool,
}

/// Ties both together until the process ends or the client goes. `exit_code`: whether the client
/// wants to know how it ended (exec), or only that it did (attach).
pub async fn run(
    remote: Remote,
    process: Result<Process, timonier_runtime::Error>,
    exit_code: bool,
) {
    let Remote { output, stdin, resize, closed, status } = remote;
    let work = async {
        let outcome = match process {
            Ok(process) => converse(&output, stdin, resize, process, exit_code).await,
            Err(error) => Err(error),
        };
        tell(output.as_ref(), &outcome, status, exit_code).await;
        for channel in [Channel::Stdout, Channel::Stderr, Channel::Error] {
            output.finish(channel).await;
        }
        output.close().await;
    };
    tokio::select! {
        () = work => {}
        // Dropping the process's streams closes its pipes or hangs up its terminal.
        () = closed => {}
    }
}

async fn converse(
    output: &Arc<dyn Output>,
    stdin: Option<mpsc::Receiver<Bytes>>,
    resize: Option<mpsc::Receiver<Bytes>>,
    process: Process,
    exit_code: bool,
) -> Result<i32, timonier_runtime::Error> {
    // An attached client whose output ends has left; the container may run on.
    let leaves = !exit_code && (process.stdout.is_some() || process.stderr.is_some());
    let Process { stdin: writer, stdout, stderr, resize: sizes, exit } = process;
    let input = async {
        tokio::join!(pump_in(stdin, writer), pump_sizes(resize, sizes));
        std::future::pending::<()>().await
    };
    let out = async {
        tokio::join!(
            pump_out(output, Channel::Stdout, stdout),
            pump_out(output, Channel::Stderr, stderr)
        );
    };
    let ending = async {
        tokio::pin!(out, exit);
        tokio::select! {
            code = &mut exit => {
                let _ = tokio::time::timeout(OUTPUT_GRACE, &mut out).await;
                code
            }
            () = &mut out => if leaves { Ok(0) } else { exit.await },
        }
    };
    tokio::select! {
        code = ending => code,
        () = input => unreachable!("input never ends the conversation"),
    }
}

/// Input that ends closes the process's standard input; the conversation goes on.
async fn pump_in(from: Option<mpsc::Receiver<Bytes>>, to: Option<ByteWriter>) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    while let Some(bytes) = from.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn pump_out(output: &Arc<dyn Output>, channel: Channel, from: Option<ByteReader>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 32 << 10];
    while let Ok(n) = from.read(&mut buffer).await {
        if n == 0 || output.write(channel, &buffer[..n]).await.is_err() {
            return;
        }
    }
}

async fn pump_sizes(from: Option<mpsc::Receiver<Bytes>>, to: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut text = Vec::new();
    while let Some(bytes) = from.recv().await {
        text.extend_from_slice(&bytes);
        for size in take_sizes(&mut text) {
            let _ = to.send(size).await;
        }
        if text.len() > MAX_RESIZE {
            return;
        }
    }
}

/// Takes every whole JSON object from the front.
fn take_sizes(text: &mut Vec<u8>) -> Vec<TerminalSize> {
    #[derive(serde::Deserialize)]
    struct Size {
        #[serde(alias = "width", rename = "Width", default)]
        width: u16,
        #[serde(alias = "height", rename = "Height", default)]
        height: u16,
    }
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<Size>();
    let mut sizes = Vec::new();
    while let Some(Ok(Size { width, height })) = stream.next() {
        // Zero means that the client does not know.
        if width > 0 && height > 0 {
            sizes.push(TerminalSize { width, height });
        }
    }
    let used = stream.byte_offset();
    text.drain(..used.min(text.len()));
    sizes
}

async fn tell(
    output: &dyn Output,
    outcome: &Result<i32, timonier_runtime::Error>,
    status: bool,
    exit_code: bool,
) {
    let bytes = if status {
        timonier_object::json::encode(&status_of(outcome, exit_code))
    } else {
        match outcome {
            Ok(0) => return,
            Ok(_) if !exit_code => return,
            Ok(code) => format!(
                "error executing command in container: command terminated with exit code {code}"
            )
            .into_bytes(),
            Err(error) => error.to_string().into_bytes(),
        }
    };
    let _ = output.write(Channel::Error, &bytes).await;
}

/// What kubectl reads the exit code from.
fn status_of(outcome: &Result<i32, timonier_runtime::Error>, exit_code: bool) -> Value {
    match outcome {
        Ok(code) if *code != 0 && exit_code => {
            let message = format!("command terminated with non-zero exit code: exit status {code}");
            let code = code.to_string();
            value!({
                "metadata": {}, "status": "Failure", "message": message, "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code }] }
            })
        }
        Ok(_) => value!({ "metadata": {}, "status": "Success" }),
        Err(error) => {
            let text = error.to_string();
            let message =
                format!("Internal error occurred: error executing command in container: {text}");
            value!({
                "metadata": {}, "status": "Failure", "message": message, "reason": "InternalError",
                "details": { "causes": [{ "message": text }] }, "code": 500
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_any_pieces() {
        let mut text = br#"{"Width":80,"Height":24}"#.to_vec();
        text.extend_from_slice(b"\n{\"width\":100,\"height\":30}{\"Width\":1");
        let sizes = take_sizes(&mut text);
        let expected = [(80, 24), (100, 30)].map(|(width, height)| TerminalSize { width, height });
        assert_eq!(sizes, expected);
        assert_eq!(text, b"{\"Width\":1");
        text.extend_from_slice(b"0,\"Height\":2}");
        assert_eq!(take_sizes(&mut text), [TerminalSize { width: 10, height: 2 }]);
    }

    #[test]
    fn exit_codes_are_causes() {
        let text = |outcome, exit_code| {
            String::from_utf8(timonier_object::json::encode(&status_of(&outcome, exit_code)))
                .unwrap()
        };
        assert_eq!(text(Ok(0), true), r#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(text(Ok(3), false), r#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(
            text(Ok(3), true),
            "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero \
             exit code: exit status 3\",\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":\
             [{\"reason\":\"ExitCode\",\"message\":\"3\"}]}}"
        );
    }
}
