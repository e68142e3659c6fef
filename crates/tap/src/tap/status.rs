//! What a tap tells of itself.

use super::{Tap, disks::export_name};
use crate::{TapDisk, TapStatus};

impl Tap {
    pub(crate) fn status(&self) -> TapStatus {
        let state = self.state();
        let disks = self.journal.disks();
        let disks = disks.iter().map(|(number, disk)| TapDisk {
            number,
            vm_id: disk.vm,
            name: disk.name.clone(),
            size_bytes: disk.size_bytes,
            export: export_name(disk.vm, &disk.name),
            epoch: state.epoch(disk.vm),
            is_whole: disk.is_whole,
            clients: state.clients.get(&number).copied().unwrap_or_default(),
            accepts: !state.is_shut_out(disk.vm),
        });
        TapStatus {
            journal_id: self.journal.id(),
            generation: self.journal.generation(),
            process_id: std::process::id(),
            started_at: self.started_at,
            nbd_socket: self.options.nbd_socket(),
            usage: self.journal.usage(),
            memory_limit_bytes: self.options.memory_bytes,
            disk_limit_bytes: self.options.disk_bytes,
            start: self.journal.start(),
            disks: disks.collect(),
            checkpoint: state.checkpoints.newest,
            stalled_since: state.stalled_since,
            broken: state.broken.clone(),
            counts: state.counts,
        }
    }
}
