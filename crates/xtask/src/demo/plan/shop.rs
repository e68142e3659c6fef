//! The shop: a program in three guests; see `shop.pl`.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use api::{PlanRunView, VmView};
use model::{ByteCount, DiskFormat, NetworkDefinition, NetworkKind};
use testkit::{agent::GuestAgent, guest::GuestImage, site::Site, sites::PATIENCE};

const PROGRAM: &str = include_str!("shop.pl");

const DATA_SIZE: ByteCount = ByteCount(32 << 20);

/// A part of the shop.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Its VM.
    pub vm: &'static str,
    /// What the program is to be.
    role: &'static str,
    /// Its address at home.
    address: &'static str,
    /// The address of who is asked first.
    upstream: &'static str,
}

/// All parts, in the order in which they depend on one another.
pub const PARTS: [Part; 3] = [
    Part { vm: "db", role: "database", address: "10.1.0.5", upstream: "" },
    Part { vm: "app", role: "application", address: "10.1.0.6", upstream: "10.1.0.5" },
    Part { vm: "web", role: "web", address: "10.1.0.7", upstream: "10.1.0.6" },
];

/// The last record that each part has found.
#[derive(Debug, Clone, Copy)]
pub struct Records {
    pub database: u64,
    application: u64,
    web: u64,
}

impl Records {
    /// What they are, in words.
    ///
    /// # Errors
    /// When one has what the one before it lacks: then they are not of one moment.
    pub fn sound(&self) -> Result<String> {
        let Self { database, application, web } = self;
        ensure!(
            web <= application && application <= database && *database <= web + 1,
            "an effect without its cause: {self:?}"
        );
        Ok(format!("db has {database}, app {application}, web {web}"))
    }
}

/// Starts the VM of a part.
pub async fn start(site: &Site, image: &GuestImage, part: &Part) -> Result<()> {
    let directory = site.directory().join(part.vm);
    std::fs::create_dir(&directory)?;
    let disks = image.create_disks(&directory, DiskFormat::Qcow2, DATA_SIZE)?;
    let mut definition = disks.definition(part.vm.parse()?);
    definition.networks = vec![NetworkDefinition {
        mac: None,
        model: "virtio-net-pci".to_owned(),
        kind: NetworkKind::Bridge,
        bridge: Some("br-west".to_owned()),
    }];
    site.add_vm(&definition).await?;
    site.run(["vm", "start", part.vm]).await.map(drop)
}

/// Puts the program into a guest that boots, and begins it.
pub async fn open(site: &Site, part: &Part) -> Result<()> {
    let guest = site.guest(part.vm).await?;
    let begun = Instant::now();
    // Three boot side by side, and a busy machine takes longer for that than an agent is waited for.
    let state = loop {
        match guest.state_at_boot().await {
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_) => {}
            Ok(state) => break state,
        }
    };
    state.sound().with_context(|| format!("the guest of {}", part.vm))?;
    let Part { role, address, upstream, .. } = part;
    let script = format!(
        "mkdir -p /etc/services.d
         printf %s \"$1\" >/usr/local/bin/shop
         printf '#!/bin/sh\\nexec /usr/local/bin/shop serve {role}\\n' >/etc/services.d/shop
         chmod +x /usr/local/bin/shop /etc/services.d/shop
         printf '{upstream}\\n' >/data/upstream
         ip address flush dev eth0 scope global
         ip address add {address}/24 dev eth0
         sync
         setsid /etc/services.d/shop </dev/null >/run/shop.log 2>&1 &"
    );
    guest.exec(&["/bin/sh", "-ec", &script, "sh", PROGRAM]).await?;
    Ok(())
}

/// What the parts found when they came up in a run.
pub async fn found(site: &Site, run: &PlanRunView) -> Result<Records> {
    let mut found = Vec::new();
    for part in PARTS {
        let vm = run.vms.iter().find(|vm| vm.name == part.vm).and_then(|vm| vm.vm_name.as_deref());
        let vm = vm.with_context(|| format!("{} has not come up", part.vm))?;
        let text = guest(site, vm).await?.exec(&["/usr/local/bin/shop", "found"]).await?;
        found.push(text.trim().parse().with_context(|| format!("{vm} has found {text:?}"))?);
    }
    match found[..] {
        [database, application, web] => Ok(Records { database, application, web }),
        _ => anyhow::bail!("three parts have three records"),
    }
}

async fn guest(site: &Site, vm: &str) -> Result<GuestAgent> {
    let view: VmView = site.json(["vm", "show", vm]).await?;
    ensure!(view.power == "running", "{vm} is {}", view.power);
    site.guest(vm).await
}
