//! The host's end of the serial port: a task that asks one thing after the other, whoever stops waiting.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    Error, ErrorKind, Result,
    protocol::{Answer, Greeting, Request, frame, frame_length},
};

/// How long one answer may take. The first one of a volume replays its journal.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Requests that wait for those before them.
const WAITING_MAX: usize = 64;

/// A request as bytes, and who waits for the answer.
type Asked = (Vec<u8>, oneshot::Sender<io::Result<Answer>>);

/// The connection to a helper. The first failure closes it.
#[derive(Debug)]
pub(super) struct Connection {
    requests: mpsc::Sender<Asked>,
}

impl Connection {
    /// One that never was.
    pub(super) fn closed() -> Self {
        Self { requests: mpsc::channel(1).0 }
    }

    /// Waits for the helper and its greeting.
    pub(super) async fn accept(listener: &UnixListener) -> Result<Self> {
        let greeted = async {
            let (mut stream, _) = listener.accept().await?;
            Greeting::decode(&read(&mut stream).await?).map_err(invalid)?;
            Ok(stream)
        };
        let stream = greeted.await.map_err(|error: io::Error| {
            Error::new(ErrorKind::Gone, "the helper does not greet").with_source(error)
        })?;
        let (requests, asked) = mpsc::channel(WAITING_MAX);
        tokio::spawn(serve(stream, asked));
        Ok(Self { requests })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, request: &Request, doing: &str) -> Result<Answer> {
        let gone = || Error::new(ErrorKind::Gone, format!("{doing}: the helper's machine has ended"));
        let (answered, answer) = oneshot::channel();
        self.requests.send((request.encode(), answered)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Error::new(
                ErrorKind::TimedOut,
                format!("{doing}: the helper does not answer for {} s", ANSWER_TIMEOUT.as_secs()),
            ),
            _ => gone().with_source(error),
        })
    }
}

/// Asks one thing after the other until nobody is left who could, or something fails.
async fn serve(mut stream: UnixStream, mut asked: mpsc::Receiver<Asked>) {
    while let Some((request, answered)) = asked.recv().await {
        let answer = timeout(ANSWER_TIMEOUT, exchange(&mut stream, &request)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let is_broken = answer.is_err();
        // Whoever asked may have gone.
        let _ = answered.send(answer);
        if is_broken {
            return;
        }
    }
}

async fn exchange(stream: &mut UnixStream, request: &[u8]) -> io::Result<Answer> {
    stream.write_all(&frame(request)?).await?;
    Answer::decode(&read(stream).await?).map_err(invalid)
}

async fn read(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let mut message = vec![0; frame_length(length)?];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn invalid(error: crate::protocol::Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
