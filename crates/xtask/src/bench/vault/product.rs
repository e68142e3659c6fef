//! The product: a server, and its command line.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};
use api::PointView;
use model::{ByteCount, DiskBus, DiskDefinition, DiskFormat, Firmware, VmDefinition};
use serde_json::Value;
use testkit::site::Site;

use super::cycle::{Places, Step};
use crate::bench::{
    process::{self, Process},
    sample::Sample,
};

const VAULT: &str = "bench";
const VM: &str = "first";
const SIBLING: &str = "sibling";
const DISK: &str = "disk";

/// A site with an empty vault that protects two stopped VMs.
pub struct Product {
    site: Site,
    server: Process,
}

impl Product {
    /// Starts a server of this binary, whose vault and VMs are in the given places.
    pub async fn start(binary: &Path, places: &Places) -> Result<Self> {
        let site = Site::start_with(binary).await?;
        let repository = places.repository().display().to_string();
        site.json::<Value>(["vault", "create", VAULT, "--url", &repository]).await?;
        for (vm, disk) in [(VM, places.disk()), (SIBLING, places.sibling_disk())] {
            site.add_vm(&stopped_vm(vm, &disk)?).await?;
            site.json::<Value>(["protect", vm, "--vault", VAULT, "--consistency", "crash"]).await?;
        }
        let server = Process::new(site.server_process_id().context("the server does not run")?);
        Ok(Self { site, server })
    }

    /// Does a step; none when the command line does not know it yet.
    pub async fn run(&self, step: Step, places: &Places) -> Result<Option<Sample>> {
        let restored = places.restored_disk().display().to_string();
        let reference = format!("point:{VM}/latest/{DISK}");
        let commands = match step {
            Step::Full | Step::Incremental => vec![vec!["backup", VM]],
            Step::Sibling => vec![vec!["backup", SIBLING]],
            Step::Restore => vec![vec!["restore", "disk", &reference, "--to", &restored]],
            Step::Verify => vec![vec!["vault", "verify", VAULT]],
            Step::Collect => return self.collect().await,
        };
        self.measure(&commands).await.map(Some)
    }

    /// Deletes the first point, and gives its space back.
    async fn collect(&self) -> Result<Option<Sample>> {
        // Without it the point could be brought back for days, and its space would stay.
        self.site.run(["vault", "immutability", "set", VAULT, "--soft-delete", "0d"]).await?;
        let points: Vec<PointView> = self.site.json(["point", "list", "--vm", VM]).await?;
        let first = format!("point:{VM}/{}", points.first().context("there is no point")?.id);
        let commands = [vec!["point", "delete", &first], vec!["vault", "gc", VAULT, "--grace", "0h"]];
        self.measure(&commands).await.map(Some)
    }

    /// What commands cost, server and command line together; the memory is the server's.
    async fn measure(&self, commands: &[Vec<&str>]) -> Result<Sample> {
        self.server.reset_peak_memory()?;
        let (cpu_before, started) = (self.cpu_seconds()?, Instant::now());
        for command in commands {
            self.site.run(["--yes"].iter().chain(command)).await?;
        }
        Ok(Sample {
            wall: started.elapsed(),
            cpu_seconds: self.cpu_seconds()? - cpu_before,
            peak_memory_mib: self.server.peak_memory_mib()?,
        })
    }

    fn cpu_seconds(&self) -> Result<f64> {
        Ok(self.server.cpu_seconds()? + process::children_cpu_seconds()?)
    }
}

fn stopped_vm(name: &str, disk: &Path) -> Result<VmDefinition> {
    Ok(VmDefinition {
        name: name.parse()?,
        uuid: None,
        cpus: 1,
        memory: ByteCount(128 << 20),
        machine: "q35".to_owned(),
        firmware: Firmware::Bios,
        disks: vec![DiskDefinition {
            name: DISK.parse()?,
            path: Some(disk.to_owned()),
            format: Some(DiskFormat::Raw),
            bus: DiskBus::Virtio,
            serial: None,
            iothread: false,
        }],
        networks: Vec::new(),
        agent: false,
    })
}
