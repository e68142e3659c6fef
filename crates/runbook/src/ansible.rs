//! Ansible playbooks, where Ansible is installed.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::NamedTempFile;

use crate::{Error, ErrorKind, Program, Result};

/// A playbook as a program. The values that it gets are in a file of its own, which goes when this is dropped.
#[derive(Debug)]
pub struct Playbook {
    /// What to run.
    pub program: Program,
    _values: NamedTempFile,
}

impl Playbook {
    /// `ansible-playbook` for a playbook. `values` is a JSON object, and what the playbook knows as variables; an inventory is a file, or
    /// host names with a comma after each.
    ///
    /// # Errors
    /// [`ErrorKind::NotStarted`] when Ansible is not installed or the playbook is not there; [`ErrorKind::Io`].
    pub fn new(playbook: &Path, inventory: Option<&str>, values: &str, time_limit: Duration) -> Result<Self> {
        if !playbook.is_file() {
            let context = format!("there is no playbook {}", playbook.display());
            return Err(Error::new(ErrorKind::NotStarted, context));
        }
        let ansible = find_in_path("ansible-playbook").ok_or_else(|| {
            Error::new(ErrorKind::NotStarted, "Ansible is not installed on this host")
                .with_guidance("install ansible-core, so that `ansible-playbook` is in the server's PATH")
        })?;
        let failed = |error| Error::io("writing the playbook's values", error);
        let mut file =
            tempfile::Builder::new().prefix("holdfast-").suffix(".json").tempfile().map_err(failed)?;
        file.write_all(values.as_bytes()).map_err(failed)?;
        let mut program = Program::new(ansible, time_limit);
        program.arguments = vec!["--extra-vars".to_owned(), format!("@{}", file.path().display())];
        if let Some(inventory) = inventory {
            program.arguments.extend(["--inventory".to_owned(), inventory.to_owned()]);
        }
        program.arguments.extend(["--".to_owned(), playbook.display().to_string()]);
        program.directory = playbook.parent().filter(|parent| parent.is_absolute()).map(Path::to_owned);
        Ok(Self { program, _values: file })
    }
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
