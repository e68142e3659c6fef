//! Files inside images: machines that read them stay up for a while, so that the next look needs no start.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use api::{Code, VolumeStateView, VolumeView};
use files::{Config, FileTree as _, MicroVm, Passphrase, VolumeState};
use model::ByteCount;
use tokio::{sync::OnceCell, time::sleep};

use crate::{
    failure::{Failure, Result},
    images::{Key, Source},
    site::Site,
};

/// Machines at once: a comparison needs two.
const MACHINES_MAX: usize = 4;

/// How long a machine stays that nobody asks any more.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// The machines of a site.
#[derive(Debug)]
pub(crate) struct FileMachines {
    config: Config,
    machines: Mutex<BTreeMap<Key, Machine>>,
}

/// A machine, and when it was asked for last.
#[derive(Debug)]
struct Machine {
    started: Arc<OnceCell<Arc<MicroVm>>>,
    used_at: Instant,
}

impl FileMachines {
    /// No machines yet. What those of a dead server have left is removed.
    pub(crate) fn new(config: Config) -> Self {
        for entry in std::fs::read_dir(&config.runtime_directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(files::DIRECTORY_PREFIX) {
                // One that stays is in nobody's way.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Self { config, machines: Mutex::default() }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Lets go of all machines: those that answer somebody end when they have.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a machine, which may have to be started in it. `anew` takes the place of one that is there.
    fn place(&self, key: &Key, anew: bool) -> Result<Arc<OnceCell<Arc<MicroVm>>>> {
        let mut machines = self.lock();
        let is_dead = |machine: &Machine| machine.started.get().is_some_and(|machine| !machine.is_alive());
        let is_replaced = |found: &Key| anew && found == key;
        machines.retain(|found, machine| !is_dead(machine) && !is_replaced(found));
        if !machines.contains_key(key) && machines.len() >= MACHINES_MAX {
            let idle = machines.iter().filter(|(_, machine)| is_idle(machine));
            let oldest = idle.min_by_key(|(_, machine)| machine.used_at).map(|(key, _)| key.clone());
            let oldest = oldest.ok_or_else(|| {
                Failure::conflict(format!("the files of {MACHINES_MAX} images are being read already"))
                    .with_hint("try again when one of them is done")
            })?;
            machines.remove(&oldest);
        }
        let machine = machines
            .entry(key.clone())
            .or_insert_with(|| Machine { started: Arc::default(), used_at: Instant::now() });
        machine.used_at = Instant::now();
        Ok(Arc::clone(&machine.started))
    }

    /// Removes a machine that nobody has asked for a while; returns how long to wait before the next look.
    fn expire(&self, key: &Key) -> Option<Duration> {
        let mut machines = self.lock();
        let machine = machines.get(key)?;
        match IDLE_LIMIT.checked_sub(machine.used_at.elapsed()) {
            Some(rest) if !rest.is_zero() => Some(rest),
            _ if !is_idle(machine) => Some(IDLE_LIMIT),
            _ => {
                machines.remove(key);
                None
            }
        }
    }
}

/// Whether nobody waits for a machine or reads from it.
fn is_idle(machine: &Machine) -> bool {
    Arc::strong_count(&machine.started) == 1
        && machine.started.get().is_none_or(|machine| Arc::strong_count(machine) == 1)
}

/// The files of what a reference names, in its vault or in a copy. With a passphrase, its encrypted volumes are opened, for this look and the next ones.
pub(crate) async fn open(
    site: &Site,
    reference: &str,
    from_copy: Option<&str>,
    passphrase: Option<Passphrase>,
) -> Result<Arc<MicroVm>> {
    let source = Source::resolve(site, reference, from_copy).await?;
    let key = source.key();
    let place = site.files.place(&key, passphrase.is_some())?;
    let passphrases: Vec<_> = passphrase.into_iter().collect();
    let machine = place.get_or_try_init(|| async {
        let disks = source.open(site).await?.into_iter().map(|open| (open.disk, open.image)).collect();
        let machine = MicroVm::open(disks, site.files.config(), &passphrases).await?;
        let (machines, key) = (Arc::clone(&site.files), key.clone());
        tokio::spawn(async move {
            while let Some(rest) = machines.expire(&key) {
                sleep(rest).await;
            }
        });
        Ok::<_, Failure>(Arc::new(machine))
    });
    machine.await.cloned()
}

/// The views of an image's volumes.
pub(crate) fn volume_views(machine: &MicroVm) -> Vec<VolumeView> {
    let view = |volume: &files::Volume| {
        let (state, reason) = match &volume.state {
            VolumeState::Readable => (VolumeStateView::Readable, None),
            VolumeState::Locked => (VolumeStateView::Locked, None),
            VolumeState::Unreadable { reason } => (VolumeStateView::Unreadable, Some(reason.clone())),
        };
        let (name, content) = (volume.name.clone(), volume.content.clone());
        VolumeView { name, content, size_bytes: ByteCount(volume.size_bytes), state, reason }
    };
    machine.volumes().iter().map(view).collect()
}

impl From<files::Error> for Failure {
    fn from(error: files::Error) -> Self {
        let code = match error.kind() {
            files::ErrorKind::NotFound => Code::NotFound,
            files::ErrorKind::Invalid | files::ErrorKind::WrongKind => Code::Invalid,
            files::ErrorKind::Locked => Code::WrongKey,
            files::ErrorKind::Unsupported | files::ErrorKind::AlreadyExists => Code::Conflict,
            files::ErrorKind::Damaged => Code::Damaged,
            files::ErrorKind::Gone | files::ErrorKind::TimedOut => Code::Unreachable,
            files::ErrorKind::NoSpace => Code::NoSpace,
            files::ErrorKind::Denied => Code::Denied,
            _ => Code::Failed,
        };
        Self::of(code, &error, error.guidance())
    }
}
