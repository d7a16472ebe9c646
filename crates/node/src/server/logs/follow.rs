//! Serving a log, and following it without polling: the directory is watched, and so is the
//! container that writes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use timonier_runtime::{ContainerState, Event, FileWatch, Runtime};
use tokio::sync::mpsc;

use super::read::{Options, Reader};
use crate::server::lookup::LogSource;

/// Chunks that wait for the client.
const BACKLOG: usize = 8;

/// Opens a log and returns its output as it comes.
pub async fn serve(
    runtime: Arc<dyn Runtime>,
    source: LogSource,
    options: Options,
) -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let follow = options.follow && source.writer.is_some();
    // Both begin before the first read, so that nothing falls between.
    let watch = match (follow, source.path.parent()) {
        (true, Some(dir)) => Some((FileWatch::new(dir)?, runtime.events())),
        _ => None,
    };
    let path = source.path.clone();
    let reader = blocking(move || Reader::open(&path, &options)).await?;
    tokio::spawn(async move {
        let work = pass_on(runtime, source, reader, watch, &sender);
        tokio::select! {
            result = work => {
                if let Err(error) = result {
                    let _ = sender.send(Err(error)).await;
                }
            }
            // The client is gone.
            () = sender.closed() => {}
        }
    });
    Ok(receiver)
}

type Watch = (FileWatch, timonier_runtime::EventStream);

async fn pass_on(
    runtime: Arc<dyn Runtime>,
    source: LogSource,
    mut reader: Reader,
    mut watch: Option<Watch>,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    loop {
        // Asked before reading: what an ended container wrote is then read to its end.
        let over = match (&watch, &source.writer) {
            (Some(_), Some(id)) => has_ended(runtime.as_ref(), id).await,
            _ => true,
        };
        loop {
            let (back, output) = blocking(move || {
                let output = reader.read()?;
                Ok((reader, output))
            })
            .await?;
            reader = back;
            if output.is_empty() || sender.send(Ok(output.into())).await.is_err() {
                break;
            }
        }
        if over || reader.is_full() {
            return Ok(());
        }
        if let (Some((files, events)), Some(id)) = (&mut watch, &source.writer) {
            tokio::select! {
                changed = files.changed() => changed?,
                () = ended(events, id) => {}
            }
        }
    }
}

async fn has_ended(runtime: &dyn Runtime, id: &str) -> bool {
    match runtime.container_status(id).await {
        Ok(status) => matches!(status.state, ContainerState::Exited { .. }),
        Err(_) => true,
    }
}

async fn ended(events: &mut timonier_runtime::EventStream, id: &str) {
    while let Some(event) = events.next().await {
        match event {
            Event::ContainerExited { container, .. } if container == id => return,
            Event::Lagged => return,
            _ => {}
        }
    }
    // Without events only the files can tell.
    std::future::pending().await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
