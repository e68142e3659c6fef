//! Answers of any length, sent while they are made.

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;

use crate::failure::{Failure, Result};

/// Chunks of an answer that wait for a slow client.
const CHUNKS_WAITING: usize = 4;

/// Where an answer goes, piece by piece.
pub(super) struct Chunks(mpsc::Sender<Result<Bytes>>);

impl Chunks {
    /// Hands the client a piece, once there is room for it.
    pub(super) async fn send(&self, chunk: impl Into<Bytes>) -> Result<()> {
        let sent = self.0.send(Ok(chunk.into())).await;
        sent.map_err(|_| Failure::new(api::Code::Cancelled, "the client has gone"))
    }
}

impl Chunks {
    /// Returns when the client has gone.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

/// Answers with what some work sends. What fails before the first piece is a problem document; what fails later breaks the
/// answer off.
pub(super) async fn stream<F>(media_type: &'static str, work: impl FnOnce(Chunks) -> F) -> Result<Response>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, mut pieces) = mpsc::channel(CHUNKS_WAITING);
    let work = work(Chunks(sender.clone()));
    tokio::spawn(async move {
        if let Err(failure) = work.await {
            tracing::warn!(reason = failure.detail(), "an answer breaks off");
            // A client that has gone needs no reason.
            let _ = sender.send(Err(failure)).await;
        }
    });
    let first = match pieces.recv().await {
        Some(Err(failure)) => return Err(failure),
        Some(Ok(bytes)) => bytes,
        None => Bytes::new(),
    };
    let rest = stream::poll_fn(move |context| pieces.poll_recv(context));
    let rest = rest.map(|piece| piece.map_err(Failure::into_problem));
    let body = Body::from_stream(stream::iter([Ok(first)]).chain(rest));
    Ok(([(header::CONTENT_TYPE, media_type)], body).into_response())
}
