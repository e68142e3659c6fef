//! The server's side of a guard.

use std::{ffi::OsString, io, path::PathBuf, process::Stdio, time::Duration};

use hypervisor::{Error, ErrorKind, Result};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, ChildStdout, Command},
    time,
};

use super::{
    protocol::{LINE_LIMIT_BYTES, Order, Quiescence, Report, Setup},
    release,
};
use crate::lines::LineReader;

/// How long a guard may take to start, and to answer on top of what it waits for itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the server itself tries to thaw when the guard has died.
const OWN_PATIENCE: Duration = Duration::from_secs(10);

/// A guard that watches over one moment. Dropping it makes it undo what is left to undo, and end.
#[derive(Debug)]
pub(crate) struct Guard {
    orders: ChildStdin,
    reports: LineReader<ChildStdout>,
    agent: Option<PathBuf>,
    owes_thaw: bool,
    owes_resume: bool,
}

/// How a freeze ended.
#[derive(Debug)]
pub(crate) struct Thaw {
    /// How long the file systems were frozen.
    pub(crate) frozen_us: u64,
    /// Why it may have ended before the order to thaw.
    pub(crate) early: Option<String>,
    /// Whether the applications were quiesced.
    pub(crate) quiescence: Quiescence,
}

impl Guard {
    /// Starts a guard and waits until it watches.
    pub(crate) async fn start(command: &[OsString], setup: &Setup) -> Result<Self> {
        let broken = |source: io::Error| {
            Error::new(ErrorKind::Failed, "the guard that thaws the guest when Holdfast dies does not start")
                .with_guidance("the command for it is wrong: this is a defect of the installation")
                .with_source(source)
        };
        let (program, arguments) =
            command.split_first().ok_or_else(|| broken(io::Error::other("there is no command")))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn() // the child outlives this handle, and this process if need be
            .map_err(broken)?;
        let (Some(orders), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(broken(io::Error::other("there are no pipes")));
        };
        let reports = LineReader::new(reports, LINE_LIMIT_BYTES);
        let mut guard =
            Self { orders, reports, agent: setup.agent.clone(), owes_thaw: false, owes_resume: false };
        match guard.exchange(setup, ANSWER_TIMEOUT).await.map_err(broken)? {
            Report::Ready => Ok(guard),
            _ => Err(broken(io::Error::other("it does not say that it is ready"))),
        }
    }

    async fn exchange(&mut self, order: &impl serde::Serialize, timeout: Duration) -> io::Result<Report> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let exchange = async {
            self.orders.write_all(&line).await?;
            let report = self.reports.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok(serde_json::from_slice(&report)?)
        };
        time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Freezes the guest's file systems for at most `limit` and returns how many there are.
    ///
    /// # Errors
    /// Why not, as a clause. The guard goes on trying to thaw what may yet freeze.
    pub(crate) async fn freeze(&mut self, limit: Duration) -> std::result::Result<u64, String> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let order = Order::Freeze { limit_ms };
        self.owes_thaw = true;
        match self.exchange(&order, limit.saturating_add(ANSWER_TIMEOUT)).await {
            Ok(Report::Frozen { file_systems }) => Ok(file_systems),
            Ok(Report::NotFrozen { reason, asked }) => {
                self.owes_thaw = asked;
                Err(reason)
            }
            _ => {
                self.thaw_without_guard().await;
                Err("the guard that was to thaw the guest has died".to_owned())
            }
        }
    }

    /// Thaws the guest.
    pub(crate) async fn thaw(&mut self) -> Thaw {
        if let Ok(Report::Thawed { frozen_us, early, confirmed, quiescence }) =
            self.exchange(&Order::Thaw, ANSWER_TIMEOUT).await
        {
            self.owes_thaw &= !confirmed;
            return Thaw { frozen_us, early, quiescence };
        }
        self.thaw_without_guard().await;
        let reason = "the guard that was to thaw the guest has died".to_owned();
        Thaw { frozen_us: 0, early: Some(reason.clone()), quiescence: Quiescence::Unproven { reason } }
    }

    async fn thaw_without_guard(&mut self) {
        tracing::warn!("the guard has died; thawing the guest without it");
        let Some(agent) = &self.agent else { return };
        match release::thaw(agent, OWN_PATIENCE).await {
            Ok(_) => self.owes_thaw = false,
            Err(error) => tracing::error!(%error, "the guest cannot be thawed"),
        }
    }

    /// Tells the guard that the virtual CPUs are about to stand still.
    pub(crate) async fn pausing(&mut self) -> Result<()> {
        match self.exchange(&Order::Pausing, ANSWER_TIMEOUT).await {
            Ok(Report::Noted { .. }) => {
                self.owes_resume = true;
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Failed, "the guard that was to resume the VM has died")),
        }
    }

    /// Tells the guard that they run again. Returns whether it may have resumed them itself, in the middle of our work.
    pub(crate) async fn resumed(&mut self) -> bool {
        self.owes_resume = false;
        !matches!(self.exchange(&Order::Resumed, ANSWER_TIMEOUT).await, Ok(Report::Noted { expired: false }))
    }

    /// Whether the guest may be frozen on our account: it was asked to freeze, and no thaw was confirmed.
    pub(crate) fn owes_thaw(&self) -> bool {
        self.owes_thaw
    }

    /// Whether the virtual CPUs may stand still on our account.
    pub(crate) fn owes_resume(&self) -> bool {
        self.owes_resume
    }
}
