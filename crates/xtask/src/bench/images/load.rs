//! Loads on an NBD server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use nbd::{Client, Endpoint};
use tokio::task::JoinSet;

use crate::bench::random::Random;

/// A way to read a disk.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What is read at once, in bytes.
    pub length_bytes: u32,
    /// Whether it is read from front to back.
    pub in_order: bool,
    /// Requests that are on their way at the same time.
    pub depth: usize,
}

/// All loads.
pub const LOADS: [Load; 4] = [
    Load { length_bytes: 1 << 20, in_order: true, depth: 1 },
    Load { length_bytes: 1 << 20, in_order: true, depth: 16 },
    Load { length_bytes: 4096, in_order: false, depth: 1 },
    Load { length_bytes: 4096, in_order: false, depth: 16 },
];

impl Load {
    /// In words.
    pub fn name(self) -> String {
        match self.in_order {
            true => format!("sequential 1 MiB, depth {}", self.depth),
            false => format!("random 4 KiB, depth {}", self.depth),
        }
    }

    /// The unit of what [`Load::run`] gives.
    pub fn unit(self) -> &'static str {
        if self.in_order { "MiB/s" } else { "reads/s" }
    }

    /// Reads an export over one connection for so long.
    pub async fn run(self, endpoint: &Endpoint, export: &str, window: Duration) -> Result<f64> {
        let client = Arc::new(Client::connect(endpoint, export, &[]).await?);
        let places = client.export().size_bytes / u64::from(self.length_bytes);
        let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut readers = JoinSet::new();
        let begun_at = Instant::now();
        for number in 0..self.depth {
            let (client, next, done) = (client.clone(), next.clone(), done.clone());
            let mut random = Random::new(number as u64);
            readers.spawn(async move {
                while begun_at.elapsed() < window {
                    let place =
                        if self.in_order { next.fetch_add(1, Ordering::Relaxed) } else { random.next() };
                    let offset_bytes = place % places * u64::from(self.length_bytes);
                    client.read(offset_bytes, self.length_bytes).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, anyhow::Error>(())
            });
        }
        while let Some(reader) = readers.join_next().await {
            reader??;
        }
        let a_second = done.load(Ordering::Relaxed) as f64 / begun_at.elapsed().as_secs_f64();
        client.disconnect().await?;
        Ok(if self.in_order {
            a_second * f64::from(self.length_bytes) / f64::from(1 << 20)
        } else {
            a_second
        })
    }
}
