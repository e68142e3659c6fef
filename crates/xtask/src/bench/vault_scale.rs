//! `cargo xtask bench vault --scale`: what grows with a vault, in one that looks as if it held terabytes.

use std::{path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::{
    progress,
    report::{Measurement, Report},
};

/// Seconds and MiB that a collection may take of ten million chunks.
const COLLECT_SECONDS_MAX: f64 = 60.0;
const COLLECT_MIB_MAX: f64 = 512.0;

/// Bytes of memory that an open vault may keep for a chunk.
const INDEX_BYTES_MAX: f64 = 16.0;

/// What is measured, each in a process of its own, and what each counts. Collecting is last: it changes the vault.
const STEPS: [(&str, &str); 6] = [
    ("open", "open, index loaded"),
    ("points", "points listed"),
    ("writer", "writer started"),
    ("lookups", "1 M lookups"),
    ("plan", "collection planned"),
    ("collect", "collected"),
];

/// Measures a vault of about so many chunks, which is made below this directory and removed again.
pub async fn measure(binary: &Path, chunks: u64, directory: &Path) -> Result<Report> {
    let work = tempfile::Builder::new().prefix("vault-scale-").tempdir_in(directory)?;
    progress(&format!("making a vault of {chunks} chunks"));
    let filled = step(binary, "fill", work.path(), chunks).await?;
    let chunks = filled["chunks"].as_u64().context("the vault has chunks")?;
    let mut report = Report::default();
    report.extend([Measurement::new("chunks", chunks as f64, "")]);
    for (name, shown) in STEPS {
        progress(shown);
        let figures = step(binary, name, work.path(), chunks).await?;
        report.extend(measurements(name, shown, chunks, &figures)?);
    }
    Ok(report)
}

async fn step(binary: &Path, name: &str, directory: &Path, chunks: u64) -> Result<Value> {
    let mut command = Command::new(binary);
    command.arg(name).arg(directory).arg(chunks.to_string()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("running {}", binary.display()))?;
    ensure!(output.status.success(), "step {name} ended with {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("reading the figures of step {name}"))
}

fn measurements(name: &str, shown: &str, chunks: u64, figures: &Value) -> Result<Vec<Measurement>> {
    let figure = |key: &str| figures[key].as_f64().with_context(|| format!("step {name} gives no {key}"));
    let wall = Measurement::new(shown, figure("wall_seconds")?, "s");
    let peak = Measurement::new("… peak of memory", figure("peak_mib")?, "MiB");
    let (wall, peak) = match name {
        "collect" => (wall.at_most(COLLECT_SECONDS_MAX), peak.at_most(COLLECT_MIB_MAX)),
        _ => (wall, peak),
    };
    let mut measurements = vec![wall, Measurement::new("… processor", figure("cpu_seconds")?, "s"), peak];
    match name {
        "open" => {
            let held_bytes = figure("held_mib")? * f64::from(1 << 20) / chunks as f64;
            let held = Measurement::new("… kept for a chunk", held_bytes, "B").at_most(INDEX_BYTES_MAX);
            measurements.push(held);
        }
        "collect" => measurements.push(Measurement::new("… packs deleted", figure("count")?, "")),
        _ => {}
    }
    Ok(measurements)
}
