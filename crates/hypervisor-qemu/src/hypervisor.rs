//! The seam's implementation: hands each request to the folder that knows.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use hypervisor::{
    Baseline, Capture, CaptureRequest, Chain, DiskAtRest, GuestExit, GuestFiles, GuestNetwork, GuestProgram,
    Hydration, HydrationListener, Hypervisor, Inspection, Quiet, Result, Tap, TapRequest, VmAccess,
};
use model::JournalId;

use crate::{
    at_rest, capture, config::QemuConfig, guest, guest_files, hydrate, inspect, launch, monitor::Monitors,
    power, replication,
};

/// QEMU on this host.
pub struct QemuHypervisor {
    config: Arc<QemuConfig>,
    monitors: Monitors,
}

impl QemuHypervisor {
    /// Touches nothing yet.
    #[must_use]
    pub fn new(config: QemuConfig) -> Self {
        Self { config: Arc::new(config), monitors: Monitors::default() }
    }
}

impl fmt::Debug for QemuHypervisor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QemuHypervisor")
            .field("runtime_dir", &self.config.runtime_dir)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Hypervisor for QemuHypervisor {
    async fn inspect(&self, vm: &VmAccess) -> Result<Inspection> {
        inspect::inspect(&self.config, &self.monitors, vm).await
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Box<dyn Capture>> {
        Box::pin(capture::capture(&self.config, &self.monitors, request)).await
    }

    async fn free(&self, vm: &VmAccess) -> Result<Vec<String>> {
        Box::pin(capture::free(&self.config, &self.monitors, vm)).await
    }

    async fn recover(&self, vm: &VmAccess, chain: Chain, committed: &Baseline) -> Result<Vec<String>> {
        Box::pin(capture::recover(&self.config, &self.monitors, vm, chain, committed)).await
    }

    async fn forget_shutdown(&self, vm: &VmAccess) {
        power::forget_clean_shutdown(&self.config.vm_dir(vm.vm_id));
    }

    async fn start(&self, vm: &VmAccess) -> Result<()> {
        launch::start(&self.config, &self.monitors, vm).await
    }

    async fn stop(&self, vm: &VmAccess, force: bool) -> Result<()> {
        power::stop(&self.config, &self.monitors, vm, force).await
    }

    async fn hydrate(
        &self,
        vm: &VmAccess,
        hydration: &Hydration,
        listener: &HydrationListener,
    ) -> Result<()> {
        hydrate::hydrate(&self.config, &self.monitors, vm, hydration, listener).await
    }

    async fn run_in_guest(
        &self,
        vm: &VmAccess,
        program: &GuestProgram,
        limit: Duration,
    ) -> Result<GuestExit> {
        guest::run(&self.config, vm, program, limit).await
    }

    async fn guest_networks(&self, vm: &VmAccess) -> Result<Vec<GuestNetwork>> {
        guest::networks(&self.config, vm).await
    }

    async fn guest_files(&self, vm: &VmAccess) -> Result<Box<dyn GuestFiles>> {
        guest_files::open(&self.config, vm).await
    }

    async fn screenshot(&self, vm: &VmAccess) -> Result<Vec<u8>> {
        guest::screenshot(&self.config, &self.monitors, vm).await
    }

    async fn console(&self, vm: &VmAccess, limit_bytes: u64) -> Result<Vec<u8>> {
        guest::console(&self.config, vm, limit_bytes)
    }

    async fn stop_hydration(&self, vm: &VmAccess) -> Result<()> {
        hydrate::stop(&self.config, &self.monitors, vm).await
    }

    async fn disks_at_rest(&self, vm: &VmAccess) -> Result<Vec<DiskAtRest>> {
        at_rest::open(&self.config, &self.monitors, vm).await
    }

    async fn begin_tap(&self, request: &TapRequest) -> Result<Box<dyn Tap>> {
        Box::pin(replication::begin(&self.config, &self.monitors, request)).await
    }

    async fn end_tap(&self, vm: &VmAccess, journal_id: JournalId) -> Result<()> {
        replication::end(&self.config, &self.monitors, vm, journal_id).await
    }

    async fn release_tap(&self, vm: &VmAccess, journal_id: JournalId) -> Result<()> {
        replication::release(&self.config, &self.monitors, vm, journal_id).await
    }

    async fn quiesce(&self, vm: &VmAccess, limit: Duration) -> Result<Box<dyn Quiet>> {
        replication::quiesce(&self.config, &self.monitors, vm, limit).await
    }

    fn has_bridge(&self, name: &str) -> bool {
        let is_name = !name.is_empty() && !name.contains('/');
        is_name && Path::new("/sys/class/net").join(name).join("bridge").is_dir()
    }
}
