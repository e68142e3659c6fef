//! A site under test: its data directory, its server, its hypervisor and a client.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use api::{
    AddVm, BackupRequest, Client, ClientError, Code, CreateVault, JobView, PointView, Problem,
    ProtectRequest, UnlockWith, VmView,
};
use model::{JobState, Timestamp};
use server::{PeerConfig, Site, SiteConfig};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::scripted::{Handle, LocalTaps, Scripted};

/// Bytes of a guest's disk: large enough for several regions of a vault.
pub const DISK_SIZE_BYTES: usize = 9 << 20;

pub struct TestSite {
    pub directory: TempDir,
    pub hypervisor: Arc<Scripted>,
    pub client: Client,
    /// What the server takes for the time.
    pub clock: Arc<SetClock>,
    pub peers: PeerConfig,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), Problem>>,
}

impl TestSite {
    pub async fn start() -> Self {
        Self::start_by(Arc::default()).await
    }

    /// Starts a server that goes by this clock.
    pub async fn start_by(clock: Arc<SetClock>) -> Self {
        Self::start_with(clock, PeerConfig::default()).await
    }

    /// Starts a server that is set up so towards its peers, at whom it looks all the time.
    pub async fn start_with(clock: Arc<SetClock>, peers: PeerConfig) -> Self {
        let peers = PeerConfig { look_interval: Duration::from_millis(20), ..peers };
        Self::start_in(tempfile::tempdir().unwrap(), Arc::default(), clock, peers).await
    }

    /// Starts a server over what another one left, set up so towards its peers.
    pub async fn start_again(
        (directory, hypervisor): (TempDir, Arc<Scripted>),
        clock: Arc<SetClock>,
        peers: PeerConfig,
    ) -> Self {
        Self::start_in(directory, hypervisor, clock, peers).await
    }

    async fn start_in(
        directory: TempDir,
        hypervisor: Arc<Scripted>,
        clock: Arc<SetClock>,
        peers: PeerConfig,
    ) -> Self {
        let mut config = SiteConfig::new(directory.path().to_owned(), Vec::new());
        config.env.clock = clock.clone();
        config.look_interval = Duration::from_millis(20);
        config.peers = peers.clone();
        config.taps = Some(Arc::new(LocalTaps(hypervisor.clone())));
        let site = Site::open_with(config, Arc::new(Handle(hypervisor.clone()))).await.unwrap();
        let client = Client::new(&site.socket());
        let (stop, stopped) = oneshot::channel();
        let (listening, listens) = oneshot::channel();
        let server = tokio::spawn(async move {
            let shutdown = async move {
                // The socket is there before the server looks for the first time whether it is to stop.
                listening.send(()).ok();
                stopped.await.ok();
            };
            server::serve(site, shutdown).await
        });
        listens.await.unwrap();
        Self { directory, hypervisor, client, clock, peers, stop, server }
    }

    /// Stops the server as a signal would.
    pub async fn stop(self) -> (TempDir, Arc<Scripted>) {
        drop(self.stop);
        self.server.await.unwrap().unwrap();
        (self.directory, self.hypervisor)
    }

    /// Stops the server and starts another over the same data.
    pub async fn restart(self) -> Self {
        let (clock, peers) = (self.clock.clone(), self.peers.clone());
        let (directory, hypervisor) = self.stop().await;
        Self::start_in(directory, hypervisor, clock, peers).await
    }

    /// Starts a server over what another one left.
    pub async fn start_over(left: (TempDir, Arc<Scripted>)) -> Self {
        Self::start_over_by(left, Arc::default()).await
    }

    /// The same by this clock.
    pub async fn start_over_by(
        (directory, hypervisor): (TempDir, Arc<Scripted>),
        clock: Arc<SetClock>,
    ) -> Self {
        Self::start_in(directory, hypervisor, clock, PeerConfig::default()).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new guest behind a QMP socket of this name, made known.
    pub async fn add_guest(&self, name: &str, bytes: Vec<u8>) -> VmView {
        self.hypervisor.add_guest(&self.path(name), name, bytes);
        self.client.add_vm(&self.external(name)).await.unwrap()
    }

    pub fn external(&self, socket: &str) -> AddVm {
        AddVm { qmp: Some(self.path(socket).display().to_string()), ..AddVm::default() }
    }

    pub async fn create_vault(&self, name: &str) {
        let unlock_with = Some(UnlockWith::KeyFile(key_file()));
        let request = CreateVault { name: name.to_owned(), url: None, unlock_with };
        self.client.create_vault(&request).await.unwrap();
    }

    /// A guest of this name, protected into a vault "main".
    pub async fn protected_guest(&self, name: &str) -> VmView {
        self.create_vault("main").await;
        self.add_guest(name, pattern(1)).await;
        self.client.protect(name, &into_vault("main")).await.unwrap()
    }

    pub async fn submit_backup(&self, vm: &str) -> JobView {
        self.client.backup(vm, &BackupRequest::default()).await.unwrap()
    }

    /// Backs up a VM and returns the point.
    pub async fn backup(&self, vm: &str) -> PointView {
        let ended = self.end(&self.submit_backup(vm).await).await;
        match ended.result {
            Some(api::JobResult::Point(point)) => *point,
            other => panic!("no point but {other:?}, {:?}", ended.problem),
        }
    }

    /// Follows a job to its end.
    pub async fn end(&self, job: &JobView) -> JobView {
        let mut events = self.client.job_events(job.id).await.unwrap();
        let mut last = None;
        while let Some(state) = events.next().await.unwrap() {
            last = Some(state);
        }
        let last = last.expect("the state now comes at once");
        assert!(last.state.is_final(), "events end with the job: {last:?}");
        last
    }

    /// Follows a job to its failure.
    pub async fn failure(&self, job: &JobView) -> Problem {
        let ended = self.end(job).await;
        assert_eq!(ended.state, JobState::Failed, "{ended:?}");
        ended.problem.unwrap()
    }
}

/// The system's clock, set to another time.
#[derive(Default)]
pub struct SetClock {
    ahead_us: AtomicI64,
}

impl SetClock {
    /// A clock that shows this moment now.
    pub fn at(moment: &str) -> Self {
        let moment: Timestamp = moment.parse().unwrap();
        let now = env::Clock::now(&env::SystemClock);
        Self { ahead_us: AtomicI64::new(moment.microseconds_since(now)) }
    }

    /// Sets it on by so many hours.
    pub fn advance_hours(&self, hours: i64) {
        self.ahead_us.fetch_add(hours * 3_600_000_000, Ordering::Relaxed);
    }
}

impl env::Clock for SetClock {
    fn now(&self) -> Timestamp {
        let now = env::Clock::now(&env::SystemClock);
        Timestamp::from_microseconds(now.as_microseconds() + self.ahead_us.load(Ordering::Relaxed))
    }
}

pub fn into_vault(vault: &str) -> ProtectRequest {
    serde_json::from_value(serde_json::json!({"vault": vault})).unwrap()
}

/// A key file, so that no test waits for a passphrase to be stretched.
pub fn key_file() -> String {
    vault::KeyFile::generate(&env::SeededEntropy::new(1)).to_text()
}

/// Bytes that do not compress to nothing and differ by seed; the second half is a hole.
pub fn pattern(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; DISK_SIZE_BYTES];
    env::Entropy::fill(&env::SeededEntropy::new(seed), &mut bytes[..DISK_SIZE_BYTES / 2]);
    bytes
}

/// The problem that a call ended with.
pub fn problem<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> Problem {
    match answer {
        Err(ClientError::Problem(problem)) => *problem,
        other => panic!("no problem but {other:?}"),
    }
}

pub fn code<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> Code {
    problem(answer).code
}
