//! One connection to a tap: one question at a time.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use tokio::{net::UnixStream, time};

use crate::{
    Error, ErrorKind, Result,
    wire::{
        Answer, Ask, PARTS_BYTES_MAX, PROTOCOL,
        frame::{self, Limits},
    },
};

/// How long a tap may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// What a tap may answer. A status tells of 4096 disks at most.
const LIMITS: Limits = Limits { head_bytes: 8 << 20, body_bytes: PARTS_BYTES_MAX as usize + (4 << 20) };

/// One connection to a tap.
pub(super) struct Connection {
    stream: UnixStream,
    socket: PathBuf,
    process_id: u32,
    /// Whether no answer is owed.
    is_in_order: bool,
}

impl Connection {
    pub(super) async fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => gone(socket),
            _ => Error::from_io(format!("connecting to the tap at {}", socket.display()), error),
        })?;
        let mut connection = Self { stream, socket: socket.to_owned(), process_id: 0, is_in_order: true };
        match connection.ask(&Ask::Hello { protocol: PROTOCOL }, &[], Some(HELLO_TIMEOUT)).await?.0 {
            Answer::Hello { process_id, .. } => Ok(Self { process_id, ..connection }),
            _ => Err(Error::protocol("the tap does not say who it is")),
        }
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process_id
    }

    /// Whether another question can be asked.
    pub(super) fn is_open(&self) -> bool {
        // Nothing comes unasked but the end.
        let is_silent =
            matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        self.is_in_order && is_silent
    }

    /// Asks, and waits for the answer: so long at most, where it says so.
    pub(super) async fn ask(
        &mut self,
        ask: &Ask,
        body: &[u8],
        timeout: Option<Duration>,
    ) -> Result<(Answer, Bytes)> {
        self.is_in_order = false;
        let exchange = async {
            frame::send(&mut self.stream, ask, &[body]).await?;
            let coming = frame::coming(&mut self.stream, LIMITS).await?;
            let coming = coming.ok_or(io::ErrorKind::UnexpectedEof)?;
            frame::rest::<_, Answer>(&mut self.stream, coming).await
        };
        let exchanged = match timeout {
            None => exchange.await,
            Some(timeout) => time::timeout(timeout, exchange).await.map_err(|_| {
                let context = format!("the tap at {} does not answer", self.socket.display());
                Error::new(ErrorKind::Unresponsive, context)
            })?,
        };
        let (answer, body) = exchanged.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                gone(&self.socket).with_source(error)
            }
            io::ErrorKind::InvalidData => {
                Error::protocol("the tap says what nobody understands").with_source(error)
            }
            _ => Error::from_io("talking to the tap", error),
        })?;
        self.is_in_order = true;
        match answer {
            Answer::Failed(failure) => Err(failure.into()),
            answer => Ok((answer, body.into())),
        }
    }
}

pub(super) fn gone(socket: &Path) -> Error {
    Error::new(ErrorKind::Gone, format!("there is no tap at {}, or it has ended", socket.display()))
        .with_guidance("launch it again: a new epoch begins")
}
