//! Passphrases and key files. Neither is ever an argument: arguments show in process lists and shell histories.

pub mod kit;
mod terminal;

use std::{
    fs::File,
    io::{self, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use api::UnlockWith;

use crate::{exit::Exit, failure::Failure};

/// The largest key file and the longest passphrase, in bytes.
const SECRET_LIMIT_BYTES: u64 = 64 << 10;

/// What opens a vault.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub struct UnlockArguments {
    /// Use a passphrase: HOLDFAST_PASSWORD, the first line of the file HOLDFAST_PASSWORD_FILE, what HOLDFAST_PASSWORD_COMMAND
    /// prints, or what is typed on the terminal; the first of them that is set.
    #[arg(long)]
    passphrase: bool,
    /// Use the key in this file: a key file, somebody's identity file, or a host's writer key.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
}

/// Whether a passphrase is typed for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// One that exists: a slip shows at once.
    Once,
    /// A new one: a slip would lock everything away, so it is typed twice.
    Twice,
}

impl UnlockArguments {
    /// What the flags of another command say.
    pub fn new(passphrase: bool, key_file: Option<PathBuf>) -> Self {
        Self { passphrase, key_file }
    }

    /// Reads the secret; none when neither flag is given.
    pub fn unlock_with(&self, typed: Typed) -> Result<Option<UnlockWith>, Failure> {
        if let Some(path) = &self.key_file {
            return Ok(Some(UnlockWith::KeyFile(read(path)?)));
        }
        if !self.passphrase {
            return Ok(None);
        }
        let passphrase = passphrase(typed)?;
        if passphrase.is_empty() {
            return Err(Failure::usage("the passphrase is empty"));
        }
        Ok(Some(UnlockWith::Passphrase(passphrase)))
    }
}

fn passphrase(typed: Typed) -> Result<String, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(passphrase) = set("HOLDFAST_PASSWORD") {
        return passphrase.into_string().map_err(|_| Failure::usage("HOLDFAST_PASSWORD is not UTF-8"));
    }
    if let Some(path) = set("HOLDFAST_PASSWORD_FILE").map(PathBuf::from) {
        let text = read_limited(&path).map_err(|error| Failure::file(&path, &error))?;
        return Ok(first_line(&text));
    }
    if let Some(command) = set("HOLDFAST_PASSWORD_COMMAND") {
        let output = Command::new("sh").arg("-c").arg(command).stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| {
            Failure::new(Exit::Error, format!("HOLDFAST_PASSWORD_COMMAND did not start: {error}"))
        })?;
        if !output.status.success() {
            let message = format!("HOLDFAST_PASSWORD_COMMAND failed: {}", output.status);
            return Err(Failure::new(Exit::Error, message));
        }
        let text = String::from_utf8(output.stdout)
            .map_err(|_| Failure::usage("HOLDFAST_PASSWORD_COMMAND printed what is not UTF-8"))?;
        return Ok(first_line(&text));
    }
    let passphrase = terminal::ask("passphrase: ")?;
    if typed == Typed::Twice && terminal::ask("the same passphrase again: ")? != passphrase {
        return Err(Failure::usage("the two passphrases differ"));
    }
    Ok(passphrase)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Reads a secret from a file.
pub fn read(path: &Path) -> Result<String, Failure> {
    read_limited(path).map_err(|error| Failure::file(path, &error))
}

/// Asks for a secret on the terminal, without showing it.
pub fn ask(question: &str) -> Result<String, Failure> {
    terminal::ask(question)
}

fn read_limited(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SECRET_LIMIT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_LIMIT_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long to be a key or a passphrase"));
    }
    Ok(text)
}

/// A new file for a key, which only its owner may read. Dropped before a key is in it, it is removed.
pub struct KeyFile {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl KeyFile {
    /// Creates the file; one that exists is an error.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| Failure::file(path, &error))?;
        Ok(Self { path: path.to_owned(), file, is_written: false })
    }

    /// Writes the key; it is on stable storage once this returns.
    pub fn write(mut self, key: &str) -> Result<(), Failure> {
        let written = self.file.write_all(key.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|error| Failure::file(&self.path, &error))?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        if !self.is_written {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests;
