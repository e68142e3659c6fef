//! The control socket: who may ask, and in which frames.

mod answers;

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use tokio::{
    net::{UnixListener, UnixSocket, UnixStream},
    sync::{Semaphore, SemaphorePermit},
    task::JoinSet,
    time,
};

use crate::{
    Error, ErrorKind, Result,
    tap::Tap,
    wire::{
        Answer, Ask, COPY_BYTES_MAX, Failure, PROTOCOL,
        frame::{self, Limits},
        split,
    },
};
use answers::Session;

/// Connections at once; more wait. Each copy that is under way and each long wait has one.
const CONNECTIONS_MAX: usize = 64;

/// Connections that the kernel lets wait.
const BACKLOG: u32 = 128;

/// How long a client may take to say what it speaks, and to send the rest of a frame that it has begun.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// How long accepting rests after it failed, as it does while there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What may be asked. Only a copy has a body.
const LIMITS: Limits = Limits { head_bytes: 64 << 10, body_bytes: COPY_BYTES_MAX as usize };

/// Listens on the control socket, in the place of one that a dead process left. The caller has the journal's lock.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    let bound = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // Nobody can connect before it listens.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| Error::from_io(format!("listening on {}", path.display()), error))
}

/// Answers until it is dropped, which cuts all connections.
pub(crate) async fn listen(tap: Arc<Tap>, listener: UnixListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let tap = Arc::clone(&tap);
                connections.spawn(async move {
                    // Who breaks the protocol is cut off; nobody else minds.
                    if let Err(error) = serve(&tap, stream).await {
                        tracing::debug!(%error, "a control connection has ended");
                    }
                    drop(place);
                });
            }
            Err(_) => time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(tap: &Arc<Tap>, mut stream: UnixStream) -> io::Result<()> {
    if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    time::timeout(FRAME_TIMEOUT, hello(&mut stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let mut session = Session::new(Arc::clone(tap));
    while let Some(coming) = frame::coming(&mut stream, LIMITS).await? {
        let memory = memory(&tap.copy_memory, coming.body_bytes).await;
        let rest = time::timeout(FRAME_TIMEOUT, frame::rest::<_, Ask>(&mut stream, coming));
        let (ask, body) = rest.await.map_err(|_| io::ErrorKind::TimedOut)??;
        let is_last = matches!(ask, Ask::ShutDown);
        let answered = tokio::select! {
            answered = session.answer(ask, &body) => answered,
            // Nothing is asked before the answer: who says something has gone.
            () = leaves(&stream) => return Ok(()),
        };
        drop((memory, body));
        if is_last && answered.is_ok() {
            // The end of the connection is the answer.
            return Ok(());
        }
        let (answer, parts) = answered.unwrap_or_else(|error| (Answer::Failed(Failure::from(&error)), None));
        match &parts {
            None => frame::send(&mut stream, &answer, &[]).await?,
            Some(parts) => {
                let (heads, pieces) = split(&parts.parts);
                frame::send(&mut stream, &Answer::Parts(heads), &pieces).await?;
            }
        }
    }
    Ok(())
}

/// Memory for so many bytes, once there is any.
async fn memory(semaphore: &Semaphore, bytes: usize) -> Option<SemaphorePermit<'_>> {
    // The bound is on frames. The semaphore is never closed.
    semaphore.acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX)).await.ok()
}

async fn hello(stream: &mut UnixStream) -> io::Result<()> {
    let coming = frame::coming(stream, Limits { body_bytes: 0, ..LIMITS }).await?;
    let Some(coming) = coming else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    let (ask, _) = frame::rest::<_, Ask>(stream, coming).await?;
    match ask {
        Ask::Hello { protocol: PROTOCOL } => {
            let answer = Answer::Hello { protocol: PROTOCOL, process_id: std::process::id() };
            frame::send(stream, &answer, &[]).await
        }
        _ => {
            let context = format!("the tap speaks version {PROTOCOL} of its protocol");
            let guidance = format!("end the process {}; it is launched again", std::process::id());
            let error = Error::new(ErrorKind::UnsupportedVersion, context).with_guidance(guidance);
            frame::send(stream, &Answer::Failed(Failure::from(&error)), &[]).await?;
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

/// Waits until the client leaves, or says what it may not say now.
async fn leaves(stream: &UnixStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}
