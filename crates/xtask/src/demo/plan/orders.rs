//! What the shop's database says from outside, asked again and again: what it has confirmed, and when.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use model::Timestamp;
use testkit::sites::PATIENCE;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::now;

/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long it may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Where the database takes questions.
const PORT: u16 = 5432;

/// Asks the database until it is stopped.
pub struct Orders {
    task: JoinHandle<()>,
    seen: watch::Receiver<Vec<(Timestamp, u64)>>,
}

impl Orders {
    /// Begins to ask the database at this address.
    pub fn watch(address: &str) -> Self {
        let address: Option<SocketAddr> = format!("{address}:{PORT}").parse().ok();
        let (see, seen) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            while let Some(address) = address {
                // One that does not answer is down or busy, and is asked again.
                if let Ok(Ok(number)) = timeout(ANSWER_LIMIT, last(address)).await {
                    see.send_modify(|seen| seen.push((now(), number)));
                }
                sleep(INTERVAL).await;
            }
        });
        Self { task, seen }
    }

    /// Waits until the database has confirmed so many more.
    pub async fn until_more(&self, count: u64) -> Result<()> {
        let mut seen = self.seen.clone();
        let more = seen.wait_for(|seen| {
            let numbers = seen.first().zip(seen.last());
            numbers.is_some_and(|((_, first), (_, last))| *last >= first + count)
        });
        let found = timeout(PATIENCE, more).await.with_context(|| format!("no {count} records come"))?;
        ensure!(found.is_ok(), "nobody asks the database any more");
        Ok(())
    }

    /// Ends. Returns how many records the database had confirmed by which times, oldest first.
    pub async fn stop(self) -> Vec<(Timestamp, u64)> {
        self.task.abort();
        self.seen.borrow().clone()
    }
}

/// The last record that is durable in the database.
async fn last(address: SocketAddr) -> Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"last\n").await?;
    let mut answer = String::new();
    stream.take(64).read_to_string(&mut answer).await?;
    Ok(answer.trim().parse()?)
}
