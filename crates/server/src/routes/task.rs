//! Each request is a task of its own.

use api::Code;
use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::failure::Failure;

/// Runs the rest of a request to its end, also when the client goes away in the middle: a vault that was created has its
/// key stored. A panic becomes a problem document.
pub(super) async fn run(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    tokio::spawn(next.run(request)).await.unwrap_or_else(|error| {
        tracing::error!(%method, path, %error, "a request ended in a panic");
        Failure::new(Code::Failed, "a defect of Holdfast ended the request")
            .with_hint("see the server's log, and report it together with what you asked for")
            .into_response()
    })
}
