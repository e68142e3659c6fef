//! One connection to a monitor: commands with ids, a time limit on each, events to whoever listens.

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{Error, ErrorKind, Result};
use crate::lines::LineReader;

/// The longest line taken from a monitor; the schema of a big QEMU is below 1 MiB.
const LINE_LIMIT_BYTES: usize = 64 << 20;
/// Events kept for a listener that falls behind; it then learns that it missed some.
const EVENTS_KEPT: usize = 1024;
/// Commands that QEMU may have of us at once. It stops reading a monitor with eight that wait, and would then not see one that
/// comes out of band to free it.
const IN_BAND_MAX: usize = 4;
/// How long to wait for the greeting. A monitor that already has a client greets nobody else.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// A version of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) micro: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// Something that happened in QEMU.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// The event's name, such as `BLOCK_EXPORT_DELETED`.
    pub(crate) name: String,
    /// What comes with it; null when nothing does.
    pub(crate) data: Value,
}

/// A connection to a monitor. Commands may be sent from many tasks at once; dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Qmp {
    version: Version,
    out_of_band: bool,
    process_id: Option<i32>,
    next_id: AtomicU64,
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    in_band: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// A command that QEMU has and has not answered, whether somebody still waits for it or not.
#[derive(Debug)]
struct Pending {
    reply: oneshot::Sender<Value>,
    _place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Shared {
    pending: Mutex<HashMap<u64, Pending>>,
    events: broadcast::Sender<Event>,
    closed: CancellationToken,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.closed.cancel();
        self.pending().clear();
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Qmp {
    /// Connects, reads the greeting and negotiates out-of-band execution where the monitor offers it.
    ///
    /// # Errors
    /// [`ErrorKind::Absent`] when nobody listens, [`ErrorKind::Silent`] when another client holds the monitor.
    pub(crate) async fn connect(path: &Path) -> Result<Self> {
        match time::timeout(GREETING_TIMEOUT, Self::greet(path)).await {
            Ok(connected) => connected,
            Err(_) => Err(Error::new(
                ErrorKind::Silent,
                format!(
                    "the monitor {} does not greet: another program holds it, or QEMU hangs",
                    path.display()
                ),
            )),
        }
    }

    async fn greet(path: &Path) -> Result<Self> {
        let context = || format!("the monitor {}", path.display());
        let stream = UnixStream::connect(path).await.map_err(|source| Error::from_io(context(), source))?;
        let process_id = stream.peer_cred().ok().and_then(|credentials| credentials.pid());
        let (read, write) = stream.into_split();
        let mut lines = LineReader::new(read, LINE_LIMIT_BYTES);
        let line = lines.next().await.map_err(|source| Error::from_io(context(), source))?;
        let line = line.ok_or_else(|| Error::new(ErrorKind::Closed, format!("{} hung up", context())))?;
        let greeting: Value = serde_json::from_slice(&line).unwrap_or_default();
        let version = read_version(&greeting)
            .ok_or_else(|| Error::new(ErrorKind::Protocol, format!("{} does not speak QMP", context())))?;
        let offered = greeting["QMP"]["capabilities"].as_array();
        let out_of_band = offered.is_some_and(|offered| offered.contains(&json!("oob")));

        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_KEPT),
            closed: CancellationToken::new(),
        });
        let (outgoing, queue) = mpsc::unbounded_channel();
        tokio::spawn(write_lines(write, queue, shared.clone()));
        tokio::spawn(read_lines(lines, shared.clone()));
        let in_band = Arc::new(Semaphore::new(IN_BAND_MAX));
        let qmp =
            Self { version, out_of_band, process_id, next_id: AtomicU64::new(1), outgoing, in_band, shared };
        let enable = if out_of_band { json!(["oob"]) } else { json!([]) };
        qmp.execute("qmp_capabilities", json!({ "enable": enable }), GREETING_TIMEOUT).await?;
        Ok(qmp)
    }

    /// QEMU's version.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Whether commands can be run out of band.
    pub(crate) fn is_out_of_band(&self) -> bool {
        self.out_of_band
    }

    /// The process on the other side of the socket.
    pub(crate) fn process_id(&self) -> Option<i32> {
        self.process_id
    }

    /// Whether the connection has ended; with it, usually, QEMU.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled()
    }

    /// Waits until the connection ends.
    pub(crate) async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Runs a command and returns what it returned. Commands run in the order in which they were sent. A command that
    /// timed out may still run later.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with QEMU's words, [`ErrorKind::Silent`] after `timeout`, [`ErrorKind::Closed`].
    pub(crate) async fn execute(&self, command: &str, arguments: Value, timeout: Duration) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        let Ok(place) = time::timeout_at(deadline, Arc::clone(&self.in_band).acquire_owned()).await else {
            let context = format!("{command}: QEMU has not answered earlier commands within {timeout:?}");
            return Err(Error::new(ErrorKind::Silent, context));
        };
        self.exchange("execute", command, arguments, (place.ok(), deadline)).await
    }

    /// Runs a command out of band: it is served even while QEMU's main loop hangs in a command before it. Only some
    /// commands can, such as `yank`.
    ///
    /// # Errors
    /// As [`Qmp::execute`], and [`ErrorKind::Refused`] when the monitor did not offer it.
    pub(crate) async fn execute_out_of_band(
        &self,
        command: &str,
        arguments: Value,
        timeout: Duration,
    ) -> Result<Value> {
        if !self.out_of_band {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("{command}: the monitor has no out-of-band mode"),
            ));
        }
        self.exchange("exec-oob", command, arguments, (None, Instant::now() + timeout)).await
    }

    async fn exchange(
        &self,
        verb: &str,
        command: &str,
        arguments: Value,
        (place, deadline): (Option<OwnedSemaphorePermit>, Instant),
    ) -> Result<Value> {
        let closed = || Error::new(ErrorKind::Closed, format!("{command}: QEMU closed the monitor"));
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.shared.pending().insert(id, Pending { reply, _place: place });
        if self.is_closed() {
            self.shared.pending().remove(&id);
            return Err(closed());
        }
        let mut line = json!({ verb: command, "id": id, "arguments": arguments }).to_string().into_bytes();
        line.push(b'\n');
        self.outgoing.send(line).map_err(|_| closed())?;
        let Ok(answer) = time::timeout_at(deadline, answer).await else {
            return Err(Error::new(ErrorKind::Silent, format!("{command}: no answer in time")));
        };
        let mut answer = answer.map_err(|_| closed())?;
        match answer.get("error") {
            None => Ok(answer.get_mut("return").map(Value::take).unwrap_or_default()),
            Some(error) => {
                let words = error["desc"].as_str().unwrap_or("refused without a reason");
                Err(Error::new(ErrorKind::Refused, format!("{command}: {words}")))
            }
        }
    }
}

fn read_version(greeting: &Value) -> Option<Version> {
    let version = &greeting["QMP"]["version"]["qemu"];
    let part = |name: &str| version[name].as_u64();
    Some(Version { major: part("major")?, minor: part("minor")?, micro: part("micro")? })
}

async fn write_lines(
    mut write: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    shared: Arc<Shared>,
) {
    while let Some(line) = queue.recv().await {
        if write.write_all(&line).await.is_err() {
            break;
        }
    }
    shared.close();
}

async fn read_lines(mut lines: LineReader<OwnedReadHalf>, shared: Arc<Shared>) {
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            () = shared.closed.cancelled() => break,
        };
        let Ok(Some(line)) = line else { break };
        let Ok(mut message) = serde_json::from_slice::<Value>(&line) else { break };
        if let Some(name) = message["event"].as_str() {
            let name = name.to_owned();
            let data = message.get_mut("data").map(Value::take).unwrap_or_default();
            let event = Event { name, data };
            let _ = shared.events.send(event); // nobody needs to listen
        } else if let Some(id) = message["id"].as_u64()
            && let Some(pending) = shared.pending().remove(&id)
        {
            let _ = pending.reply.send(message); // the caller may have given up
        }
    }
    shared.close();
}
