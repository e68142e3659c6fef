//! UEFI: OVMF's code, and a variable store of the VM's own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hypervisor::{Error, ErrorKind, Result};
use model::{Firmware, VmDefinition};

/// Where distributions put OVMF: its code, and the empty variable store that belongs to it.
const KNOWN_PLACES: [(&str, &str); 6] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
];

/// The images that a UEFI machine starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlashImages {
    /// Shared by all VMs and read-only.
    pub(crate) code: PathBuf,
    /// The VM's own; from [`find_images`], the template.
    pub(crate) variables: PathBuf,
}

/// OVMF as this host has it.
pub(crate) fn find_images() -> Option<FlashImages> {
    let mut places = KNOWN_PLACES.iter().map(|(code, variables)| (Path::new(code), Path::new(variables)));
    let (code, variables) = places.find(|(code, variables)| code.exists() && variables.exists())?;
    Some(FlashImages { code: code.to_owned(), variables: variables.to_owned() })
}

/// The images of a VM, its variable store made from the template at its first start; none for other firmware. A store
/// without a path lies beside the first disk, which outlives a reboot as it must.
pub(super) fn prepare(definition: &VmDefinition) -> Result<Option<FlashImages>> {
    let Firmware::Uefi { variables } = &definition.firmware else { return Ok(None) };
    let images = find_images().ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("the VM {} needs UEFI firmware, and there is none", definition.name),
        )
        .with_guidance("install OVMF (Debian and Ubuntu: apt install ovmf; Fedora: dnf install edk2-ovmf)")
    })?;
    let own = variables.clone().or_else(|| beside_disk(definition)).ok_or_else(|| {
        let context = format!("the VM {} has no place for its UEFI variables", definition.name);
        Error::new(ErrorKind::Unsupported, context).with_guidance("give its definition a path for them")
    })?;
    create_from(&images.variables, &own).map_err(|source| {
        Error::new(ErrorKind::Failed, format!("cannot create the UEFI variables {}", own.display()))
            .with_source(source)
    })?;
    Ok(Some(FlashImages { code: images.code, variables: own }))
}

/// The variable store of a VM whose definition names none.
fn beside_disk(definition: &VmDefinition) -> Option<PathBuf> {
    let path = definition.disks.first()?.path.as_ref()?;
    Some(path.with_extension("uefi-variables.fd"))
}

/// The definition with the path of the variable store that an earlier start made, if there is one.
pub(crate) fn with_existing_variables(mut definition: VmDefinition) -> VmDefinition {
    if matches!(definition.firmware, Firmware::Uefi { variables: None }) {
        let variables = beside_disk(&definition).filter(|path| path.is_file());
        definition.firmware = Firmware::Uefi { variables };
    }
    definition
}

fn create_from(template: &Path, own: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).create_new(true).open(own) {
        Ok(mut file) => io::copy(&mut fs::File::open(template)?, &mut file).map(|_| ()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
