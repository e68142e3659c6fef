//! A tap whose disk stands still, or is full.

use std::{
    io,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use env::Env;
use image::{ByteRange, Extent};
use journal::{Directory, DiskNumber, Folder, FolderFile, Generation, Sequence};
use model::{JournalId, VmId};
use nbd::Endpoint;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{AddedDisk, Client, ErrorKind, TapOptions, worker::Worker};

const MIB: usize = 1 << 20;

/// How long a test waits for what must come.
const LONG: Duration = Duration::from_secs(60);

/// What becomes of what is written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Sound,
    /// It waits.
    Still,
    /// It fails.
    Full,
}

#[derive(Default)]
struct Brake {
    state: Mutex<State>,
    changed: Condvar,
}

impl Brake {
    fn set(&self, state: State) {
        *self.state.lock().unwrap() = state;
        self.changed.notify_all();
    }

    fn pass(&self) -> io::Result<()> {
        let state =
            self.changed.wait_while(self.state.lock().unwrap(), |state| *state == State::Still).unwrap();
        if *state == State::Full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// A directory that can stand still: nothing is written while it does.
struct SlowFolder {
    directory: Directory,
    brake: Arc<Brake>,
}

impl SlowFolder {
    fn file(&self, file: Arc<dyn FolderFile>) -> Arc<dyn FolderFile> {
        Arc::new(SlowFile { file, brake: Arc::clone(&self.brake) })
    }
}

impl Folder for SlowFolder {
    fn names(&self) -> io::Result<Vec<String>> {
        self.directory.names()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn FolderFile>> {
        Ok(self.file(self.directory.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn FolderFile>> {
        Ok(self.file(self.directory.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync()
    }
}

struct SlowFile {
    file: Arc<dyn FolderFile>,
    brake: Arc<Brake>,
}

impl FolderFile for SlowFile {
    fn length_bytes(&self) -> io::Result<u64> {
        self.file.length_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset_bytes, buffer)
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        self.brake.pass()?;
        self.file.write_at(offset_bytes, data)
    }

    fn zero(&self, range: ByteRange) -> io::Result<()> {
        self.file.zero(range)
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.file.set_length(length_bytes)
    }

    fn extents(&self, range: ByteRange) -> io::Result<Vec<Extent>> {
        self.file.extents(range)
    }

    fn sync(&self) -> io::Result<()> {
        self.brake.pass()?;
        self.file.sync()
    }
}

/// A tap on a folder that can stand still, with one disk of one VM.
struct Bench {
    // Let go before the worker ends: it makes everything durable.
    _release: Release,
    _worker: Worker,
    client: Client,
    disk: AddedDisk,
    socket: Endpoint,
    brake: Arc<Brake>,
    _folder: TempDir,
}

struct Release(Arc<Brake>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.set(State::Sound);
    }
}

fn vm() -> VmId {
    VmId::from_random([7; 10])
}

impl Bench {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let place = folder.path().to_owned();
        let id = JournalId::from_random([1; 10]);
        let mut options = TapOptions::new(place.clone(), place.clone(), id, Generation(1));
        options.memory_bytes = 16 << 20;
        let brake = Arc::new(Brake::default());
        let directory = Directory::open(&options.journal_folder()).unwrap();
        let segments = Arc::new(SlowFolder { directory, brake: Arc::clone(&brake) });
        let (control, socket) = (options.control_socket(), Endpoint::Unix(options.nbd_socket()));
        let worker = Worker::start_in(segments, options, Env::system()).await.unwrap();
        let client = Client::connect(&control).await.unwrap();
        let disk = client.add_disk(vm(), &"root".parse().unwrap(), 1 << 30).await.unwrap();
        let release = Release(Arc::clone(&brake));
        Self { _release: release, _worker: worker, client, disk, socket, brake, _folder: folder }
    }

    async fn connect(&self) -> image::Result<nbd::Client> {
        nbd::Client::connect(&self.socket, &self.disk.export, &[]).await
    }

    async fn whole(&self) -> nbd::Client {
        let guest = self.connect().await.unwrap();
        let epoch = self.client.begin_epoch(vm()).await.unwrap();
        self.client.disk_is_whole(self.disk.number, epoch).await.unwrap();
        guest
    }
}

/// Bytes that do not compress to nothing.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(MIB);
    while bytes.len() < MIB {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend((state >> 16).to_le_bytes());
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stands_still_breaks_the_tap_and_not_the_guest() {
    let bench = Bench::start().await;
    let guest = bench.whole().await;
    let first = bench.client.status().await.unwrap().usage.taken_through;
    bench.client.durable(first).await.unwrap();
    bench.brake.set(State::Still);
    let mut written = 0;
    while timeout(LONG, guest.write(written * MIB as u64, noise(written))).await.unwrap().is_ok() {
        written += 1;
        assert!(written < 64, "a tap of 16 MiB took {written} MiB");
    }
    while timeout(LONG, guest.flush()).await.unwrap().unwrap_err().kind() != image::ErrorKind::Gone {
        // The connection ends in a moment.
    }
    let status = bench.client.status().await.unwrap();
    let broken = status.broken.expect("it says that it is broken");
    assert_eq!(broken.vms, [vm()]);
    assert!(broken.reason.contains("no room"), "{}", broken.reason);
    assert!(!status.disks[0].is_whole && !status.disks[0].accepts);
    assert!(bench.connect().await.is_err(), "nobody is let in");
    let stale = bench.client.disk_is_whole(bench.disk.number, bench.disk.epoch).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Superseded);

    bench.brake.set(State::Sound);
    let taken = status.usage.taken_through;
    assert!(timeout(LONG, bench.client.durable(taken)).await.unwrap().unwrap() >= taken);
    let epoch = bench.client.begin_epoch(vm()).await.unwrap();
    assert_eq!(bench.client.status().await.unwrap().broken, None);
    let guest = bench.connect().await.expect("the socket is there when an epoch has begun");
    guest.write(0, noise(99)).await.unwrap();
    bench.client.disk_is_whole(bench.disk.number, epoch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_for_room_that_comes_in_time() {
    let bench = Bench::start().await;
    let guest = Arc::new(bench.whole().await);
    bench.brake.set(State::Still);
    let writes: Vec<_> = (0..24)
        .map(|number| {
            let guest = Arc::clone(&guest);
            tokio::spawn(async move { guest.write(number * MIB as u64, noise(number)).await })
        })
        .collect();
    let waiting = async {
        while bench.client.status().await.unwrap().stalled_since.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, waiting).await.expect("some wait");
    bench.brake.set(State::Sound);
    for write in writes {
        timeout(LONG, write).await.unwrap().unwrap().expect("it was taken");
    }
    let status = bench.client.status().await.unwrap();
    assert!(status.broken.is_none() && status.stalled_since.is_none(), "{status:?}");
    assert!(status.counts.waited_writes > 0);
    assert_eq!((status.counts.writes, status.counts.written_bytes), (24, 24 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_is_not_durable_yet_and_says_so() {
    let bench = Bench::start().await;
    let guest = bench.whole().await;
    let before = bench.client.status().await.unwrap().usage.taken_through;
    bench.client.durable(before).await.unwrap();
    bench.brake.set(State::Still);
    guest.write(0, noise(1)).await.unwrap();
    let usage = bench.client.status().await.unwrap().usage;
    assert!(usage.durable_through < usage.taken_through);
    let waiting = {
        let client = bench.client.clone();
        tokio::spawn(async move { client.durable(usage.taken_through).await })
    };
    let parts =
        bench.client.parts(bench.client.start().await.unwrap(), u64::MAX, Duration::ZERO).await.unwrap();
    let last = bench.client.position_after(Sequence(usage.durable_through.0)).await.unwrap();
    let end = parts.last().unwrap();
    assert!(
        end.position.segment == last.segment
            && end.position.offset_bytes + end.length_bytes() <= last.offset_bytes
    );
    assert!(!waiting.is_finished());
    bench.brake.set(State::Sound);
    assert!(timeout(LONG, waiting).await.unwrap().unwrap().unwrap() >= usage.taken_through);
    assert_eq!(bench.disk.number, DiskNumber(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_written_breaks_the_tap_for_good() {
    let bench = Bench::start().await;
    let guest = bench.whole().await;
    let taken = bench.client.status().await.unwrap().usage.taken_through;
    let durable = bench.client.durable(taken).await.unwrap();
    bench.brake.set(State::Full);
    let written = async { while guest.write(0, noise(1)).await.is_ok() {} };
    timeout(LONG, written).await.expect("the guest goes on");
    let never = bench.client.durable(Sequence(u64::MAX)).await.unwrap_err();
    assert_eq!(never.kind(), ErrorKind::Broken, "{never}");
    let broken = bench.client.status().await.unwrap().broken.unwrap();
    assert!(broken.reason.contains("cannot be written"), "{}", broken.reason);
    assert_eq!(bench.client.begin_epoch(vm()).await.unwrap_err().kind(), ErrorKind::Broken);
    assert!(bench.connect().await.is_err());
    let parts =
        bench.client.parts(bench.client.start().await.unwrap(), u64::MAX, Duration::ZERO).await.unwrap();
    assert!(!parts.is_empty() && durable >= taken, "what was durable is still shipped");
}
