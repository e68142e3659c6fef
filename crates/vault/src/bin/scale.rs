//! Makes a vault that looks as if it held a lot, and measures one thing in it; for `cargo xtask bench vault --scale`, which
//! starts a process for each.

use std::{
    env as process_env, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use env::{Env, SeededEntropy};
use tokio::runtime::Runtime;
use vault::{CollectOptions, KeyFile, Monitor, NewKey, NewSlot, StoreLocation, Unlock, Vault, scale};

type Anything = Box<dyn std::error::Error>;

/// Chunks that are asked for.
const LOOKUPS: u64 = 1_000_000;

/// Nothing is repacked: there is no data.
const REPACK_NONE: u32 = 101;

fn main() -> Result<(), Anything> {
    let arguments: Vec<String> = process_env::args().collect();
    let [_, step, directory, chunks] = arguments.as_slice() else {
        return Err("usage: scale fill|open|points|writer|lookups|plan|collect DIRECTORY CHUNKS".into());
    };
    let directory = PathBuf::from(directory);
    Runtime::new()?.block_on(run(step, &directory, chunks.parse()?))
}

async fn run(step: &str, directory: &Path, chunks: u64) -> Result<(), Anything> {
    let location = StoreLocation::parse(&directory.join("vault").display().to_string())?;
    let key_file = KeyFile::generate(&SeededEntropy::new(1));
    if step == "fill" {
        let slots = [NewSlot::unlabelled(NewKey::KeyFile(key_file))];
        let vault = Vault::create(&location, &slots, Env::system()).await?;
        let totals = scale::fill(&vault, &directory.join("vault"), chunks).await?;
        println!("{}", serde_json::json!({ "chunks": totals.chunks, "points": totals.points }));
        return Ok(());
    }
    let before_mib = memory_mib("VmRSS:")?;
    let vault = Vault::open(&location, &Unlock::KeyFile(key_file), Env::system()).await?;
    let vault = vault.with_index_directory(&directory.join("scratch"));
    let options = CollectOptions { repack_dead_percent: REPACK_NONE, ..CollectOptions::default() };
    let monitor = Monitor::default();
    if step == "lookups" {
        scale::load_index(&vault).await?;
    }
    let (started, cpu_before) = (Instant::now(), cpu_seconds()?);
    let count = match step {
        "open" => scale::load_index(&vault).await? as u64,
        "points" => vault.points().await?.points.len() as u64,
        "writer" => vault.writer().await?.lost_packs() as u64,
        "lookups" => scale::look_up(&vault, chunks, LOOKUPS)?,
        "plan" => vault.plan_collection(&options, &monitor).await?.drop.len() as u64,
        "collect" => vault.collect(&options, &monitor).await?.dropped_packs,
        _ => return Err(format!("there is no step {step:?}").into()),
    };
    let wall_seconds = started.elapsed().as_secs_f64();
    let figures = serde_json::json!({
        "count": count,
        "wall_seconds": wall_seconds,
        "cpu_seconds": cpu_seconds()? - cpu_before,
        "held_mib": memory_mib("VmRSS:")? - before_mib,
        "peak_mib": memory_mib("VmHWM:")?,
    });
    println!("{figures}");
    Ok(())
}

/// Processor time of this process, in seconds. In `/proc`, its unit is 10 ms.
fn cpu_seconds() -> Result<f64, Anything> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, behind_name) = stat.rsplit_once(") ").ok_or("the kernel hides processor time")?;
    let ticks = behind_name.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

fn memory_mib(field: &str) -> Result<f64, Anything> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("the kernel hides memory")?;
    Ok(kib.trim().parse::<f64>()? / 1024.0)
}
