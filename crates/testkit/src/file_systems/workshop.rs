//! A machine that runs a script on disks with the tools: what needs a kernel to be made is made there, not by the host's.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::FileSystemTools;
use crate::command::{run, run_into_file};

/// Modules that scripts need.
const MODULES: [&str; 21] = [
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
    "xfs",
    "btrfs",
    "vfat",
    "nls_utf8",
    "exfat",
    "dm_mod",
    "dm_crypt",
    "dm_thin_pool",
    "raid1",
    "md_mod",
    "aesni_intel",
    "xts",
    "sha256_generic",
    "xxhash_generic",
    "algif_skcipher",
    "af_alg",
    "ecb",
];

/// Tools that scripts use.
const TOOLS: [&str; 8] =
    ["lvm", "mdadm", "cryptsetup", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "pdata_tools", "btrfs"];

/// What the script says when it has come to its end.
const DONE: &str = "WORKSHOP-DONE";

const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin DM_DISABLE_UDEV=1 MDADM_NO_UDEV=1
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev; mount -t tmpfs tmpfs /run
ln -s /proc/self/fd /dev/fd
for module in $(cat /modules); do modprobe -q $module; done
if sh -e /script; then echo WORKSHOP-DONE; fi
echo o > /proc/sysrq-trigger
sleep 60
";

impl FileSystemTools {
    /// Runs a shell script in a machine with raw disks, `/dev/vda` first. It ends as a power cut: what the script does not
    /// unmount stays as it is.
    ///
    /// # Errors
    /// When a command of the script fails, with what the machine said.
    pub fn run_script(&self, script: &str, disks: &[&Path]) -> Result<()> {
        let work = tempfile::tempdir()?;
        let tree = work.path().join("tree");
        self.assemble(&tree)?;
        fs::write(tree.join("script"), script)?;
        fs::write(tree.join("init"), INIT)?;
        fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
        let initrd = work.path().join("initrd");
        pack(&tree, &initrd)?;

        let mut command = Command::new("timeout");
        command.args([
            "300",
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-nographic",
            "-no-reboot",
        ]);
        command.args(["-machine", "q35", "-cpu", "max", "-m", "1024", "-serial", "stdio"]);
        command.arg("-kernel").arg(self.kernel()).arg("-initrd").arg(&initrd);
        command.args(["-append", "console=ttyS0 loglevel=3 panic=-1 mitigations=off"]);
        for disk in disks {
            command.arg("-drive");
            command.arg(format!("if=virtio,format=raw,cache=unsafe,file={}", disk.display()));
        }
        let said = run(command.stdin(Stdio::null()))?;
        ensure!(said.contains(DONE), "the script failed: {said}");
        Ok(())
    }

    /// The root of the machine: busybox, tools with their libraries, modules.
    fn assemble(&self, tree: &Path) -> Result<()> {
        for directory in ["bin", "dev", "etc", "lib", "mnt", "proc", "run", "sys", "tmp", "usr", "var"] {
            fs::create_dir_all(tree.join(directory))?;
        }
        symlink("lib", tree.join("lib64"))?;
        symlink("bin", tree.join("sbin"))?;
        symlink("../bin", tree.join("usr/sbin"))?;
        symlink("../bin", tree.join("usr/bin"))?;
        fs::copy(self.root().join("usr/bin/busybox"), tree.join("bin/busybox"))?;
        for tool in TOOLS {
            let path = self.path_of(tool)?;
            fs::copy(&path, tree.join("bin").join(tool))?;
            for (name, library) in self.libraries(&path)? {
                fs::copy(library, tree.join("lib").join(name))?;
            }
        }
        symlink("pdata_tools", tree.join("bin/thin_check"))?;
        self.add_modules(tree)
    }

    fn path_of(&self, tool: &str) -> Result<PathBuf> {
        let directories = [
            self.root().join("usr/sbin"),
            self.root().join("usr/bin"),
            "/usr/sbin".into(),
            "/usr/bin".into(),
        ];
        let path = directories.iter().map(|directory| directory.join(tool)).find(|path| path.exists());
        path.with_context(|| format!("there is no {tool}"))
    }

    fn libraries(&self, program: &Path) -> Result<Vec<(String, PathBuf)>> {
        let listing = run(self.command("ldd").arg(program))?;
        let library = |line: &str| {
            let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
            let name = line.split_whitespace().next()?.rsplit('/').next()?.to_owned();
            Some((name, PathBuf::from(path)))
        };
        Ok(listing.lines().filter_map(library).collect())
    }

    fn add_modules(&self, tree: &Path) -> Result<()> {
        let index = fs::read_to_string(self.modules().join("modules.dep"))?;
        let wanted = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path).split('.').next().unwrap_or_default();
            MODULES.contains(&name.replace('-', "_").as_str())
        };
        let files: BTreeSet<&str> = index
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(path, _)| wanted(path))
            .flat_map(|(path, needs)| [path].into_iter().chain(needs.split_whitespace()))
            .collect();
        // The directory that the kernel asks for is named after its version, which its modules know.
        let vermagic = fs::read(self.modules().join(files.first().context("there are no modules")?))?;
        let start =
            vermagic.windows(9).position(|part| part == b"vermagic=").context("a module has no version")? + 9;
        let version: Vec<u8> = vermagic[start..].iter().copied().take_while(|&byte| byte != b' ').collect();
        let version = String::from_utf8(version)?;
        for file in files {
            let target = tree.join("lib/modules").join(&version).join(file);
            fs::create_dir_all(target.parent().context("a module is in a directory")?)?;
            fs::copy(self.modules().join(file), target)?;
        }
        fs::write(tree.join("modules"), MODULES.join("\n"))?;
        run(Command::new(tree.join("bin/busybox")).arg("depmod").arg("-b").arg(tree).arg(&version)).map(drop)
    }
}

fn pack(tree: &Path, image: &Path) -> Result<()> {
    let mut list = Command::new("find").arg(".").current_dir(tree).stdout(Stdio::piped()).spawn()?;
    let names = list.stdout.take().context("find has no output")?;
    let mut command = Command::new("cpio");
    command.args(["-o", "-H", "newc", "--quiet", "--owner=0:0"]).current_dir(tree).stdin(names);
    run_into_file(&mut command, image)?;
    list.wait()?;
    Ok(())
}
