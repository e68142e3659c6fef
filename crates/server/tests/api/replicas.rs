//! Replicas: a real journal is shipped to a site, which shows it, tests it and fails over to it.

mod backups;
mod drills;
mod failover;
mod hostile;
mod kept;
pub mod plans;
mod returning;
mod settings;

use std::{sync::Arc, time::Duration};

use api::{ImageQuery, ReplicaView};
use journal::{
    Checkpoint, CheckpointKind, Directory, DiskNumber, Generation, Journal, JournalOptions, Sequence, Taken,
};
use model::{JournalId, VmDefinition, VmId};
use peer::{
    PeerClient,
    replicas::{PARTS_BYTES, ReplicaOffer, ReplicaProgress},
};
use tempfile::TempDir;

use crate::{
    site::{SetClock, TestSite},
    sites::{call_as, caller, pair, site},
};

const DISK_BYTES: usize = 1 << 20;

/// What a site may take on a busy machine for what it does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A VM at its site: its journal, and what its disk holds.
struct Source {
    _directory: TempDir,
    id: JournalId,
    vm: VmId,
    name: &'static str,
    journal: Journal,
    disk: DiskNumber,
    bytes: Vec<u8>,
    clock: Arc<SetClock>,
}

impl Source {
    fn new(number: u8, name: &'static str) -> Self {
        Self::of_generation(number, name, 1)
    }

    fn of_generation(number: u8, name: &'static str, generation: u64) -> Self {
        Self::of_vm(number, name, generation, VmId::from_random([7; 10]))
    }

    fn of_vm(number: u8, name: &'static str, generation: u64, vm: VmId) -> Self {
        let source = Self::of(number, name, generation, vm);
        source.journal.disk_is_whole(source.disk).unwrap();
        source
    }

    /// The journal of a VM that was failed over once; its disk is not whole yet.
    fn returning(number: u8, name: &'static str, vm: VmId) -> Self {
        Self::of(number, name, 2, vm)
    }

    fn of(number: u8, name: &'static str, generation: u64, vm: VmId) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = Arc::new(Directory::open(directory.path()).unwrap());
        let id = JournalId::from_random([number; 10]);
        let clock = Arc::<SetClock>::default();
        let options = JournalOptions { segment_age: Duration::from_secs(1), ..JournalOptions::default() };
        let journal = Journal::create(folder, id, Generation(generation), options, clock.clone()).unwrap();
        let disk = journal.add_disk(vm, "root".parse().unwrap(), DISK_BYTES as u64).unwrap();
        let bytes = vec![0; DISK_BYTES];
        Self { _directory: directory, id, vm, name, journal, disk, bytes, clock }
    }

    fn offer(&self) -> ReplicaOffer {
        ReplicaOffer {
            vm_id: self.vm,
            vm_name: self.name.parse().unwrap(),
            definition: definition(self.name),
            generation: Generation(1),
            retention_seconds: None,
            start: self.journal.start().segment,
            compares: false,
            seed: None,
            group: None,
            settings: None,
        }
    }

    /// Writes a page of this byte.
    fn write(&mut self, page: usize, byte: u8) -> Sequence {
        let range = page * 4096..(page + 1) * 4096;
        self.bytes[range.clone()].fill(byte);
        taken(self.journal.write(self.disk, range.start as u64, &self.bytes[range]).unwrap())
    }

    fn mark(&self, kind: CheckpointKind, name: &str) -> Sequence {
        let checkpoint = Checkpoint { kind, vm: Some(self.vm), name: name.to_owned() };
        taken(self.journal.checkpoint(checkpoint).unwrap())
    }

    /// Seals the segment that grows, as an hour would.
    fn seal(&self) {
        self.journal.flush().unwrap();
        self.clock.advance_hours(1);
        self.journal.flush().unwrap();
    }

    /// Sends all that the peer lacks.
    async fn ship(&self, peer: &PeerClient) -> Result<ReplicaProgress, peer::Error> {
        self.journal.flush().unwrap();
        let mut progress = peer.replica_progress(self.id).await?;
        loop {
            let parts = self.journal.parts(progress.wanted, PARTS_BYTES).unwrap();
            if parts.is_empty() {
                return Ok(progress);
            }
            progress = peer.send_parts(self.id, &parts).await?;
        }
    }
}

fn definition(name: &str) -> VmDefinition {
    let network = serde_json::json!({"kind": "user", "mac": "52:54:00:00:00:01"});
    serde_json::from_value(serde_json::json!({
        "name": name, "memory": "1GiB", "disk": [{"name": "root", "path": "/at/the/source"}], "network": [network],
    }))
    .unwrap()
}

fn taken(taken: Taken) -> Sequence {
    match taken {
        Taken::Through(sequence) => sequence,
        Taken::Full(full) => panic!("no room: {full:?}"),
    }
}

/// A target, a source's site, and a client of the one in the name of the other.
async fn sites() -> (TestSite, TestSite, PeerClient) {
    let (east, west) = (site("east").await, caller("west").await);
    pair(&east, &west).await;
    let peer = call_as(&west, &east).await;
    (east, west, peer)
}

/// What an image holds.
async fn read(site: &TestSite, reference: &str) -> Vec<u8> {
    let mut data = site.client.image_data(ImageQuery { reference, from_copy: None }).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = data.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// Waits until a replica is like this.
async fn until(site: &TestSite, name: &str, holds: impl Fn(&ReplicaView) -> bool) -> ReplicaView {
    let waiting = async {
        loop {
            let view = site.client.replica(name).await.unwrap();
            if holds(&view) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(view) => view,
        Err(_) => panic!("{:?}", site.client.replica(name).await),
    }
}

/// Starts the server anew where peers find it.
async fn restart(mut east: TestSite) -> TestSite {
    east.peers.listen = Some(east.client.site().await.unwrap().peer_address.unwrap().parse().unwrap());
    east.restart().await
}
