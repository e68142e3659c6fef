//! A tap, its guests, and its target.

use std::{future::Future, sync::Arc, time::Duration};

use env::Threads;
use image::{ByteRange, DiskImage};
use journal::{At, Directory, DiskNumber, Generation, Position, Replica, Sequence};
use model::{JournalId, VmId};
use nbd::Endpoint;
use tap::{AddedDisk, Client, Copied, Serving, TapOptions};
use tempfile::TempDir;
use tokio::time;

pub const MIB: u64 = 1 << 20;

/// How long a test waits for what must come.
pub const LONG: Duration = Duration::from_secs(60);

pub fn vm(number: u8) -> VmId {
    VmId::from_random([number; 10])
}

pub fn options(folder: &TempDir) -> TapOptions {
    let (id, sockets) = (JournalId::from_random([1; 10]), folder.path().join("run"));
    TapOptions::new(folder.path().join("tap"), sockets, id, Generation(1))
}

/// A tap within this process.
pub struct Running {
    pub serving: Serving,
    pub options: TapOptions,
    pub folder: TempDir,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut TapOptions)) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut options = options(&folder);
        change(&mut options);
        let serving = tap::serve(options.clone()).await.expect("the tap starts");
        Self { serving, options, folder }
    }

    pub fn client(&self) -> &Client {
        self.serving.client()
    }

    pub async fn connect(&self, disk: &AddedDisk) -> image::Result<nbd::Client> {
        connect(&self.options, &disk.export).await
    }
}

pub async fn connect(options: &TapOptions, export: &str) -> image::Result<nbd::Client> {
    nbd::Client::connect(&Endpoint::Unix(options.nbd_socket()), export, &[]).await
}

/// Adds a disk, which is whole at once: it held nothing.
pub async fn add_whole(client: &Client, vm: VmId, name: &str, size_bytes: u64) -> AddedDisk {
    let disk = client.add_disk(vm, &name.parse().unwrap(), size_bytes).await.unwrap();
    client.disk_is_whole(disk.number, disk.epoch).await.unwrap();
    disk
}

/// Copies a disk that holds these bytes, and says that it is whole.
pub async fn copy(client: &Client, disk: &AddedDisk, bytes: &[u8]) -> tap::Result<Sequence> {
    let epoch = client.status().await?.disks.iter().find(|it| it.number == disk.number).unwrap().epoch;
    for (number, piece) in bytes.chunks(MIB as usize).enumerate() {
        let range = ByteRange::new(number as u64 * MIB, piece.len() as u64);
        let ticket = client.begin_copy(disk.number, range).await?;
        client.finish_copy(ticket, Copied::Data(piece)).await?;
    }
    client.disk_is_whole(disk.number, epoch).await
}

/// Polls until it is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waited = time::timeout(LONG, async {
        while !is_so().await {
            time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}: it never is"));
}

/// The target.
pub struct Target {
    pub replica: Replica,
    position: Option<Position>,
    _folder: TempDir,
}

impl Target {
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let directory = Directory::open(&folder.path().join("replica")).unwrap();
        let replica = Replica::open(Arc::new(directory), Threads::Inline).unwrap();
        Self { replica, position: None, _folder: folder }
    }

    /// Takes what is durable, through this record at least.
    pub async fn ship(&mut self, client: &Client, through: Sequence) {
        client.durable(through).await.unwrap();
        while self.replica.durable_through() < through {
            let from = match self.position {
                None => client.start().await.unwrap(),
                Some(_) => self.replica.wanted().unwrap(),
            };
            let parts = client.parts(from, MIB, LONG).await.unwrap();
            assert!(!parts.is_empty(), "it is durable");
            for part in &parts {
                self.replica.receive(part).unwrap();
                self.position = Some(part.position);
            }
            self.replica.sync().unwrap();
        }
        let wanted = self.replica.wanted().unwrap();
        client.release(wanted.segment).await.unwrap();
    }

    /// What a disk held after a record.
    pub async fn read(&self, vm: VmId, disk: DiskNumber, at: At) -> Vec<u8> {
        let image = self.replica.moment(vm, at).unwrap().image(disk).unwrap();
        let mut bytes = vec![0; image.size_bytes() as usize];
        image.read_at(0, &mut bytes).await.unwrap();
        bytes
    }
}
