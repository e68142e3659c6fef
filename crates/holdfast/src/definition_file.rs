//! VM definitions that people write as TOML.

use std::path::{Path, PathBuf};

use model::{ByteCount, Firmware, NetworkDefinition, NetworkKind, VmDefinition, VmName};

use crate::{document, failure::Failure, location};

/// Reads a definition. Relative paths in it are relative to the file, and come back absolute.
pub fn read(path: &Path) -> Result<VmDefinition, Failure> {
    let text = document::read(path)?;
    let mut definition = parse(&path.display().to_string(), &text)?;
    let directory = PathBuf::from(location::absolute(path)?);
    anchor(&mut definition, directory.parent().unwrap_or(Path::new("/")));
    Ok(definition)
}

/// The definition of a VM of which no more is said, without any disk.
pub fn plain(name: VmName, memory: ByteCount) -> VmDefinition {
    VmDefinition {
        name,
        uuid: None,
        cpus: 1,
        memory,
        machine: "q35".to_owned(),
        firmware: Firmware::Bios,
        disks: Vec::new(),
        networks: vec![NetworkDefinition {
            mac: None,
            model: "virtio-net-pci".to_owned(),
            kind: NetworkKind::User,
            bridge: None,
        }],
        agent: true,
    }
}

fn parse(file: &str, text: &str) -> Result<VmDefinition, Failure> {
    toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| place_of(text, span.start)).unwrap_or_default();
        Failure::usage(format!("{file}{place}: {}", error.message().trim()))
            .with_hint("holdfast vm add --help shows a whole definition")
    })
}

/// `:line:column` of a byte, counted from one, as editors do.
fn place_of(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    format!(":{line}:{column}")
}

fn anchor(definition: &mut VmDefinition, directory: &Path) {
    let disks = definition.disks.iter_mut().filter_map(|disk| disk.path.as_mut());
    let firmware: Vec<&mut PathBuf> = match &mut definition.firmware {
        Firmware::Bios => Vec::new(),
        Firmware::Uefi { variables } => variables.iter_mut().collect(),
        Firmware::Kernel { kernel, initrd, .. } => std::iter::once(kernel).chain(initrd).collect(),
    };
    for path in disks.chain(firmware) {
        // Joining an absolute path leaves it as it is.
        *path = directory.join(&path);
    }
}

#[cfg(test)]
mod tests;
