//! The guard's own side: what the process does.

use std::{io, process::ExitCode, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{self, Instant},
};

use super::{
    MARKER,
    protocol::{LINE_LIMIT_BYTES, Order, Quiescence, Report, Setup},
    release,
};
use crate::{agent::Agent, ledger::Ledger, lines::LineReader};

/// How long to wait for an agent before the freeze.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a small command of the agent may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the virtual CPUs may stand still before the guard resumes them by itself.
const PAUSE_LIMIT: Duration = Duration::from_secs(10);
/// How long to go on trying to thaw a guest whose agent hangs, and to resume one whose monitor does.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pause before another try to resume.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes read of the marker.
const MARKER_LIMIT_BYTES: u32 = 4096;

/// Runs a guard: orders on standard input, reports on standard output. The body of the program's hidden subcommand.
#[must_use]
pub fn run() -> ExitCode {
    // Out of reach of Ctrl-C and of signals to the server's group. Fails only for the leader of a group, who is out of reach.
    let _ = rustix::process::setsid();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let outcome = runtime.block_on(watch(tokio::io::stdin(), tokio::io::stdout()));
    runtime.shutdown_background(); // a read of standard input may still be waiting
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Obeys orders until they end or a signal comes, then undoes what is left to undo.
pub(super) async fn watch(
    orders: impl AsyncRead + Unpin,
    reports: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut orders = LineReader::new(orders, LINE_LIMIT_BYTES);
    let Some(setup) = orders.next().await? else { return Ok(()) };
    let mut watch = Watch::new(serde_json::from_slice(&setup)?, reports);
    watch.report(&Report::Ready).await?;
    loop {
        let deadline = watch.deadline();
        tokio::select! {
            line = orders.next() => match line {
                Ok(Some(line)) => watch.obey(serde_json::from_slice(&line)?).await,
                Ok(None) | Err(_) => break,
            },
            () = sleep_until(deadline) => watch.expire().await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => break,
        }
    }
    watch.release().await;
    Ok(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

struct Watch<W> {
    setup: Setup,
    reports: W,
    freeze: Option<Freeze>,
    /// The report of a thaw that came before its order.
    thawed_early: Option<Report>,
    pause_deadline: Option<Instant>,
    resumed_early: bool,
    late_thaw: Option<JoinHandle<()>>,
}

struct Freeze {
    agent: Agent,
    begun: Instant,
    deadline: Instant,
    windows: bool,
    marker: Option<Vec<u8>>,
}

impl<W: AsyncWrite + Unpin> Watch<W> {
    fn new(setup: Setup, reports: W) -> Self {
        Self {
            setup,
            reports,
            freeze: None,
            thawed_early: None,
            pause_deadline: None,
            resumed_early: false,
            late_thaw: None,
        }
    }

    async fn report(&mut self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        self.reports.write_all(&line).await?;
        self.reports.flush().await
    }

    fn deadline(&self) -> Option<Instant> {
        let freeze = self.freeze.as_ref().map(|freeze| freeze.deadline);
        freeze.into_iter().chain(self.pause_deadline).min()
    }

    async fn obey(&mut self, order: Order) {
        let report = match order {
            Order::Freeze { limit_ms } => match self.freeze(Duration::from_millis(limit_ms)).await {
                Ok(file_systems) => Report::Frozen { file_systems },
                Err((reason, asked)) => Report::NotFrozen { reason, asked },
            },
            Order::Thaw => self.thaw(None).await,
            Order::Pausing => {
                self.pause_deadline = Some(Instant::now() + PAUSE_LIMIT);
                Report::Noted { expired: false }
            }
            Order::Resumed => {
                self.pause_deadline = None;
                Report::Noted { expired: self.resumed_early }
            }
        };
        let _ = self.report(&report).await; // a server that is gone shows as the end of orders
    }

    /// Freezes; or why not, and whether the guest was asked to.
    async fn freeze(&mut self, limit: Duration) -> Result<u64, (String, bool)> {
        let path = self.setup.agent.clone();
        let path = path.ok_or_else(|| ("the VM has no channel for a guest agent".to_owned(), false))?;
        let connected = Agent::connect(&path, CONNECT_TIMEOUT).await;
        let mut agent = connected.map_err(|error| (error.to_string(), false))?;
        let windows = agent.is_windows(COMMAND_TIMEOUT).await;
        let marker = agent.read_file(MARKER, MARKER_LIMIT_BYTES, COMMAND_TIMEOUT).await.ok();
        let begun = Instant::now();
        match agent.freeze(limit).await {
            Ok(file_systems) => {
                self.freeze = Some(Freeze { agent, begun, deadline: begun + limit, windows, marker });
                Ok(file_systems)
            }
            Err(error) => {
                drop(agent); // its channel takes one client
                self.thaw_later();
                Err((error.to_string(), true))
            }
        }
    }

    /// Ends the freeze; `early` says why, when nobody has ordered it.
    async fn thaw(&mut self, early: Option<String>) -> Report {
        let Some(mut freeze) = self.freeze.take() else {
            let quiescence = Quiescence::Unproven { reason: "nothing was frozen".to_owned() };
            let early = Some("nothing was frozen".to_owned());
            let nothing = Report::Thawed { frozen_us: 0, early, confirmed: false, quiescence };
            return self.thawed_early.take().unwrap_or(nothing);
        };
        let thawed = freeze.agent.thaw(COMMAND_TIMEOUT).await;
        let frozen_us = u64::try_from(freeze.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        match thawed {
            Ok(thawed) => {
                note_thawed(&self.setup);
                let nothing =
                    || "there was nothing left to thaw: somebody else had thawed the guest".to_owned();
                let early = early.or_else(|| (thawed == 0).then(nothing));
                let quiescence = freeze.quiescence().await;
                Report::Thawed { frozen_us, early, confirmed: true, quiescence }
            }
            Err(error) => {
                drop(freeze);
                self.thaw_later();
                let reason = format!("the guest agent has not answered since the freeze: {error}");
                let early = early.or_else(|| Some(reason.clone()));
                let quiescence = Quiescence::Unproven { reason };
                Report::Thawed { frozen_us, early, confirmed: false, quiescence }
            }
        }
    }

    /// Goes on trying to thaw: an agent that hangs while it freezes will have frozen when it comes back.
    fn thaw_later(&mut self) {
        let setup = self.setup.clone();
        self.late_thaw = Some(tokio::spawn(async move {
            if let Some(agent) = &setup.agent
                && release::thaw(agent, PATIENCE).await.is_ok()
            {
                note_thawed(&setup);
            }
        }));
    }

    /// A limit has passed. A guest whose CPUs stand still cannot thaw, so it is resumed first.
    async fn expire(&mut self) {
        if self.pause_deadline.is_some() {
            let resumed = release::resume(&self.setup.monitors, Duration::ZERO).await.is_ok();
            self.resumed_early |= resumed;
            self.pause_deadline = (!resumed).then(|| Instant::now() + RETRY_INTERVAL);
        }
        if self.freeze.as_ref().is_some_and(|freeze| freeze.deadline <= Instant::now()) {
            let report = self.thaw(Some("the freeze limit passed".to_owned())).await;
            self.thawed_early = Some(report);
        }
    }

    /// Undoes everything: nobody gives orders any more.
    async fn release(mut self) {
        if self.pause_deadline.is_some() && release::resume(&self.setup.monitors, PATIENCE).await.is_ok() {
            note(&self.setup, |ledger| ledger.paused = false);
        }
        if self.freeze.is_some() {
            self.thaw(None).await;
        }
        if let Some(late_thaw) = self.late_thaw {
            let _ = late_thaw.await; // it says nothing
        }
    }
}

impl Freeze {
    /// Whether the freeze that has just ended had quiesced the guest's applications.
    async fn quiescence(&mut self) -> Quiescence {
        if self.windows {
            return Quiescence::Proven;
        }
        let reason = match self.agent.read_file(MARKER, MARKER_LIMIT_BYTES, COMMAND_TIMEOUT).await {
            Ok(marker) if !marker.is_empty() && Some(&marker) != self.marker.as_ref() => {
                return Quiescence::Proven;
            }
            Ok(_) => format!(
                "the guest's freeze hook left nothing new in {MARKER}: it is not installed, or it failed"
            ),
            Err(error) => format!("no freeze hook of the guest shows its success in {MARKER} ({error})"),
        };
        Quiescence::Unproven { reason }
    }
}

fn note_thawed(setup: &Setup) {
    note(setup, |ledger| ledger.frozen = false);
}

fn note(setup: &Setup, change: impl FnOnce(&mut Ledger)) {
    if let Err(error) = Ledger::amend(&setup.ledger, change) {
        tracing::warn!(%error, "the ledger cannot be written");
    }
}
