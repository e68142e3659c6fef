//! The kernel that machines run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind, Result};

use super::config::Config;

/// A kernel and its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    pub(super) modules: PathBuf,
}

/// The kernel that is configured, or that of the host: the one that runs, else any that has its modules.
pub(super) fn find(config: &Config) -> Result<Kernel> {
    if let Some(image) = &config.kernel {
        let version = image.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let version = version.trim_start_matches("vmlinuz-");
        let modules = config.modules.clone().unwrap_or_else(|| Path::new("/lib/modules").join(version));
        return readable(Kernel { image: image.clone(), modules });
    }
    let running = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut versions: Vec<String> = fs::read_dir("/lib/modules")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    versions.sort_by_key(|version| (*version != running, std::cmp::Reverse(version.clone())));
    let kernels = versions.iter().flat_map(|version| {
        let modules = Path::new("/lib/modules").join(version);
        // Fedora keeps the kernel beside its modules.
        [Path::new("/boot").join(format!("vmlinuz-{version}")), modules.join("vmlinuz")]
            .map(|image| Kernel { image, modules: modules.clone() })
    });
    match kernels.into_iter().find(|kernel| kernel.image.exists()) {
        Some(kernel) => readable(kernel),
        None => Err(Error::new(ErrorKind::ToolMissing, "there is no kernel for the helper's machine")
            .with_guidance("install one (Debian: apt install linux-image-cloud-amd64), or name one in HOLDFAST_KERNEL and \
                            its modules in HOLDFAST_MODULES")),
    }
}

fn readable(kernel: Kernel) -> Result<Kernel> {
    for path in [&kernel.image, &kernel.modules.join("modules.dep")] {
        fs::File::open(path).map_err(|error| {
            Error::from_io(format!("the kernel for the helper's machine: {}", path.display()), error)
                .with_guidance("make it readable for the user who runs the server, or name another one in HOLDFAST_KERNEL and \
                                its modules in HOLDFAST_MODULES")
        })?;
    }
    Ok(kernel)
}
