//! How far back a VM can be shown, and when a record was taken in.

use model::{Timestamp, VmId};

use super::{Replica, view::Place};
use crate::{Error, ErrorKind, Result, Sequence, segment::blocks::Blocks};

impl Replica {
    /// The oldest record from which on a VM can be shown.
    #[must_use]
    pub fn oldest_whole(&self, vm: VmId) -> Option<Sequence> {
        let reach = self.shared.ledger().state.as_ref()?.reach();
        let view = self.shared.view();
        if view.disks_at(reach).is_whole(vm) {
            return Some(reach);
        }
        let mut later = view.tables.iter().filter(|(from, _)| (reach..=view.durable).contains(from));
        later.find(|(_, table)| table.is_whole(vm)).map(|(from, _)| *from)
    }

    /// When a record was taken in at the source. For what the bases show already, when the first record after it was.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for what has not come, [`ErrorKind::Corrupt`], and those of the file system.
    pub fn time_of(&self, sequence: Sequence) -> Result<Timestamp> {
        let view = self.shared.view();
        let missing = || Error::new(ErrorKind::NotFound, format!("record {sequence} is not in the replica"));
        if sequence > view.durable {
            return Err(missing());
        }
        let place = view.place_of(sequence.max(view.folded.sequence.next())).ok_or_else(missing)?;
        let name = place.name();
        let file = self.shared.folder.open(&name);
        let file = file.map_err(|error| Error::from_io(format!("opening {name}"), error))?;
        let mut blocks = match &place {
            Place::Sealed(segment) => Blocks::of_sealed(&*file, segment),
            Place::Active(active) => Blocks::of_open(&*file, &active.header, active.end_bytes),
        };
        blocks.skip_to(sequence)?;
        if let Some(block) = blocks.next()? {
            let records = block.records().map_err(|error| error.of_file(&name))?;
            if let Some(record) = records.iter().find(|record| record.sequence >= sequence) {
                return Ok(record.time);
            }
        }
        Err(missing())
    }
}
