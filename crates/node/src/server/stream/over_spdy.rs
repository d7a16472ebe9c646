//! Exec and attach over SPDY: the client opens one stream per channel.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::sync::mpsc;

use super::remote::{Channel, Output, Remote, Wanted};
use crate::server::spdy::{Connection, Stream};

/// As long as upstream waits for the streams that the request announced.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(30);

struct Streams {
    connection: Connection,
    ids: BTreeMap<&'static str, u32>,
}

impl Streams {
    fn id(&self, channel: Channel) -> Option<u32> {
        let name = match channel {
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
            Channel::Error => "error",
        };
        self.ids.get(name).copied()
    }
}

#[async_trait]
impl Output for Streams {
    async fn write(&self, channel: Channel, bytes: &[u8]) -> io::Result<()> {
        match self.id(channel) {
            Some(id) => self.connection.write(id, bytes).await,
            None => Ok(()),
        }
    }

    async fn finish(&self, channel: Channel) {
        if let Some(id) = self.id(channel) {
            let _ = self.connection.finish(id).await;
        }
    }

    async fn close(&self) {
        for name in ["stdin", "resize"] {
            if let Some(id) = self.ids.get(name) {
                let _ = self.connection.reset(*id).await;
            }
        }
        self.connection.close().await;
    }
}

/// Waits for the announced streams. `None` when they do not come.
pub async fn remote(
    connection: Connection,
    mut new: mpsc::Receiver<Stream>,
    wanted: Wanted,
    protocol: &str,
) -> Option<Remote> {
    // Resizing came with the third version.
    let resize = wanted.tty && matches!(protocol, "v3.channel.k8s.io" | "v4.channel.k8s.io");
    let expected = [
        ("error", true),
        ("stdin", wanted.stdin),
        ("stdout", wanted.stdout),
        ("stderr", wanted.stderr && !wanted.tty),
        ("resize", resize),
    ];
    let mut missing: Vec<&'static str> =
        expected.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
    let mut readers = BTreeMap::new();
    let mut ids = BTreeMap::new();
    let gather = async {
        while !missing.is_empty() {
            let stream = new.recv().await?;
            let kind = stream.headers.get("streamtype").map(String::as_str).unwrap_or_default();
            // An unexpected one is not wanted; an announced one counts once.
            match missing.iter().position(|m| *m == kind) {
                Some(index) => {
                    let name = missing.remove(index);
                    ids.insert(name, stream.id);
                    readers.insert(name, stream.data);
                }
                None => drop(connection.reset(stream.id).await),
            }
        }
        Some(())
    };
    let gathered = tokio::time::timeout(STREAMS_TIMEOUT, gather).await.ok().flatten();
    if gathered.is_none() {
        connection.close().await;
        return None;
    }
    let watching = connection.clone();
    Some(Remote {
        stdin: readers.remove("stdin"),
        resize: readers.remove("resize"),
        output: Arc::new(Streams { connection, ids }),
        closed: async move { watching.closed().await }.boxed(),
        status: protocol == "v4.channel.k8s.io",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::spdy::client::Client;
    use crate::server::stream::remote;
    use timonier_runtime::Process;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A process that answers what it reads and ends with a code.
    fn echo(code: i32) -> Process {
        let (stdin, mut reading) = tokio::io::duplex(1024);
        let (mut writing, stdout) = tokio::io::duplex(1024);
        let exit = async move {
            let mut text = Vec::new();
            reading.read_to_end(&mut text).await.unwrap();
            writing.write_all(&text).await.unwrap();
            Ok(code)
        };
        Process {
            stdin: Some(Box::pin(stdin)),
            stdout: Some(Box::pin(stdout)),
            stderr: None,
            resize: None,
            exit: exit.boxed(),
        }
    }

    #[tokio::test]
    async fn a_command_reads_writes_and_tells_its_exit_code() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (connection, new) = crate::server::spdy::serve(ours);
        let mut client = Client::new(theirs);
        for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
            client.open(id, &[("streamtype", kind)]).await;
        }
        let wanted = Wanted { stdin: true, stdout: true, ..Wanted::default() };
        let remote = super::remote(connection, new, wanted, "v4.channel.k8s.io").await.unwrap();
        tokio::spawn(remote::run(remote, Ok(echo(7)), true));
        client.data(3, b"ping", false).await;
        client.data(3, b"", true).await;
        let (mut output, mut status) = (Vec::new(), Vec::new());
        while let Some((id, bytes, _)) = client.next().await {
            match id {
                5 => output.extend(bytes),
                1 => status.extend(bytes),
                other => panic!("data on stream {other}"),
            }
        }
        assert_eq!(output, b"ping");
        assert!(String::from_utf8(status).unwrap().contains(r#""message":"7""#));
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_do_not_come_end_the_connection() {
        let (ours, _theirs) = tokio::io::duplex(1 << 16);
        let (connection, new) = crate::server::spdy::serve(ours);
        let wanted = Wanted { stdout: true, ..Wanted::default() };
        assert!(super::remote(connection, new, wanted, "v4.channel.k8s.io").await.is_none());
    }
}
