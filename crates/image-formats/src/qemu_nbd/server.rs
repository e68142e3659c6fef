//! A `qemu-nbd` of our own.

use std::{ffi::OsString, io, process::ExitStatus, time::Duration};

use nbd::Endpoint;
use tokio::{
    process::Child,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    Error, ErrorKind, Result,
    private_folder::PrivateFolder,
    qemu_img::{command, read_all, spawn_error, tool_error},
};

/// How long the server may take until it listens: opening an image can mean checking all its metadata.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between attempts to connect, as nothing tells when the server listens.
const START_RETRY_DELAY: Duration = Duration::from_millis(3);

/// How long the server may take to write what is left and end.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// A `qemu-nbd` of our own. It ends by itself when its last client disconnects, so also when this process is killed;
/// dropping this kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    messages: JoinHandle<Vec<u8>>,
    doing: String,
}

impl Server {
    /// Starts `qemu-nbd` on a private socket and connects to it. `doing` names the operation in errors.
    pub(crate) async fn start<C, F, T>(doing: &str, arguments: Vec<OsString>, connect: C) -> Result<(Self, T)>
    where
        C: Fn(Endpoint) -> F,
        F: Future<Output = image::Result<T>>,
    {
        let folder =
            PrivateFolder::create().map_err(|error| Error::from_io(format!("{doing}: a folder"), error))?;
        let socket = folder.path().join("socket");
        let mut command = command("qemu-nbd");
        command.arg("--socket").arg(&socket).args(arguments);
        let mut child = command.spawn().map_err(|error| spawn_error(doing, "qemu-nbd", error))?;
        let messages = tokio::spawn(read_all(child.stderr.take()));
        let mut server = Self { child, messages, doing: doing.to_owned() };
        let endpoint = Endpoint::Unix(socket);
        match timeout(START_TIMEOUT, server.wait_for(|| connect(endpoint.clone()))).await {
            Ok(Ok(client)) => Ok((server, client)),
            Ok(Err(None)) => Err(server.failure().await),
            Ok(Err(Some(error))) => Err(Error::new(ErrorKind::Failed, server.doing).with_source(error)),
            Err(_) => Err(Error::new(
                ErrorKind::Failed,
                format!("{doing}: qemu-nbd did not listen in {START_TIMEOUT:?}"),
            )),
        }
    }

    /// Connects as soon as the server listens; fails with nothing when it ends instead.
    async fn wait_for<F, T>(
        &mut self,
        connect: impl Fn() -> F,
    ) -> std::result::Result<T, Option<image::Error>>
    where
        F: Future<Output = image::Result<T>>,
    {
        loop {
            match connect().await {
                Ok(client) => return Ok(client),
                // No socket yet, or nobody listens on it yet.
                Err(error) if matches!(error.kind(), image::ErrorKind::Gone | image::ErrorKind::Io) => {}
                Err(error) => return Err(Some(error)),
            }
            tokio::select! {
                _ = self.child.wait() => return Err(None),
                () = sleep(START_RETRY_DELAY) => {}
            }
        }
    }

    /// Waits for the end that follows the last client's disconnect.
    pub(crate) async fn ended(mut self) -> Result<()> {
        let context = || format!("{}: waiting for qemu-nbd", self.doing);
        let status: io::Result<ExitStatus> = timeout(END_TIMEOUT, self.child.wait())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match status.map_err(|error| Error::from_io(context(), error))?.success() {
            true => Ok(()),
            false => Err(self.failure().await),
        }
    }

    /// The error of a server that ended, in its own words.
    async fn failure(self) -> Error {
        tool_error(&self.doing, &self.messages.await.unwrap_or_default())
    }
}
