//! HTTP calls.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use reqwest::{Client, Method, header::HeaderMap, redirect::Policy};

use crate::{Error, ErrorKind, Log, Result};

/// The longest answer of which all is looked at.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// An HTTP call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// `GET`, `POST`, or another.
    pub method: String,
    /// Where to; `http` or `https`.
    pub url: String,
    /// Headers besides those of HTTP itself.
    pub headers: BTreeMap<String, String>,
    /// What is sent.
    pub body: String,
    /// How long it may take, until the answer's last byte.
    pub time_limit: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status; 200 to 299 is success.
    pub status: u16,
    /// The answer's last line.
    pub last_line: String,
}

impl HttpAnswer {
    /// Whether the other side says that it did what was asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl HttpCall {
    /// Makes the call, once. The answer is kept in the log. Redirections are not followed: an action says where it goes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no HTTP call, [`ErrorKind::Unreachable`], [`ErrorKind::NoAnswer`], [`ErrorKind::TimedOut`].
    pub async fn make(&self, log: &Log) -> Result<HttpAnswer> {
        let invalid =
            |what: &str| Error::new(ErrorKind::Invalid, format!("{what} of the HTTP call cannot be used"));
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|error| invalid("the method").with_source(error))?;
        let headers = HeaderMap::try_from(&self.headers.clone().into_iter().collect::<HashMap<_, _>>())
            .map_err(|error| invalid("a header").with_source(error))?;
        let client = Client::builder().redirect(Policy::none()).build();
        let client = client.map_err(|error| invalid("the set-up").with_source(error.without_url()))?;
        let request = client.request(method, &self.url).headers(headers).body(self.body.clone()).build();
        let request = request.map_err(|error| invalid("the URL").with_source(error))?;
        let called = tokio::time::timeout(self.time_limit, exchange(&client, request, log)).await;
        called.unwrap_or_else(|_| {
            let context = format!("no full answer came within {:?}", self.time_limit);
            Err(Error::new(ErrorKind::TimedOut, context))
        })
    }
}

async fn exchange(client: &Client, request: reqwest::Request, log: &Log) -> Result<HttpAnswer> {
    let failed = |error: reqwest::Error| match error.is_connect() {
        true => Error::new(ErrorKind::Unreachable, "nobody could be reached").with_source(error),
        false => Error::new(ErrorKind::NoAnswer, "no answer came").with_source(error),
    };
    let mut response = client.execute(request).await.map_err(failed)?;
    let status = response.status().as_u16();
    log.push(format!("HTTP {status}\n").as_bytes());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        log.push(&chunk);
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    let text = String::from_utf8_lossy(&body);
    let last_line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Ok(HttpAnswer { status, last_line: last_line.to_owned() })
}
