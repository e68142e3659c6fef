//! A disk over NBD: a raw file and a recovery point by `holdfast nbd`, beside `qemu-nbd` with the same raw file.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use api::NbdView;
use nbd::{Client, Endpoint};
use serde_json::Value;
use testkit::site::Site;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{Scale, VAULT, back_up_stopped, dataset, load::LOADS, progress};
use crate::bench::report::Measurement;

pub const PEER: &str = "qemu-nbd";

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server of one disk. It ends with this value.
struct Server {
    endpoint: Endpoint,
    export: String,
    _process: Child,
}

/// Reads in each way from each server.
pub async fn measure(binary: &Path, scale: &Scale, work: &Path) -> Result<Vec<Measurement>> {
    progress(&format!("writing a disk of {}", scale.disk));
    let raw = work.join("disk.raw");
    let written = dataset::create(&raw, scale.disk)?;
    // A hole costs nobody anything.
    std::fs::OpenOptions::new().write(true).open(&raw)?.set_len(written.0)?;
    let site = Site::start_with(binary).await?;
    site.json::<Value>(["vault", "create", VAULT]).await?;
    back_up_stopped(&site, "first", "disk", &raw).await?;
    let file = show(&site, &format!("file:{}", raw.display())).await?;
    let point = show(&site, "point:first/latest").await?;
    let peer = show_by_peer(&raw, work.join("peer.sock")).await?;
    let mut measurements = Vec::new();
    for load in LOADS {
        progress(&format!("reading over NBD: {}", load.name()));
        let mut results = [0.0; 3];
        for (result, server) in results.iter_mut().zip([&file, &point, &peer]) {
            *result = load.run(&server.endpoint, &server.export, scale.window).await?;
        }
        let [file, point, peer] = results;
        for (what, ours) in [("raw file", file), ("point", point)] {
            let metric = format!("nbd of a {what}, {}", load.name());
            measurements.push(Measurement::new(metric, ours, load.unit()).beside(PEER, peer));
        }
    }
    Ok(measurements)
}

/// How long it takes from a command until a disk's first bytes have been read over NBD, in seconds: of a recovery point by
/// `holdfast nbd`, and of a raw file by the peer.
pub async fn first_bytes(site: &Site, reference: &str, raw: &Path, work: &Path) -> Result<(f64, f64)> {
    let begun_at = Instant::now();
    let shown = show(site, reference).await?;
    let ours = first_byte(&shown, begun_at).await?;
    let socket = work.join("first.sock");
    let _ = std::fs::remove_file(&socket); // there is none before the first time
    let begun_at = Instant::now();
    let shown = show_by_peer(raw, socket).await?;
    Ok((ours, first_byte(&shown, begun_at).await?))
}

async fn first_byte(server: &Server, begun_at: Instant) -> Result<f64> {
    let client = Client::connect(&server.endpoint, &server.export, &[]).await?;
    client.read(0, 4096).await?;
    let taken = begun_at.elapsed();
    client.disconnect().await?;
    Ok(taken.as_secs_f64())
}

/// Shows an image by our command.
async fn show(site: &Site, reference: &str) -> Result<Server> {
    let mut command = site.command(["nbd", reference, "--output", "jsonl"])?;
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = process.stdout.take().context("it has a standard output")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    let view: NbdView = serde_json::from_str(&line.context("nothing is shown")?)?;
    let export = view.exports.first().context("nothing is shown")?.name.clone();
    let socket = view.socket.context("it is a socket")?;
    Ok(Server { endpoint: Endpoint::Unix(socket.into()), export, _process: process })
}

/// Shows a raw file by qemu-nbd, with its usual cache and as many connections at once as ours.
async fn show_by_peer(raw: &Path, socket: PathBuf) -> Result<Server> {
    let mut command = Command::new("qemu-nbd");
    command.args(["--read-only", "--persistent", "--shared=16", "--format=raw", "--socket"]);
    let process = command.arg(&socket).arg(raw).kill_on_drop(true).spawn().context("starting qemu-nbd")?;
    let endpoint = Endpoint::Unix(socket);
    let listening = async {
        while nbd::list(&endpoint).await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, listening).await.context("qemu-nbd does not listen")?;
    Ok(Server { endpoint, export: String::new(), _process: process })
}
