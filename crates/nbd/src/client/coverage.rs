//! Which parts of a buffer have come.

use std::ops::Range;

use crate::codec::Malformed;

/// The most separate parts that are kept track of: a server that scatters its chunks wider is refused.
const PARTS_MAX: usize = 4096;

/// The parts of a buffer that have come: sorted, with gaps between them.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    parts: Vec<Range<usize>>,
}

impl Coverage {
    /// Adds a part; one that has come already, even partly, is refused, and so is an empty one.
    pub(super) fn add(&mut self, part: Range<usize>) -> Result<(), Malformed> {
        if part.is_empty() {
            return Err(Malformed("a chunk without data"));
        }
        let next = self.parts.partition_point(|known| known.end <= part.start);
        let joins_next = match self.parts.get(next) {
            Some(known) if known.start < part.end => return Err(Malformed("the same data twice")),
            Some(known) => known.start == part.end,
            None => false,
        };
        let previous = next.checked_sub(1).filter(|&previous| self.parts[previous].end == part.start);
        match (previous, joins_next) {
            (Some(previous), true) => self.parts[previous].end = self.parts.remove(next).end,
            (Some(previous), false) => self.parts[previous].end = part.end,
            (None, true) => self.parts[next].start = part.start,
            (None, false) if self.parts.len() == PARTS_MAX => {
                return Err(Malformed("data in too many pieces"));
            }
            (None, false) => self.parts.insert(next, part),
        }
        Ok(())
    }

    /// Whether all of a buffer has come.
    pub(super) fn is_complete(&self, length: usize) -> bool {
        match self.parts.as_slice() {
            [] => length == 0,
            [part] => *part == (0..length),
            _ => false,
        }
    }
}
