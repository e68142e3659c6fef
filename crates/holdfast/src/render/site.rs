//! The site and its host.

use api::{CheckStatus, CheckView, JobView, SiteView, VaultView, VmView};
use serde::Serialize;

use super::{Identified, Page, Row, Times, or_dash, table};

/// The site in a few numbers.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The site itself.
    pub site: SiteView,
    /// VMs that the site knows.
    pub vm_count: usize,
    /// Those of them that are protected.
    pub protected_vm_count: usize,
    /// Those of the protected ones that have no recovery point.
    pub unrecoverable_vm_count: usize,
    /// Vaults.
    pub vault_count: usize,
    /// Vaults that do not open.
    pub closed_vault_count: usize,
    /// Jobs that have not ended.
    pub unfinished_job_count: usize,
}

impl Status {
    /// Counts.
    pub fn new(site: SiteView, vms: &[VmView], vaults: &[VaultView], jobs: &[JobView]) -> Self {
        let is_protected = |vm: &&VmView| vm.protection.is_some();
        Self {
            site,
            vm_count: vms.len(),
            protected_vm_count: vms.iter().filter(is_protected).count(),
            unrecoverable_vm_count: vms
                .iter()
                .filter(is_protected)
                .filter(|vm| vm.latest_point.is_none())
                .count(),
            vault_count: vaults.len(),
            closed_vault_count: vaults.iter().filter(|vault| vault.problem.is_some()).count(),
            unfinished_job_count: jobs.iter().filter(|job| !job.state.is_final()).count(),
        }
    }
}

impl Status {
    fn vms(&self) -> String {
        let counts = format!("{}, {} protected", self.vm_count, self.protected_vm_count);
        match self.unrecoverable_vm_count {
            0 => counts,
            count => format!("{counts}, {count} of those without a recovery point"),
        }
    }

    fn vaults(&self) -> String {
        match self.closed_vault_count {
            0 => self.vault_count.to_string(),
            count => format!("{}, {count} of them cannot be opened", self.vault_count),
        }
    }
}

impl Identified for Status {
    fn id(&self) -> String {
        self.site.data_directory.clone()
    }
}

impl Page for Status {
    fn page(&self, times: &Times) -> String {
        let started = match self.site.started_at.parse() {
            Ok(moment) => times.moment(moment),
            Err(_) => self.site.started_at.clone(),
        };
        table::fields(vec![
            ("Data directory", self.site.data_directory.clone()),
            ("Server", format!("version {}, process {}", self.site.version, self.site.process_id)),
            ("Running since", started),
            ("VMs", self.vms()),
            ("Vaults", self.vaults()),
            ("Jobs at work", self.unfinished_job_count.to_string()),
        ])
    }
}

impl Identified for CheckView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Row for CheckView {
    const COLUMNS: &'static [&'static str] = &["check", "status", "found", "what to do"];

    fn cells(&self, _: &Times) -> Vec<String> {
        let status = match self.status {
            CheckStatus::Ok => "ok",
            CheckStatus::Warning => "WARNING",
            CheckStatus::Failed => "FAILED",
        };
        vec![self.name.clone(), status.to_owned(), self.detail.clone(), or_dash(self.hint.as_ref())]
    }
}
