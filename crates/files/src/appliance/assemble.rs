//! Containers are opened by the distribution's own tools, where the host has them.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{devices::Device, init::Modules};

/// Where the initial RAM disk has tools.
const TOOLS_DIRECTORY: &str = "/bin";

/// LVM without udev, which is not there, and without anything that it would keep on disk.
const LVM_CONFIGURATION: &str = "activation { udev_sync=0 udev_rules=0 verify_udev_operations=0 monitoring=0 } \
     devices { obtain_device_list_from_udev=0 external_device_info_source=\"none\" use_devicesfile=0 hints=\"none\" \
     multipath_component_detection=0 md_component_detection=1 } backup { backup=0 archive=0 } global { locking_type=1 \
     use_lvmpolld=0 use_lvmlockd=0 thin_check_executable=\"\" cache_check_executable=\"\" } report { list_item_separator=\",\" }";

/// Modules of what logical volumes and arrays may be.
const MAPPER_MODULES: [&str; 7] =
    ["dm_mod", "dm_snapshot", "dm_mirror", "dm_thin_pool", "dm_raid", "dm_cache", "dm_writecache"];
const RAID_MODULES: [&str; 6] = ["md_mod", "linear", "raid0", "raid1", "raid10", "raid456"];

/// Modules for LUKS. The kernel asks for ciphers by names that only a real modprobe would know.
const CRYPT_MODULES: [&str; 17] = [
    "dm_mod",
    "dm_crypt",
    "dm_integrity",
    "aes_generic",
    "aesni_intel",
    "xts",
    "cbc",
    "ecb",
    "essiv",
    "sha256_generic",
    "sha512_generic",
    "sha1_generic",
    "hmac",
    "serpent_generic",
    "twofish_generic",
    "af_alg",
    "algif_skcipher",
];

/// The modules that anything here needs.
pub(super) fn modules_wanted() -> impl Iterator<Item = &'static str> {
    MAPPER_MODULES.into_iter().chain(RAID_MODULES).chain(CRYPT_MODULES)
}

/// Whether a tool came along.
pub(super) fn has(tool: &str) -> bool {
    Path::new(TOOLS_DIRECTORY).join(tool).exists()
}

/// What became of an encrypted volume.
pub(super) enum Unlocked {
    Open(Device),
    NoKey,
    NoTool,
}

/// Opens an encrypted volume with the first passphrase that fits. What is inside has the volume's name.
pub(super) fn unlock(device: &Device, passphrases: &[Vec<u8>], modules: &mut Modules) -> Unlocked {
    if !has("cryptsetup") {
        return Unlocked::NoTool;
    }
    if !passphrases.is_empty() {
        CRYPT_MODULES.into_iter().for_each(|module| modules.load(module));
    }
    let mapped = format!("open-{}", device.name);
    for passphrase in passphrases {
        let mut command = tool("cryptsetup");
        command
            .args([
                "open",
                "--type",
                "luks",
                "--disable-locks",
                "--disable-external-tokens",
                "--key-file=-",
                "--",
            ])
            .arg(&device.node)
            .arg(&mapped);
        if run(&mut command, passphrase).is_some() {
            let node = Path::new("/dev/mapper").join(&mapped);
            return Unlocked::Open(Device::of_node(device.name.clone(), node));
        }
    }
    Unlocked::NoKey
}

/// Assembles the arrays that can be.
pub(super) fn arrays(modules: &mut Modules) -> Vec<Device> {
    RAID_MODULES.into_iter().for_each(|module| modules.load(module));
    // Arrays that lack a disk run as well as they can.
    run(tool("mdadm").env("MDADM_NO_UDEV", "1").args(["--assemble", "--scan", "--run"]), &[]);
    let arrays = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut names: Vec<String> = arrays
        .filter(|entry| entry.path().join("md").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| Device::of_node(format!("md-{}", array_name(&name)), Path::new("/dev").join(&name)))
        .filter(|device| device.size_bytes > 0)
        .collect()
}

/// What an array calls itself, without the host that made it; its number where it has no name.
fn array_name(kernel_name: &str) -> String {
    let node = format!("/dev/{kernel_name}");
    let detail = run(tool("mdadm").args(["--detail", "--export", &node]), &[]).unwrap_or_default();
    let name = detail
        .lines()
        .find_map(|line| line.strip_prefix("MD_NAME=").or_else(|| line.strip_prefix("MD_DEVNAME=")));
    let name = name.and_then(|name| name.rsplit(':').next()).filter(|name| !name.is_empty());
    name.map_or_else(|| kernel_name.trim_start_matches("md").to_owned(), str::to_owned)
}

/// Activates the logical volumes that can be, thin ones too.
pub(super) fn logical_volumes(modules: &mut Modules) -> Vec<Device> {
    MAPPER_MODULES.into_iter().for_each(|module| modules.load(module));
    let lvm = |arguments: &[&str]| {
        let mut command = tool("lvm");
        command.args(arguments).args(["--config", LVM_CONFIGURATION]);
        run(&mut command, &[])
    };
    lvm(&[
        "vgchange",
        "--activate",
        "y",
        "--activationmode",
        "partial",
        "--ignoreactivationskip",
        "--sysinit",
    ]);
    let columns = "vg_name,lv_name,lv_dm_path,lv_active,lv_role";
    let listing = lvm(&["lvs", "--noheadings", "--separator", "|", "--options", columns]).unwrap_or_default();
    let volumes = listing.lines().filter_map(|line| {
        let mut columns = line.trim().split('|');
        let (group, name, node, active) =
            (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
        let is_plain = columns.next().is_some_and(|role| role.contains("public") && !role.contains("pool"));
        (active == "active" && is_plain)
            .then(|| Device::of_node(format!("{group}-{name}"), PathBuf::from(node)))
    });
    volumes.collect()
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(Path::new(TOOLS_DIRECTORY).join(name));
    command
        .env_clear()
        .env("PATH", TOOLS_DIRECTORY)
        .env("DM_DISABLE_UDEV", "1")
        .env("LVM_SUPPRESS_FD_WARNINGS", "1");
    command
}

/// Runs a tool to its end; none where it fails. What it complains about goes to the console.
fn run(command: &mut Command, input: &[u8]) -> Option<String> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.inspect_err(|error| eprintln!("{command:?}: {error}")).ok()?;
    // A tool that reads nothing is not to blame.
    child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
