//! What is being done to a VM right now, on disk: enough to undo it after the death of everybody who knew.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use model::CaptureId;
use serde::{Deserialize, Serialize};

/// The ledger of one VM. Written before something is done that must be undone. The entries are intentions: what they name
/// may not have happened yet. Survives the death of processes; a reboot ends the VM and everything named here with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Ledger {
    /// The capture that is being made or held; none when a guest is frozen for no capture.
    #[serde(default)]
    pub(crate) capture_id: Option<CaptureId>,
    /// The guest's file systems may be frozen.
    pub(crate) frozen: bool,
    /// The virtual CPUs may stand still.
    pub(crate) paused: bool,
    /// Files that are of no use once the capture is over.
    pub(crate) files: Vec<PathBuf>,
}

impl Ledger {
    /// The ledger at this path; none when there is none, or none that can be read.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = fs::read(path).ok()?;
        match serde_json::from_slice(&text) {
            Ok(ledger) => Some(ledger),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an unreadable ledger is ignored");
                None
            }
        }
    }

    /// Replaces the ledger in one step.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension(format!("new-{}", std::process::id())); // server and guard both write
        fs::write(&fresh, serde_json::to_vec(self)?)?;
        fs::rename(&fresh, path)
    }

    /// Changes the ledger at this path, whether there is one or not. One that says nothing goes.
    pub(crate) fn note(path: &Path, change: impl FnOnce(&mut Self)) -> io::Result<()> {
        let nothing = Self { capture_id: None, frozen: false, paused: false, files: Vec::new() };
        let mut ledger = Self::read(path).unwrap_or_else(|| nothing.clone());
        change(&mut ledger);
        if ledger == nothing {
            Self::remove(path);
            return Ok(());
        }
        ledger.write(path)
    }

    /// Changes the ledger at this path, if there is one.
    pub(crate) fn amend(path: &Path, change: impl FnOnce(&mut Self)) -> io::Result<()> {
        let Some(mut ledger) = Self::read(path) else { return Ok(()) };
        change(&mut ledger);
        ledger.write(path)
    }

    /// Removes the ledger.
    pub(crate) fn remove(path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a ledger cannot be removed");
        }
    }
}
