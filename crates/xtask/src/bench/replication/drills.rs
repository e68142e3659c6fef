//! How fast a replica is used, whatever the disk's size: a test failover, from the command until the VM runs.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use api::RestoredVmView;
use model::{ByteCount, DiskBus, DiskDefinition, DiskFormat, Firmware, VmDefinition};
use serde_json::Value;

use super::{GIB, Scale, pair::Pair, progress};
use crate::bench::{report::Measurement, sample::median};

const TEST: &str = "drill";

/// VMs without an operating system: their firmware runs, which is all that this site has to do with it.
pub async fn measure(binary: &Path, scale: &Scale, work: &Path) -> Result<Vec<Measurement>> {
    let pair = Pair::start(binary).await?;
    let mut measurements = Vec::new();
    for (name, size) in [("1 GiB", ByteCount(GIB)), ("1 TiB", ByteCount(1024 * GIB))] {
        progress(&format!("tests of a replica of {name}"));
        let vm = format!("size-{}", size.0 / GIB);
        let path = work.join(&vm).with_extension("raw");
        fs::File::create(&path)?.set_len(size.0)?;
        pair.west.add_vm(&definition(&vm, &path)?).await?;
        pair.west.run(["vm", "start", &vm]).await?;
        let protected = pair.replicate(&vm, &[]).await?;
        pair.until_in_sync(&vm).await?;
        let mut took = Vec::new();
        for _ in 0..scale.drills {
            took.push(drill(&pair, &vm).await?.as_secs_f64());
        }
        measurements.push(
            Measurement::new(format!("test failover, VM runs, {name}"), median(took), "s").at_most(3.0),
        );
        measurements.push(Measurement::new(
            format!("sparse disk protected, {name}"),
            protected.as_secs_f64(),
            "s",
        ));
        pair.stop(&vm).await?;
        pair.west.run(["vm", "stop", &vm, "--force"]).await?;
        pair.west.run(["--yes", "vm", "remove", &vm]).await?;
        fs::remove_file(&path)?;
    }
    Ok(measurements)
}

async fn drill(pair: &Pair, vm: &str) -> Result<Duration> {
    let begun = Instant::now();
    let tested: RestoredVmView = pair.east.json(["failover", "test", vm, "--name", TEST]).await?;
    let took = begun.elapsed();
    ensure!(tested.started, "the VM of the test does not run");
    pair.east.json::<Value>(["failover", "cleanup", TEST, "--verdict", "it ran"]).await?;
    Ok(took)
}

fn definition(name: &str, path: &Path) -> Result<VmDefinition> {
    let disk = DiskDefinition {
        name: "root".parse()?,
        path: Some(path.to_owned()),
        format: Some(DiskFormat::Raw),
        bus: DiskBus::Virtio,
        serial: None,
        iothread: false,
    };
    Ok(VmDefinition {
        name: name.parse()?,
        uuid: None,
        cpus: 1,
        memory: ByteCount(128 << 20),
        machine: "q35".to_owned(),
        firmware: Firmware::Bios,
        disks: vec![disk],
        networks: Vec::new(),
        agent: false,
    })
}
