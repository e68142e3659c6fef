//! ext4 file systems in raw files, made and changed by debugfs: no root, no mount, and the same bytes every time.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use model::ByteCount;
use testkit::{command, guest::path_with_system_tools};

pub const BLOCK_BYTES: u64 = 4096;

/// The time that e2fsprogs writes into everything.
const NOW: &str = "1735689600";

/// A file system in a sparse raw file.
#[derive(Debug)]
pub struct Ext4 {
    path: PathBuf,
}

impl Ext4 {
    /// Makes an empty file system with this UUID.
    pub fn create(path: &Path, size: ByteCount, uuid: &str) -> Result<Self> {
        File::create(path)?.set_len(size.0)?;
        let extended = format!("hash_seed={uuid},lazy_itable_init=1,nodiscard,root_owner=0:0");
        command::run(
            tool("mke2fs")
                .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-U", uuid, "-E", &extended])
                .arg(path),
        )?;
        Ok(Self { path: path.to_owned() })
    }

    /// Copies a file system to a new file that has the same holes.
    pub fn copy(&self, path: &Path) -> Result<Self> {
        command::run(Command::new("cp").arg("--sparse=auto").arg(&self.path).arg(path))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Has debugfs do these commands, all of which must succeed; returns what it said.
    pub fn edit(&self, commands: &[String]) -> Result<String> {
        let script = self.path.with_extension("debugfs");
        fs::write(&script, commands.join("\n") + "\n")?;
        let output = tool("debugfs").arg("-w").arg("-f").arg(&script).arg(&self.path).output()?;
        fs::remove_file(&script)?;
        // debugfs ends well whatever happens, and starts by naming its version among its errors.
        let errors = String::from_utf8_lossy(&output.stderr);
        let error = errors.lines().find(|line| !line.starts_with("debugfs "));
        ensure!(output.status.success() && error.is_none(), "debugfs: {}", error.unwrap_or("failed"));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writes over a file in place: each piece, a whole number of blocks, from one of the file's blocks on.
    pub fn overwrite(&self, file: &str, pieces: &[(u64, Vec<u8>)]) -> Result<()> {
        let image = File::options().write(true).open(&self.path)?;
        let blocks = self.blocks(file)?;
        for (first, piece) in pieces {
            for (number, data) in (*first..).zip(piece.chunks(BLOCK_BYTES as usize)) {
                let block = blocks.get(number as usize);
                let block = block.with_context(|| format!("{file} has no block {number}"))?;
                image.write_all_at(data, block * BLOCK_BYTES)?;
            }
        }
        Ok(())
    }

    /// Makes a file longer, with this data behind what it holds. The file fills its last block.
    pub fn append(&self, file: &str, data: Vec<u8>) -> Result<()> {
        let first = self.blocks(file)?.len() as u64;
        let count = data.len() as u64 / BLOCK_BYTES;
        self.edit(&[
            format!("fallocate {file} {first} {}", first + count - 1),
            format!("set_inode_field {file} size {}", (first + count) * BLOCK_BYTES),
        ])?;
        self.overwrite(file, &[(first, data)])
    }

    /// Where a file's blocks are, in order.
    fn blocks(&self, file: &str) -> Result<Vec<u64>> {
        let request = format!("blocks {file}");
        let answer = command::run(tool("debugfs").args(["-R", &request]).arg(&self.path))?;
        let blocks = answer.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        ensure!(!blocks.is_empty(), "{} has no {file}", self.path.display());
        Ok(blocks)
    }

    /// Fails when anything is wrong with it.
    pub fn check(&self) -> Result<()> {
        command::run(tool("e2fsck").args(["-f", "-n"]).arg(&self.path)).map(drop)
    }
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", path_with_system_tools()).env("E2FSPROGS_FAKE_TIME", NOW).env("LC_ALL", "C");
    command
}
