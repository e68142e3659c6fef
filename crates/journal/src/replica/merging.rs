//! Merging the indexes of many segments into one, so that a moment is found through few.
//!
//! Merged indexes follow from the segments. One that is damaged or missing is made again; nothing but speed is lost.

use model::JournalId;

use super::{
    Replica, Shared,
    view::{FAN_OUT, LEVEL_MAX, MergedIndex, MergedKey, View},
};
use crate::{
    Error, ErrorKind, Result, SegmentNumber,
    folder::{Folder, unfinished},
    index::{
        merge::Merge,
        page::{PAGE_BYTES, PageWriter},
        trailer::{IndexTrailer, TRAILER_BYTES},
    },
};

impl Replica {
    /// Merges indexes where that is due: call it now and then. Returns how many were made.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the segment whose index is damaged, and those of the file system.
    pub fn merge_indexes(&self) -> Result<u64> {
        // Nothing that is read here may be folded away meanwhile.
        let _folding = self.shared.folding.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut made = 0;
        for level in 1..=LEVEL_MAX {
            for key in due(&self.shared.view(), level) {
                let index = self.shared.merge(&self.shared.view(), key)?;
                self.shared.change_view(|view| {
                    std::sync::Arc::make_mut(&mut view.merged).insert(key, index);
                });
                made += 1;
            }
        }
        Ok(made)
    }
}

/// The indexes of a level that can be made and are not there.
fn due(view: &View, level: u32) -> Vec<MergedKey> {
    let (Some(first), Some(last)) = (view.sealed.first(), view.sealed.last()) else { return Vec::new() };
    let size = FAN_OUT.pow(level);
    let groups = first.number.0 / size..last.number.0.saturating_add(1) / size;
    let keys = groups.map(|group| MergedKey { level, group });
    // One that is due is not made of a single segment that is left of its group.
    keys.filter(|key| !view.merged.contains_key(key) && key.last() > first.number).collect()
}

impl Shared {
    fn merge(&self, view: &View, key: MergedKey) -> Result<MergedIndex> {
        let name = key.file_name();
        let failed = |error| Error::from_io(format!("writing {name}"), error);
        let first = key.first().max(SegmentNumber(view.folded.segment.0 + 1));
        let within =
            View { folded: super::state::Edge { segment: before(first), ..view.folded }, ..view.clone() };
        let layers = within.layers(key.last(), key.level - 1);
        let pages = layers.iter().map(|layer| self.pages_of(view, layer)).collect::<Result<Vec<_>>>()?;
        let file = self.folder.create(&unfinished(&name)).map_err(failed)?;
        let (mut merge, mut writer) = (Merge::new(pages)?, PageWriter::new(view.owner_of(key)));
        let mut end_bytes = 0;
        while let Some(piece) = merge.next()? {
            let full = writer.push(piece);
            if !full.is_empty() {
                file.write_at(end_bytes, &full).map_err(failed)?;
                end_bytes += full.len() as u64;
            }
        }
        let mut rest = writer.finish();
        let last = view.sealed_segment(key.last());
        let last =
            last.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{name}: its last segment")))?;
        let journal = view.journal.ok_or_else(|| Error::new(ErrorKind::NotFound, "the replica is empty"))?;
        let trailer = IndexTrailer {
            journal,
            level: key.level,
            page_count: writer.count(),
            first,
            last: last.number,
            last_sequence: last.last,
            made_from: last.digest,
        };
        rest.extend(trailer.encode());
        file.write_at(end_bytes, &rest).and_then(|()| file.sync()).map_err(failed)?;
        self.folder.rename(&unfinished(&name), &name).map_err(failed)?;
        self.folder.sync().map_err(failed)?;
        Ok(MergedIndex { first, last: last.number, page_count: writer.count() })
    }
}

fn before(number: SegmentNumber) -> SegmentNumber {
    SegmentNumber(number.0.saturating_sub(1))
}

/// Reads the end of a merged index, and checks that it is of segments that are there.
pub(super) fn read_trailer(
    folder: &dyn Folder,
    key: MergedKey,
    journal: JournalId,
    view: &View,
) -> Result<MergedIndex> {
    let name = key.file_name();
    let failed = |error| Error::from_io(format!("reading {name}"), error);
    let file = folder.open(&name).map_err(failed)?;
    let damaged = || Error::corrupt(format!("{name} is not what it should be"));
    let length_bytes = file.length_bytes().map_err(failed)?;
    let start_bytes = length_bytes.checked_sub(TRAILER_BYTES as u64).ok_or_else(damaged)?;
    let mut bytes = [0; TRAILER_BYTES];
    file.read_at(start_bytes, &mut bytes).map_err(failed)?;
    let trailer = IndexTrailer::decode(&bytes).map_err(|error| error.of_file(&name))?;
    let last = view.sealed_segment(key.last()).ok_or_else(damaged)?;
    let is_right = trailer.journal == journal
        && (trailer.level, trailer.last) == (key.level, key.last())
        && trailer.first >= key.first()
        && (trailer.last_sequence, trailer.made_from) == (last.last, last.digest)
        && u64::from(trailer.page_count) * PAGE_BYTES as u64 == start_bytes;
    if is_right {
        Ok(MergedIndex { first: trailer.first, last: trailer.last, page_count: trailer.page_count })
    } else {
        Err(damaged())
    }
}
