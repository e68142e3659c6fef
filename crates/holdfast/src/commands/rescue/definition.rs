//! The definition file that a rescue leaves beside the disks: `vm add --definition` makes the VM from it.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use model::VmDefinition;

use crate::{exit::Exit, failure::Failure};

/// The file's name.
const NAME: &str = "definition.toml";

/// Where the definition goes.
pub fn path_in(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// Writes the definition; on stable storage once this returns.
pub fn write(directory: &Path, definition: &VmDefinition) -> Result<PathBuf, Failure> {
    let path = path_in(directory);
    let text = toml::to_string_pretty(definition).map_err(|error| {
        Failure::new(Exit::Error, format!("the VM's definition cannot be written as TOML: {error}"))
    })?;
    let partial = path.with_extension("toml.holdfast-partial");
    File::create(&partial)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&partial, &path))
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|error| Failure::file(&path, &error))?;
    Ok(path)
}
