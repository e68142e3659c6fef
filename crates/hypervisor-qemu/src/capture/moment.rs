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
        (ledger.frozen, ledger.paused) = (freezes && self.session.sockets.agent.is_some(), runs);
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
        drop(guard); // it ends, or goes on with a thaw that is still owed
        write(ledger.write_released(&path))?;
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
        let begun = Instant::now();
        let slipped = match monitor.query("stop").await {
            Ok(_) => self.slip_in().await,
            Err(error) => Err(error),
        };
        let captured_at = self.session.config.env.clock.now();
        let resumed = monitor.query("cont").await;
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
        resumed?;
        Ok(Instantaneous { captured_at, pause_us })
    }

    async fn slip_in(&self) -> Result<()> {
        let monitor = &self.session.monitor;
        let mut actions: Vec<Value> = Vec::new();
        for (index, planned) in self.disks.iter().enumerate() {
            let baseline = planned.baseline.as_ref().ok().map(String::as_str);
            actions.extend(bitmaps::turn_over(&planned.disk, self.request.capture_id, baseline));
            match planned.method {
                Method::Filter => attach(monitor, &planned.disk.device, &names::filter(index)).await?,
                Method::Job => actions.push(hold::job_action(index, planned)),
            }
        }
        monitor.execute("transaction", json!({"actions": actions})).await.map(|_| ())
    }

    fn enter(&self, phase: CapturePhase) {
        (self.request.on_phase)(phase);
    }
}

/// Attaches a device to another node. Attaching it to the node that it has already aborts QEMU, so it is asked first.
pub(super) async fn attach(monitor: &Monitor, device: &Device, node: &str) -> Result<()> {
    if attached_to(monitor, device).await?.as_deref() == Some(node) {
        return Ok(());
    }
    let order = json!({"path": device.qom_path, "property": "drive", "value": node});
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
