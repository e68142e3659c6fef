//! The task that sends requests.

use std::{io, sync::Arc};

use image::ErrorKind;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, BufWriter},
    sync::mpsc,
};

use super::pending::Pending;
use crate::codec::transmission::{Command, Request};

/// A request and the data that it carries.
pub(super) struct Outgoing {
    pub(super) request: Request,
    pub(super) payload: Vec<u8>,
}

/// Sends what is queued until a disconnect was sent, the client is gone, or the connection fails.
pub(super) async fn run(
    stream: impl AsyncWrite + Unpin,
    queue: mpsc::Receiver<Outgoing>,
    pending: Arc<Pending>,
) {
    let sent = tokio::select! {
        sent = send_all(BufWriter::new(stream), queue) => sent,
        // A peer that takes nothing any more must not hold up those who wait for a place in the queue.
        _ = pending.closed() => Ok(()),
    };
    if let Err(error) = sent {
        pending.close(ErrorKind::Gone, format!("the connection to the NBD server is lost: {error}"));
    }
}

async fn send_all(
    mut stream: BufWriter<impl AsyncWrite + Unpin>,
    mut queue: mpsc::Receiver<Outgoing>,
) -> io::Result<()> {
    loop {
        let outgoing = match queue.try_recv() {
            Ok(outgoing) => outgoing,
            Err(_) => {
                stream.flush().await?;
                match queue.recv().await {
                    Some(outgoing) => outgoing,
                    None => return Ok(()),
                }
            }
        };
        stream.write_all(&outgoing.request.encode()).await?;
        stream.write_all(&outgoing.payload).await?;
        if outgoing.request.command == Command::DISCONNECT {
            return stream.shutdown().await;
        }
    }
}
