//! A VM's monitor: commands that fail with errors which name the VM, one connection for all who use it at once.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicUsize},
    time::Duration,
};

use hypervisor::{Error, ErrorKind, Result};
use model::VmName;
use serde_json::{Value, json};
use tokio::{
    sync::{OnceCell, broadcast},
    time::{self, Instant},
};

use crate::qmp::{self, Capabilities, Event, Qmp, Version};

/// The oldest QEMU with everything that a capture needs.
pub(crate) const OLDEST_VERSION: Version = Version { major: 7, minor: 2, micro: 0 };
/// How long a command may take. Commands that wait for the guest's I/O to drain take as long as the host's disks.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a command may take that needs nothing of QEMU's main loop.
const YANK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a condition is looked at again when no event announces it.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The monitor of one VM, or of the process that serves one disk.
#[derive(Debug)]
pub(crate) struct Monitor {
    /// Whose it is, as in "the VM web-1".
    owner: String,
    qmp: Qmp,
    capabilities: Arc<OnceCell<Capabilities>>,
    turn: tokio::sync::Mutex<()>,
    /// Captures for whose sake no disk is hydrated now.
    hydration_pauses: AtomicUsize,
    exports: ExportUsers,
}

/// Who shows disks through QEMU's NBD server.
#[derive(Debug, Default)]
pub(crate) struct ExportUsers {
    /// Held while the server is started and stopped.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Those who need the server now.
    pub(crate) users: AtomicUsize,
}

impl Monitor {
    async fn connect(path: &Path, owner: String, last: &Last) -> Result<Self> {
        let qmp = Qmp::connect(path).await.map_err(|error| describe(&owner, "cannot reach", error))?;
        if qmp.version() < OLDEST_VERSION {
            let context = format!(
                "{owner} runs on QEMU {}, and {}.{} or newer is needed",
                qmp.version(),
                OLDEST_VERSION.major,
                OLDEST_VERSION.minor
            );
            return Err(Error::new(ErrorKind::Unsupported, context)
                .with_guidance("install a newer QEMU, then power-cycle the VM"));
        }
        let same_process = qmp.process_id().is_some() && qmp.process_id() == last.process_id;
        let capabilities = if same_process { last.capabilities.clone() } else { Arc::default() };
        Ok(Self {
            owner,
            qmp,
            capabilities,
            turn: tokio::sync::Mutex::default(),
            hydration_pauses: AtomicUsize::new(0),
            exports: ExportUsers::default(),
        })
    }

    /// The connection itself.
    pub(crate) fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// Waits for the turn to change what QEMU runs. Callers take turns already, but a caller that was cancelled leaves work
    /// behind that goes on.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Captures for whose sake no disk is hydrated now.
    pub(crate) fn hydration_pauses(&self) -> &AtomicUsize {
        &self.hydration_pauses
    }

    /// Who shows disks through QEMU's NBD server.
    pub(crate) fn exports(&self) -> &ExportUsers {
        &self.exports
    }

    /// Cuts the connections of nodes to NBD servers, so that nothing waits for those any longer. Out of band where the monitor
    /// has that: the main loop may hang for their sake. A node whose server has gone already is not among them.
    pub(crate) async fn cut_nodes(&self, is_wanted: impl Fn(&str) -> bool) -> qmp::Result<()> {
        let known = self.execute_at_once("query-yank", json!({})).await?;
        let wanted = |instance: &&Value| {
            instance["type"] == "block-node" && instance["node-name"].as_str().is_some_and(&is_wanted)
        };
        let instances: Vec<_> = known.as_array().into_iter().flatten().filter(wanted).collect();
        if !instances.is_empty() {
            self.execute_at_once("yank", json!({ "instances": instances })).await?;
        }
        Ok(())
    }

    async fn execute_at_once(&self, command: &str, arguments: Value) -> qmp::Result<Value> {
        if self.qmp.is_out_of_band() {
            return self.qmp.execute_out_of_band(command, arguments, YANK_TIMEOUT).await;
        }
        self.qmp.execute(command, arguments, YANK_TIMEOUT).await
    }

    /// QEMU's version.
    pub(crate) fn version(&self) -> Version {
        self.qmp.version()
    }

    /// What this QEMU can do. Asked once in the life of a QEMU: the answer keeps its main loop busy for a while.
    pub(crate) async fn capabilities(&self) -> Result<&Capabilities> {
        let ask = || async { Ok(Capabilities::from_schema(&self.query("query-qmp-schema").await?)) };
        self.capabilities.get_or_try_init(ask).await
    }

    /// Runs a command.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`] with QEMU's words, [`ErrorKind::Gone`] when QEMU ended, [`ErrorKind::Unreachable`] when it hangs.
    pub(crate) async fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let answer = self.qmp.execute(command, arguments, COMMAND_TIMEOUT).await;
        answer.map_err(|error| describe(&self.owner, "QEMU failed for", error))
    }

    /// Runs a command without arguments.
    pub(crate) async fn query(&self, command: &str) -> Result<Value> {
        self.execute(command, json!({})).await
    }

    /// A property of QEMU's object tree; none where the object does not have it.
    pub(crate) async fn property(&self, path: &str, name: &str) -> Result<Option<Value>> {
        match self.qmp.execute("qom-get", json!({"path": path, "property": name}), COMMAND_TIMEOUT).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == qmp::ErrorKind::Refused => Ok(None),
            Err(error) => Err(describe(&self.owner, "QEMU failed for", error)),
        }
    }

    /// QEMU's own word for what the VM does: "running", "paused", "prelaunch" and others.
    pub(crate) async fn status(&self) -> Result<String> {
        let status = self.query("query-status").await?;
        Ok(status["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Starts to wait for something that QEMU does in its own time.
    pub(crate) fn wait(&self, timeout: Duration) -> Wait {
        Wait { events: self.qmp.events(), deadline: Instant::now() + timeout }
    }
}

/// Waiting for something that QEMU does in its own time: a look, [`Wait::again`], another look.
#[derive(Debug)]
pub(crate) struct Wait {
    events: broadcast::Receiver<Event>,
    deadline: Instant,
}

impl Wait {
    /// Waits for an event, or a moment where none announces the change. Returns whether there is time for another look.
    pub(crate) async fn again(&mut self) -> bool {
        let _ = time::timeout(RECHECK_INTERVAL, self.events.recv()).await; // an event, a gap, or a moment: look again
        Instant::now() < self.deadline
    }
}

fn describe(owner: &str, what: &str, error: qmp::Error) -> Error {
    let kind = match error.kind() {
        qmp::ErrorKind::Absent | qmp::ErrorKind::Silent | qmp::ErrorKind::Protocol => ErrorKind::Unreachable,
        qmp::ErrorKind::Closed => ErrorKind::Gone,
        qmp::ErrorKind::Refused => ErrorKind::Failed,
    };
    let described = Error::new(kind, format!("{what} {owner}: {error}"));
    let described = match error.kind() {
        qmp::ErrorKind::Absent => {
            described.with_guidance("check that the VM runs and that the socket's path is right")
        }
        qmp::ErrorKind::Refused if error.to_string().contains("Permission denied") => described
            .with_guidance(
                "let the user that runs this QEMU into Holdfast's runtime and scratch directories",
            ),
        qmp::ErrorKind::Silent => {
            described.with_guidance("give Holdfast a monitor of its own: QEMU serves one client on each")
        }
        _ => described,
    };
    described.with_source(error)
}

/// The monitors that are open now. A monitor takes one client at a time, so all users in this process share it.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    known: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<Last>>>>,
}

/// The last connection to a monitor, and what was learnt through it.
#[derive(Debug, Default)]
struct Last {
    monitor: Weak<Monitor>,
    process_id: Option<i32>,
    capabilities: Arc<OnceCell<Capabilities>>,
}

impl Monitors {
    /// The open monitor of a VM at this path, or a new connection to it.
    pub(crate) async fn attach(&self, path: &Path, vm: &VmName) -> Result<Arc<Monitor>> {
        self.attach_to(path, || format!("the VM {vm}")).await
    }

    /// The same for whatever has a monitor; `owner` says in errors what that is.
    pub(crate) async fn attach_to(
        &self,
        path: &Path,
        owner: impl FnOnce() -> String,
    ) -> Result<Arc<Monitor>> {
        let last = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(path.to_owned()).or_default().clone()
        };
        let mut last = last.lock().await;
        if let Some(monitor) = last.monitor.upgrade()
            && !monitor.qmp.is_closed()
        {
            return Ok(monitor);
        }
        let monitor = Arc::new(Monitor::connect(path, owner(), &last).await?);
        *last = Last {
            monitor: Arc::downgrade(&monitor),
            process_id: monitor.qmp.process_id(),
            capabilities: monitor.capabilities.clone(),
        };
        Ok(monitor)
    }
}
