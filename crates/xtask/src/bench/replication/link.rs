//! A link between two sites that is slow, far, or down: a TCP proxy, which needs no rights on any machine.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// What is read at once.
const PIECE_BYTES: usize = 16 << 10;

/// Pieces that are on their way in one direction of one connection: a megabyte, as in the buffers of a long line.
const PIECES_UNDERWAY: usize = 64;

/// How a link is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quality {
    /// What a byte takes from one end to the other.
    pub one_way: Duration,
    /// What goes through in a second, in each direction; none for as much as there is.
    pub bytes_per_second: Option<u64>,
}

/// A link to an address, until it is dropped.
pub struct Link {
    pub address: SocketAddr,
    quality: watch::Sender<Quality>,
    is_up: watch::Sender<bool>,
    carried: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Link {
    /// A link that is as good as the machine.
    pub async fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (quality, is_up) = (watch::Sender::new(Quality::default()), watch::Sender::new(true));
        let carried = Arc::<AtomicU64>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, target, quality.clone(), is_up.clone(), Arc::clone(&carried)));
        Ok(Self { address, quality, is_up, carried, _tasks: tasks })
    }

    pub fn set_quality(&self, quality: Quality) {
        self.quality.send_replace(quality);
    }

    /// Cuts all connections and lets none in, or lets them in again.
    pub fn set_up(&self, is_up: bool) {
        self.is_up.send_replace(is_up);
    }

    /// Bytes that were carried in both directions.
    pub fn carried_bytes(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

async fn listen(
    listener: TcpListener,
    target: SocketAddr,
    quality: watch::Sender<Quality>,
    is_up: watch::Sender<bool>,
    carried: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    // A listener that fails leaves a link that is down, and a bench that says so.
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if !*is_up.borrow() {
            continue;
        }
        let Ok(server) = TcpStream::connect(target).await else { continue };
        let (quality, mut is_up, carried) = (quality.subscribe(), is_up.subscribe(), Arc::clone(&carried));
        connections.spawn(async move {
            for stream in [&client, &server] {
                stream.set_nodelay(true).ok();
            }
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::select! {
                () = carry(from_client, to_server, quality.clone(), Arc::clone(&carried)) => {}
                () = carry(from_server, to_client, quality, carried) => {}
                _ = is_up.wait_for(|is_up| !*is_up) => {}
            }
        });
    }
}

/// Carries one direction until it ends.
async fn carry(
    mut source: OwnedReadHalf,
    mut target: OwnedWriteHalf,
    quality: watch::Receiver<Quality>,
    carried: Arc<AtomicU64>,
) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_UNDERWAY);
    let read = async move {
        let mut piece = vec![0; PIECE_BYTES];
        let mut free_at = Instant::now();
        while let Ok(length) = source.read(&mut piece).await
            && length > 0
        {
            let Quality { one_way, bytes_per_second } = *quality.borrow();
            let taken = bytes_per_second
                .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(length as f64 / rate as f64));
            free_at = free_at.max(Instant::now()) + taken;
            carried.fetch_add(length as u64, Ordering::Relaxed);
            if sender.send((free_at + one_way, piece[..length].to_vec())).await.is_err() {
                return;
            }
            sleep_until(free_at).await;
        }
    };
    let write = async move {
        while let Some((arrives_at, piece)) = receiver.recv().await {
            sleep_until(arrives_at).await;
            if target.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
