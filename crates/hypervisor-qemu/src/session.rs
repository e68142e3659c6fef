//! A VM that answers, and everything needed to work on it.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::PathBuf, sync::Arc};

use hypervisor::{Error, ErrorKind, Result, VmAccess};

use crate::{
    config::{QemuConfig, Sockets},
    monitor::{Monitor, Monitors},
    power,
};

/// A VM that answers.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) config: Arc<QemuConfig>,
    pub(crate) vm: VmAccess,
    pub(crate) sockets: Sockets,
    pub(crate) monitor: Arc<Monitor>,
}

impl Session {
    /// Attaches to a VM; none when nobody listens on its monitor.
    pub(crate) async fn open(
        config: &Arc<QemuConfig>,
        monitors: &Monitors,
        vm: &VmAccess,
    ) -> Result<Option<Self>> {
        let sockets = Sockets::of(config, vm)?;
        let monitor = match monitors.attach(&sockets.monitor, &vm.name).await {
            Ok(monitor) => monitor,
            Err(_) if !crate::launch::is_socket_alive(&sockets.monitor).await => return Ok(None),
            Err(error) => return Err(error),
        };
        power::forget_clean_shutdown(&config.vm_dir(vm.vm_id));
        Ok(Some(Self { config: config.clone(), vm: vm.clone(), sockets, monitor }))
    }

    /// The VM's ledger, in a directory that exists.
    pub(crate) fn ledger(&self) -> Result<PathBuf> {
        self.make_dir()?;
        Ok(self.config.ledger(self.vm.vm_id))
    }

    /// Creates the directory of the VM's sockets and files, unless it exists.
    pub(crate) fn make_dir(&self) -> Result<()> {
        let dir = self.config.vm_dir(self.vm.vm_id);
        make_private_dir(&dir).map_err(|source| {
            let context = format!("cannot create the runtime directory {}", dir.display());
            Error::new(ErrorKind::Failed, context).with_source(source)
        })
    }
}

/// Creates a directory for the owner alone, with its parents, unless it exists.
pub(crate) fn make_private_dir(dir: &std::path::Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
