//! A tap of the test's own: takes writes over NBD, and keeps the order in which they came.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use image::{ByteRange, DiskTarget, Result};
use nbd::{Endpoint, Exports, Server};
use tokio::{sync::watch, task::JoinHandle, time};

use crate::machine::Disk;

/// The longest that anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something, and fails the test when it does not come.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    time::timeout(PATIENCE, future).await.expect("it does not end")
}

/// A write that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    pub disk: &'static str,
    pub offset_bytes: u64,
    pub data: Vec<u8>,
}

/// A server that takes the writes of all disks of a machine, and stalls as the test wants.
pub struct TapServer {
    pub socket: PathBuf,
    log: watch::Sender<Vec<Taken>>,
    stalls: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
    serving: JoinHandle<()>,
}

impl TapServer {
    pub async fn start(dir: &Path, name: &str, disks: &[Disk]) -> Self {
        let socket = dir.join(name);
        let (log, stalls) = (watch::Sender::new(Vec::new()), watch::Sender::new(false));
        let arrived = watch::Sender::new(0);
        let exports = Exports::new();
        for disk in disks {
            let target = LoggedDisk {
                disk: disk.name,
                size_bytes: disk.size_bytes,
                log: log.clone(),
                stalls: stalls.subscribe(),
                arrived: arrived.clone(),
            };
            exports.add_target(export(disk.name), Arc::new(target));
        }
        let server = Server::bind(&Endpoint::Unix(socket.clone()), exports).await.unwrap();
        let serving = tokio::spawn(async move { server.run().await });
        Self { socket, log, stalls, arrived, serving }
    }

    /// The writes that were taken so far, in their order.
    pub fn taken(&self) -> Vec<Taken> {
        self.log.borrow().clone()
    }

    /// From now on, writes are neither taken nor answered; or they are again.
    pub fn stall(&self, stalls: bool) {
        self.stalls.send_replace(stalls);
    }

    /// Waits until so many writes have come in all, whether they were answered or not.
    pub async fn arrived(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        in_time(arrived.wait_for(|arrived| *arrived >= count)).await.unwrap();
    }

    /// Ends as a process does that is killed.
    pub async fn kill(self) -> Vec<Taken> {
        self.serving.abort();
        let _ = self.serving.await;
        self.log.borrow().clone()
    }
}

/// The name of the export that takes a disk's writes.
pub fn export(disk: &str) -> String {
    format!("of-{disk}")
}

/// A disk after these writes.
pub fn replay(bytes: &mut [u8], disk: &str, taken: &[Taken]) {
    for write in taken.iter().filter(|write| write.disk == disk) {
        let start = usize::try_from(write.offset_bytes).unwrap();
        bytes[start..start + write.data.len()].copy_from_slice(&write.data);
    }
}

struct LoggedDisk {
    disk: &'static str,
    size_bytes: u64,
    log: watch::Sender<Vec<Taken>>,
    stalls: watch::Receiver<bool>,
    arrived: watch::Sender<usize>,
}

#[async_trait]
impl DiskTarget for LoggedDisk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn starts_zeroed(&self) -> bool {
        true
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> Result<()> {
        self.arrived.send_modify(|arrived| *arrived += 1);
        let _ = self.stalls.clone().wait_for(|stalls| !stalls).await; // the test is over
        let taken = Taken { disk: self.disk, offset_bytes, data: data.to_vec() };
        self.log.send_modify(|log| log.push(taken));
        Ok(())
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        self.write_at(range.offset_bytes, &vec![0; usize::try_from(range.length_bytes).unwrap()]).await
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}
