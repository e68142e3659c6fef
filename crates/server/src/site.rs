//! A site: everything that its requests and jobs share.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use api::Problem;
use catalog::Catalog;
use env::Env;
use hypervisor::Hypervisor;
use hypervisor_qemu::{QemuConfig, QemuHypervisor, RestingDisks};
use model::{PeerAddress, SiteName, Timestamp};
use peer::{SiteIdentity, receive::Receiver, reception::Reception};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::{
    backing::{Backings, Images},
    copies::Syncs,
    directory::DataDirectory,
    failure::{Failure, Result},
    files::FileMachines,
    groups::Groups,
    jobs::Jobs,
    object_locks::ObjectLocks,
    peers::Peers,
    plans::Plans,
    replicas::Replicas,
    replications::{Replications, TapProcesses, Taps},
    snapshots::{Held, SnapshotReception},
    startup,
    vaults::Vaults,
};

/// Jobs that run at once unless the configuration says otherwise.
const RUNNING_LIMIT_DEFAULT: usize = 2;

/// How often the scheduler looks unless the configuration says otherwise. Schedules are to the minute.
const LOOK_INTERVAL_DEFAULT: Duration = Duration::from_secs(15);

/// How often the site looks at its peers unless the configuration says otherwise.
const PEER_LOOK_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

/// How a site is set up towards its peers.
#[derive(Clone)]
pub struct PeerConfig {
    /// What it calls itself; the host's name by default.
    pub site_name: Option<SiteName>,
    /// Where it listens for peers; nowhere by default.
    pub listen: Option<PeerAddress>,
    /// Where peers are told to call, if that is not where it listens.
    pub address: Option<PeerAddress>,
    /// How often it looks at them.
    pub look_interval: Duration,
    /// What takes the disks that they send instead of the snapshot store.
    pub reception: Option<Arc<dyn Reception>>,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            site_name: None,
            listen: None,
            address: None,
            look_interval: PEER_LOOK_INTERVAL_DEFAULT,
            reception: None,
        }
    }
}

/// How a site is set up.
#[derive(Clone)]
pub struct SiteConfig {
    /// Where it keeps everything. Created where it does not exist.
    pub data_directory: PathBuf,
    /// The command that runs the guard of captures: the program, and its hidden subcommand.
    pub guard_command: Vec<OsString>,
    /// The command that runs the helper of files: the program, and its hidden subcommand.
    pub file_helper_command: Vec<OsString>,
    /// The command that runs the taps of replicated VMs: the program, and its hidden subcommand.
    pub tap_command: Vec<OsString>,
    /// The command that supervises programs of recovery plans: the program, and its hidden subcommand.
    pub supervisor_command: Vec<OsString>,
    /// What launches taps instead.
    pub taps: Option<Arc<dyn Taps>>,
    /// The QEMU that starts managed VMs.
    pub qemu_program: PathBuf,
    /// How many jobs run at once.
    pub running_limit: usize,
    /// How often at least the scheduler looks at the clock, which may be set, and at the policies, which may change.
    pub look_interval: Duration,
    /// Peers.
    pub peers: PeerConfig,
    /// Clock and entropy.
    pub env: Env,
}

impl SiteConfig {
    /// The configuration with everything else at its default.
    #[must_use]
    pub fn new(data_directory: PathBuf, guard_command: Vec<OsString>) -> Self {
        let program: Vec<_> = guard_command.iter().take(1).cloned().collect();
        Self {
            data_directory,
            guard_command,
            tap_command: program.iter().cloned().chain(["journal-tap".into()]).collect(),
            supervisor_command: program.iter().cloned().chain(["action-supervisor".into()]).collect(),
            taps: None,
            file_helper_command: program.into_iter().chain(["file-helper".into()]).collect(),
            qemu_program: "qemu-system-x86_64".into(),
            running_limit: RUNNING_LIMIT_DEFAULT,
            look_interval: LOOK_INTERVAL_DEFAULT,
            peers: PeerConfig::default(),
            env: Env::system(),
        }
    }
}

/// A site that is open: what its requests and jobs share. This process owns its data directory until the last clone is
/// dropped.
#[derive(Clone)]
pub struct Site {
    pub(crate) directory: Arc<DataDirectory>,
    pub(crate) env: Env,
    pub(crate) started_at: Timestamp,
    pub(crate) look_interval: Duration,
    pub(crate) qemu: Arc<QemuConfig>,
    pub(crate) hypervisor: Arc<dyn Hypervisor>,
    pub(crate) catalog: Catalog,
    pub(crate) vaults: Arc<Vaults>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) syncs: Arc<Syncs>,
    pub(crate) object_locks: Arc<ObjectLocks>,
    pub(crate) peers: Arc<Peers>,
    /// The VMs that are replicated from here.
    pub(crate) replications: Arc<Replications>,
    /// The runs of recovery plans.
    pub(crate) plans: Arc<Plans>,
    /// Those of them that share moments.
    pub(crate) groups: Arc<Groups>,
    /// What launches the taps of those.
    pub(crate) taps: Arc<dyn Taps>,
    /// The images that disks read from until they are whole.
    pub(crate) backings: Arc<Backings>,
    /// The snapshots whose moments are held.
    pub(crate) held: Arc<Held>,
    /// The journals of other sites' VMs.
    pub(crate) replicas: Arc<Replicas>,
    /// The disks that no VM runs from, and who has taken them.
    pub(crate) resting: Arc<RestingDisks>,
    /// Told when the copy of a snapshot has ended.
    pub(crate) copy_ended: Arc<Notify>,
    /// What reads files inside images.
    pub(crate) files: Arc<FileMachines>,
    /// Held while a VM becomes known, so that a check of its name and disks stays true.
    pub(crate) admission: Arc<Mutex<()>>,
    /// Cancelled when the server stops.
    pub(crate) stopping: CancellationToken,
}

impl Site {
    /// Opens the site with QEMU as its hypervisor: takes the data directory for this process, brings the catalog up to
    /// date, ends what a dead server left unfinished, and begins to clean up in the VMs.
    ///
    /// # Errors
    /// [`api::Code::Conflict`] when another server owns the directory.
    pub async fn open(config: SiteConfig) -> std::result::Result<Self, Problem> {
        Self::assemble(config, None).await.map_err(Failure::into_problem)
    }

    /// Opens the site with another hypervisor.
    ///
    /// # Errors
    /// Those of [`Site::open`].
    pub async fn open_with(
        config: SiteConfig,
        hypervisor: Arc<dyn Hypervisor>,
    ) -> std::result::Result<Self, Problem> {
        Self::assemble(config, Some(hypervisor)).await.map_err(Failure::into_problem)
    }

    async fn assemble(config: SiteConfig, hypervisor: Option<Arc<dyn Hypervisor>>) -> Result<Self> {
        let directory = DataDirectory::open(&config.data_directory)?;
        let catalog = Catalog::open(&directory.catalog()).await?;
        let files = ::files::Config {
            runtime_directory: directory.runtime(),
            cache_directory: directory.helpers(),
            helper_command: config.file_helper_command,
            qemu_program: config.qemu_program.clone(),
            kernel: environment_path("HOLDFAST_KERNEL"),
            modules: environment_path("HOLDFAST_MODULES"),
            tools_root: environment_path("HOLDFAST_TOOLS_ROOT"),
        };
        let qemu = QemuConfig {
            runtime_dir: directory.runtime(),
            scratch_dir: directory.scratch(),
            guard_command: config.guard_command,
            qemu_program: config.qemu_program,
            env: config.env.clone(),
        };
        let identity = SiteIdentity::open(&directory.identity(), &config.env)?;
        let hypervisor = hypervisor.unwrap_or_else(|| Arc::new(QemuHypervisor::new(qemu.clone())));
        let vaults = Arc::new(Vaults::new(catalog.clone(), &directory, config.env.clone()));
        let reception = config.peers.reception.clone().unwrap_or_else(|| {
            Arc::new(SnapshotReception::new(catalog.clone(), Arc::clone(&vaults), config.env.clone()))
        });
        let receiver = Receiver::open(directory.transfers(), reception, config.env.clone())?;
        let peers = Arc::new(Peers::open(identity, config.peers, receiver).await?);
        let stopping = CancellationToken::new();
        let held = Arc::new(Held::new(config.running_limit));
        let replicas = Replicas::open(directory.replicas(), &catalog, config.env.threads).await?;
        let replicas = Arc::new(replicas);
        let images = Images {
            catalog: catalog.clone(),
            vaults: Arc::clone(&vaults),
            held: Arc::clone(&held),
            replicas: Arc::clone(&replicas),
        };
        let backings = Backings::serve(directory.images_socket(), images, stopping.clone()).await?;
        let tap_command = config.tap_command;
        let taps = config.taps.unwrap_or_else(|| Arc::new(TapProcesses { command: tap_command }));
        let jobs = Jobs::new(catalog.clone(), config.env.clone(), config.running_limit);
        let site = Self {
            started_at: config.env.clock.now(),
            look_interval: config.look_interval,
            directory: Arc::new(directory),
            env: config.env,
            resting: Arc::new(RestingDisks::new(qemu.clone())),
            qemu: Arc::new(qemu),
            hypervisor,
            catalog,
            vaults,
            peers,
            replications: Arc::default(),
            plans: Arc::new(Plans::new(config.supervisor_command)),
            groups: Arc::default(),
            taps,
            backings: Arc::new(backings),
            held,
            replicas,
            jobs,
            syncs: Arc::default(),
            object_locks: Arc::default(),
            copy_ended: Arc::default(),
            files: Arc::new(FileMachines::new(files)),
            admission: Arc::default(),
            stopping,
        };
        startup::clean_up(&site).await?;
        Ok(site)
    }

    /// The unix socket that [`crate::serve`] listens on.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.socket()
    }
}

fn environment_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

impl std::fmt::Debug for Site {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Site").field("directory", &self.directory.path()).finish_non_exhaustive()
    }
}
