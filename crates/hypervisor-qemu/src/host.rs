//! Whether this host has what Holdfast needs, in words for `doctor`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time};

use crate::{
    capture, config::QemuConfig, config::socket_path_fits, launch, launch::Accelerator,
    monitor::OLDEST_VERSION, session::make_private_dir,
};

/// How long a program may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Something works less well than it could.
    Warn,
    /// Something does not work.
    Fail,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCheck {
    /// What was checked, in a word or two.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub guidance: Option<String>,
}

impl HostCheck {
    fn new(name: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { name, verdict, detail: detail.into(), guidance: None }
    }

    fn with_guidance(mut self, guidance: impl Into<String>) -> Self {
        self.guidance = Some(guidance.into());
        self
    }
}

/// Examines the host. Creates the runtime and scratch directories where they are missing; changes nothing else.
pub async fn examine(config: &QemuConfig) -> Vec<HostCheck> {
    vec![
        qemu(config).await,
        acceleration(),
        tool("qemu-img").await,
        tool("qemu-nbd").await,
        tool("qemu-storage-daemon").await,
        runtime_directory(config),
        scratch_directory(config),
        firmware(),
        fuse(),
    ]
}

async fn first_line(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = time::timeout(VERSION_TIMEOUT, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

async fn qemu(config: &QemuConfig) -> HostCheck {
    let program = config.qemu_program.display();
    let install = "install QEMU (Debian and Ubuntu: apt install qemu-system-x86)";
    let Some(line) = first_line(&config.qemu_program).await else {
        return HostCheck::new("QEMU", Verdict::Fail, format!("{program} does not run"))
            .with_guidance(install);
    };
    let oldest = (OLDEST_VERSION.major, OLDEST_VERSION.minor);
    match version(&line) {
        Some(version) if version >= oldest => HostCheck::new("QEMU", Verdict::Ok, line),
        Some(_) => HostCheck::new("QEMU", Verdict::Fail, line)
            .with_guidance(format!("upgrade to QEMU {}.{} or newer", oldest.0, oldest.1)),
        None => HostCheck::new("QEMU", Verdict::Warn, format!("{program} tells no version: {line:?}")),
    }
}

/// The numbers in a line such as `QEMU emulator version 7.2.22 (Debian …)`.
fn version(line: &str) -> Option<(u64, u64)> {
    let mut numbers = line.split("version ").nth(1)?.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn acceleration() -> HostCheck {
    match Accelerator::detect() {
        Accelerator::Kvm => HostCheck::new("acceleration", Verdict::Ok, "KVM works"),
        Accelerator::Tcg => {
            HostCheck::new("acceleration", Verdict::Warn, "no KVM: managed VMs are emulated, and slow")
                .with_guidance("enable virtualisation in the host's firmware, and allow access to /dev/kvm")
        }
    }
}

async fn tool(name: &'static str) -> HostCheck {
    match first_line(Path::new(name)).await {
        Some(line) => HostCheck::new(name, Verdict::Ok, line),
        None => HostCheck::new(name, Verdict::Fail, "not found")
            .with_guidance("install QEMU's tools (Debian and Ubuntu: apt install qemu-utils)"),
    }
}

fn runtime_directory(config: &QemuConfig) -> HostCheck {
    let name = "runtime directory";
    let longest: PathBuf = config.runtime_dir.join("0".repeat(16)).join("agent.sock");
    if !socket_path_fits(&longest) {
        return HostCheck::new(
            name,
            Verdict::Fail,
            format!("{} is too long a path for sockets", config.runtime_dir.display()),
        )
        .with_guidance("choose a shorter one");
    }
    writable(name, &config.runtime_dir)
}

fn scratch_directory(config: &QemuConfig) -> HostCheck {
    let check = writable("scratch directory", &config.scratch_dir);
    let free =
        rustix::fs::statvfs(&config.scratch_dir).map(|space| space.f_bavail.saturating_mul(space.f_frsize));
    match free {
        Ok(free_bytes) if check.verdict == Verdict::Ok => {
            let detail = format!("{} with {} free", check.detail, model::ByteCount(free_bytes));
            HostCheck { detail, ..check }
        }
        _ => check,
    }
}

fn writable(name: &'static str, dir: &Path) -> HostCheck {
    let probe = dir.join("holdfast-probe");
    let tried =
        make_private_dir(dir).and_then(|()| fs::write(&probe, "")).and_then(|()| fs::remove_file(&probe));
    match tried {
        Ok(()) => HostCheck::new(name, Verdict::Ok, dir.display().to_string()),
        Err(error) => HostCheck::new(name, Verdict::Fail, format!("{}: {error}", dir.display()))
            .with_guidance("make it writable for the user that runs Holdfast"),
    }
}

fn firmware() -> HostCheck {
    match launch::find_firmware() {
        Some(images) => HostCheck::new("UEFI firmware", Verdict::Ok, images.code.display().to_string()),
        None => HostCheck::new("UEFI firmware", Verdict::Warn, "none: managed VMs cannot start by UEFI")
            .with_guidance("install OVMF (Debian and Ubuntu: apt install ovmf)"),
    }
}

fn fuse() -> HostCheck {
    if capture::can_mount() {
        return HostCheck::new("FUSE", Verdict::Ok, "fusermount is there");
    }
    HostCheck::new(
        "FUSE",
        Verdict::Warn,
        "none: disks with an I/O thread on a QEMU before 9.0 cannot be backed up",
    )
    .with_guidance("install fuse3, if there are such VMs")
}
