//! Fixes the moment: freeze, pause, slip in, turn over, resume, thaw.

use std::time::Instant;

use hypervisor::{CapturePhase, CaptureRequest, Error, ErrorKind, Result};
use model::{Consistency, ConsistencyReached, Timestamp};
use serde_json::{Value, json};

use super::{
    bitmaps, consistency, hold,
    plan::{Method, PlannedDisk},
};
use crate::{
    guard::{Guard, Setup, Thaw},
    ledger::Ledger,
    monitor::Monitor,
    names,
    session::Session,
    topology::Device,
};

/// What is known of a moment once it is fixed.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) captured_at: Timestamp,
    pub(super) consistency: ConsistencyReached,
    pub(super) pause_us: Option<u64>,
    pub(super) freeze_us: Option<u64>,
}

/// Fixes the moment on prepared disks. Runs to its end even when the caller is cancelled: nobody may walk away from a guest
/// that stands still.
pub(super) async fn fix(
    session: &Session,
    request: &CaptureRequest,
    disks: &[PlannedDisk],
    ledger: Ledger,
) -> Result<Moment> {
    let fixing = Fixing { session: session.clone(), request: request.clone(), disks: disks.to_vec() };
    let running = tokio::spawn(async move { fixing.run(ledger).await });
    running.await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Failed, "the moment could not be fixed: a defect of Holdfast")
            .with_source(error))
    })
}

struct Fixing {
    session: Session,
    request: CaptureRequest,
    disks: Vec<PlannedDisk>,
}

/// When the disks were slipped in, and how long the CPUs stood still for it.
struct Instantaneous {
    captured_at: Timestamp,
    pause_us: Option<u64>,
}

impl Fixing {
    async fn run(self, mut ledger: Ledger) -> Result<Moment> {
        let _turn = self.session.monitor.turn().await;
        let runs = self.session.monitor.status().await? == "running";
        let freezes = runs && self.request.consistency > Consistency::Crash;
        let path = self.session.ledger()?;
        let owed_before = ledger.frozen;
        ledger.frozen |= freezes && self.session.sockets.agent.is_some();
        ledger.paused = runs;
        let write = |outcome: std::io::Result<()>| {
            outcome.map_err(|source| {
                Error::new(ErrorKind::Failed, "cannot write the ledger").with_source(source)
            })
        };
        write(ledger.write(&path))?;
        let setup = Setup {
            agent: self.session.sockets.agent.clone(),
            monitors: self.session.sockets.monitors_for_others(),
            ledger: path.clone(),
        };
        let mut guard = Guard::start(&self.session.config.guard_command, &setup).await?;
        let moment = self.fix_guarded(&mut guard, runs, freezes).await;
        let thawed = moment.as_ref().is_ok_and(|moment| moment.freeze_us.is_some());
        ledger.frozen = guard.owes_thaw() || owed_before && !thawed;
        ledger.paused = guard.owes_resume();
        write(ledger.write(&path))?;
        drop(guard); // it ends, or goes on with what is still owed
        moment
    }

    async fn fix_guarded(&self, guard: &mut Guard, runs: bool, freezes: bool) -> Result<Moment> {
        let frozen = if freezes {
            self.enter(CapturePhase::Freezing);
            guard.freeze(self.request.freeze_limit).await
        } else {
            Err("the guest does not run".to_owned())
        };
        let asked = self.request.consistency;
        let before = consistency::after_freeze(asked, &frozen, None);
        let hopeless = asked > Consistency::Crash && before.reached == Consistency::Crash;
        let fixed = if hopeless && self.request.strict {
            consistency::insist(true, &before, &self.request.vm.name).map(|()| None)
        } else {
            self.enter(CapturePhase::Fixing);
            self.stand_still(guard, runs).await.map(Some)
        };
        let thaw = match frozen {
            Ok(_) => {
                self.enter(CapturePhase::Thawing);
                Some(guard.thaw().await)
            }
            Err(_) => None,
        };
        let consistency = consistency::after_freeze(asked, &frozen, thaw.as_ref());
        consistency::insist(self.request.strict, &consistency, &self.request.vm.name)?;
        let fixed = fixed?.ok_or_else(|| Error::new(ErrorKind::Failed, "the moment was not fixed"))?;
        Ok(Moment {
            captured_at: fixed.captured_at,
            pause_us: fixed.pause_us,
            freeze_us: thaw.as_ref().map(|thaw: &Thaw| thaw.frozen_us),
            consistency,
        })
    }

    /// Slips the filters in while the virtual CPUs stand still. Whatever goes wrong, a VM that ran runs again.
    async fn stand_still(&self, guard: &mut Guard, runs: bool) -> Result<Instantaneous> {
        let monitor = &self.session.monitor;
        if !runs {
            self.slip_in().await?;
            return Ok(Instantaneous { captured_at: self.session.config.env.clock.now(), pause_us: None });
        }
        guard.pausing().await?;
        if monitor.status().await? != "running" {
            guard.resumed().await; // somebody else has paused the VM: it is theirs to resume
            return Err(self.busy("was paused"));
        }
        let begun = Instant::now();
        let slipped = match monitor.query("stop").await {
            Ok(_) => self.slip_in_paused().await,
            Err(error) => Err(error),
        };
        let captured_at = self.session.config.env.clock.now();
        monitor.query("cont").await?; // else the guard goes on trying
        let pause_us = u64::try_from(begun.elapsed().as_micros()).ok();
        if guard.resumed().await {
            let context = format!(
                "fixing the moment of {} took too long, and the VM was resumed",
                self.request.vm.name
            );
            return Err(Error::new(ErrorKind::Busy, context)
                .with_guidance("try again: the host's disks may be overloaded"));
        }
        slipped?;
        Ok(Instantaneous { captured_at, pause_us })
    }

    /// Slips the filters in, and makes sure that nobody has let the CPUs run meanwhile.
    async fn slip_in_paused(&self) -> Result<()> {
        self.slip_in().await?;
        match self.session.monitor.status().await?.as_str() {
            "paused" => Ok(()),
            _ => Err(self.busy("was resumed")),
        }
    }

    fn busy(&self, what: &str) -> Error {
        let context =
            format!("the VM {} {what} by another program while its moment was fixed", self.request.vm.name);
        Error::new(ErrorKind::Busy, context).with_guidance("try again when that program has ended")
    }

    async fn slip_in(&self) -> Result<()> {
        let monitor = &self.session.monitor;
        let mut actions: Vec<Value> = Vec::new();
        let start = (self.request.chain, self.request.capture_id);
        for (index, planned) in self.disks.iter().enumerate() {
            let baseline = planned.baseline.as_ref().ok().map(String::as_str);
            actions.extend(bitmaps::turn_over(&planned.disk, start, baseline));
            match planned.method {
                Method::Filter => {
                    let disk = &planned.disk;
                    attach(monitor, &disk.device, &disk.root_node, &names::filter(index)).await?;
                }
                Method::Job => actions.push(hold::job_action(index, planned)),
            }
        }
        if actions.is_empty() {
            return Ok(());
        }
        monitor.execute("transaction", json!({"actions": actions})).await.map(|_| ())
    }

    fn enter(&self, phase: CapturePhase) {
        (self.request.on_phase)(phase);
    }
}

/// Moves a device from one node to another. It is asked first where it is: attaching it to the node that it has already
/// aborts QEMU, and moving it away from a node that somebody else has put there would lose what that node does.
pub(super) async fn attach(monitor: &Monitor, device: &Device, from: &str, to: &str) -> Result<()> {
    let now = attached_to(monitor, device).await?;
    if now.as_deref() == Some(to) {
        return Ok(());
    }
    if now.as_deref() != Some(from) {
        let now = now.as_deref().unwrap_or("none");
        let context = format!("the device {} has moved from the node {from} to {now}", device.backend);
        return Err(Error::new(ErrorKind::Busy, context)
            .with_guidance("try again when the program that rearranges the VM's disks has ended"));
    }
    let order = json!({"path": device.qom_path, "property": "drive", "value": to});
    monitor.execute("qom-set", order).await.map(|_| ())
}

async fn attached_to(monitor: &Monitor, device: &Device) -> Result<Option<String>> {
    if !device.named_backend {
        let drive = monitor.property(&device.qom_path, "drive").await?;
        return Ok(drive.as_ref().and_then(Value::as_str).map(str::to_owned));
    }
    let blocks = monitor.query("query-block").await?;
    let block =
        blocks.as_array().into_iter().flatten().find(|block| block["qdev"] == device.backend.as_str());
    Ok(block.and_then(|block| block["inserted"]["node-name"].as_str()).map(str::to_owned))
}
