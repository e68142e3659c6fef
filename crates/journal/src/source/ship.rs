//! What is durable here, in parts, for the target.

use bytes::Bytes;

use super::{Journal, Published};
use crate::{
    Error, ErrorKind, Part, PartContent, Position, Record, Result, SegmentNumber, Sequence,
    block::{BlockHead, HEAD_BYTES, Place},
    folder::FolderFile,
    segment::{
        OpenHeader, SealedSegment,
        blocks::{Blocks, read_block},
        file_name, read_header,
    },
};

/// What is known of a segment that is read from.
struct Extent {
    header_bytes: u64,
    end_bytes: u64,
    sealed: Option<SealedSegment>,
}

impl Published {
    fn segment(&self, number: SegmentNumber) -> Option<Extent> {
        if number == self.active {
            let (header_bytes, end_bytes) = (self.active_header_bytes, self.active_end_bytes);
            return Some(Extent { header_bytes, end_bytes, sealed: None });
        }
        let place = self.sealed.binary_search_by_key(&number, |segment| segment.number).ok()?;
        let segment = self.sealed.get(place)?;
        let (header_bytes, end_bytes) = (segment.header_bytes, segment.blocks_end_bytes);
        Some(Extent { header_bytes, end_bytes, sealed: Some(segment.clone()) })
    }
}

impl Journal {
    /// Where the journal begins here.
    #[must_use]
    pub fn start(&self) -> Position {
        let published = self.shared.published();
        let segment = published.sealed.front().map_or(published.active, |segment| segment.number);
        Position { segment, offset_bytes: 0 }
    }

    /// Parts from a position on, in order: at least one if there is one, then no more than so many bytes. Everything in them
    /// is durable here. None at the end of what is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the segment was released or never was, [`ErrorKind::Corrupt`], [`ErrorKind::Io`].
    pub fn parts(&self, from: Position, most_bytes: u64) -> Result<Vec<Part>> {
        let (mut parts, mut position, mut sum_bytes) = (Vec::new(), from, 0);
        let mut opened: Option<(SegmentNumber, std::sync::Arc<dyn FolderFile>)> = None;
        while sum_bytes < most_bytes.max(1) {
            let name = file_name(position.segment);
            let known = self.shared.published().segment(position.segment);
            let extent = match known {
                Some(extent) => extent,
                None if !parts.is_empty() => break,
                None => return Err(Error::new(ErrorKind::NotFound, format!("{name} is not in the journal"))),
            };
            let file = match &opened {
                Some((number, file)) if *number == position.segment => file,
                _ => {
                    let file = self.shared.folder.open(&name);
                    let file = file.map_err(|error| Error::from_io(format!("opening {name}"), error))?;
                    &opened.insert((position.segment, file)).1
                }
            };
            let Some(part) = part(&**file, position, &extent).map_err(|error| error.of_file(&name))? else {
                break;
            };
            sum_bytes += part.length_bytes();
            position = after(&part);
            parts.push(part);
        }
        Ok(parts)
    }

    /// Where the block is that holds the record after this one; the end when there is none yet.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when that record was released, [`ErrorKind::Corrupt`], [`ErrorKind::Io`].
    pub fn position_after(&self, sequence: Sequence) -> Result<Position> {
        let wanted = sequence.next();
        let (sealed, active, active_end_bytes) = {
            let published = self.shared.published();
            let sealed = published.sealed.iter().find(|segment| segment.last >= wanted).cloned();
            (sealed, published.active, published.active_end_bytes)
        };
        let number = sealed.as_ref().map_or(active, |segment| segment.number);
        let name = file_name(number);
        let file = self.shared.folder.open(&name);
        let file = file.map_err(|error| Error::from_io(format!("opening {name}"), error))?;
        let (header, _) = crate::segment::open(&*file, number)?;
        if header.header.first > wanted {
            return Err(Error::new(ErrorKind::NotFound, format!("record {wanted} is not in the journal")));
        }
        let mut blocks = match &sealed {
            Some(sealed) => Blocks::of_sealed(&*file, sealed),
            None => Blocks::of_open(&*file, &header, active_end_bytes),
        };
        let mut offset_bytes = blocks.offset_bytes();
        while blocks.next_sequence() <= wanted {
            offset_bytes = blocks.offset_bytes();
            if blocks.next()?.is_none() {
                break;
            }
        }
        Ok(Position { segment: number, offset_bytes })
    }

    /// The records after this one that are durable here, in order: those of one block, or none at the end.
    ///
    /// # Errors
    /// As [`Journal::position_after`].
    pub fn records_after(&self, sequence: Sequence) -> Result<Vec<Record>> {
        let position = self.position_after(sequence)?;
        let name = file_name(position.segment);
        let Some(extent) = self.shared.published().segment(position.segment) else { return Ok(Vec::new()) };
        if position.offset_bytes < extent.header_bytes || position.offset_bytes >= extent.end_bytes {
            return Ok(Vec::new());
        }
        let file = self.shared.folder.open(&name);
        let file = file.map_err(|error| Error::from_io(format!("opening {name}"), error))?;
        let header = OpenHeader::read(&*file, position.segment)?;
        let place = Place { header: &header.checksum, offset_bytes: position.offset_bytes };
        let (head, raw) =
            read_block(&*file, place, extent.end_bytes).map_err(|error| error.of_file(&name))?;
        let records = head.records(&raw).map_err(|error| error.of_file(&name))?;
        let wanted = records.into_iter().filter(|record| record.sequence > sequence);
        Ok(wanted.map(|record| record.with_data(&raw)).collect())
    }

    /// The target wants this segment next, so it has those before it, sealed: they go. What it has of this one is kept, since
    /// it cannot seal what it is not told the end of.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Denied`].
    pub fn release(&self, before: SegmentNumber) -> Result<()> {
        self.shared.release(before)
    }
}

/// The part at a position; none where there is nothing durable yet.
fn part(file: &dyn FolderFile, position: Position, extent: &Extent) -> Result<Option<Part>> {
    let failed = |error| Error::from_io("reading it", error);
    let content = if position.offset_bytes == 0 {
        PartContent::Header(read_header(file)?.into())
    } else if position.offset_bytes < extent.header_bytes || position.offset_bytes > extent.end_bytes {
        return Err(Error::invalid(format!("there is nothing at byte {}", position.offset_bytes)));
    } else if position.offset_bytes == extent.end_bytes {
        match &extent.sealed {
            Some(sealed) => PartContent::Seal(sealed.digest),
            None => return Ok(None),
        }
    } else {
        let mut head = [0; HEAD_BYTES];
        file.read_at(position.offset_bytes, &mut head).map_err(failed)?;
        let length = BlockHead::decode(&head)?.whole_bytes();
        if length > extent.end_bytes - position.offset_bytes {
            return Err(Error::corrupt(format!("the block at byte {} ends too late", position.offset_bytes)));
        }
        let mut block = vec![0; length as usize];
        file.read_at(position.offset_bytes, &mut block).map_err(failed)?;
        PartContent::Block(Bytes::from(block))
    };
    Ok(Some(Part { position, content }))
}

/// The position behind a part.
pub(crate) fn after(part: &Part) -> Position {
    let Position { segment, offset_bytes } = part.position;
    match &part.content {
        PartContent::Header(bytes) | PartContent::Block(bytes) => {
            Position { segment, offset_bytes: offset_bytes + bytes.len() as u64 }
        }
        PartContent::Seal(_) => Position { segment: segment.next(), offset_bytes: 0 },
    }
}
