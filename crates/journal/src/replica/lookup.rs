//! What a disk shows at a moment: which record touched a sector last, and the bytes.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use image::{ByteRange, Extent, ExtentKind};

use super::{
    Shared, base_name,
    view::{Layer, Place, View},
};
use crate::{
    DiskNumber, Error, ErrorKind, Result, SegmentNumber, Sequence,
    extents::{ExtentMap, Layers, Piece, Sectors, Source},
    index::Pages,
    record::{Body, SECTOR_BYTES},
    segment::{
        SealedSegment,
        blocks::{Blocks, read_block},
    },
};

/// Tries to read while folds take away what was to be read.
const TRIES: usize = 16;

/// How a moment is read.
pub(super) struct Sight {
    /// What the segment that holds the moment says up to it.
    partial: ExtentMap,
    /// The last segment of which everything counts.
    through: SegmentNumber,
    /// How the rest is found: from a view that may be out of date, but was right.
    route: Mutex<Arc<Route>>,
}

struct Route {
    view: Arc<View>,
    /// Newest first.
    layers: Vec<Layer>,
}

/// What a range of a disk shows.
struct Found {
    pieces: Vec<Piece>,
    /// What the base shows.
    gaps: Vec<Sectors>,
}

impl Sight {
    /// Prepares to read the moment after a record, which is pinned.
    pub(super) fn new(shared: &Shared, sequence: Sequence) -> Result<Self> {
        let view = shared.view();
        let (partial, through) = if sequence <= view.folded.sequence {
            (ExtentMap::default(), view.folded.segment)
        } else {
            match view.place_of(sequence) {
                Some(Place::Sealed(segment)) if segment.last == sequence => {
                    (ExtentMap::default(), segment.number)
                }
                Some(place) => {
                    let number = match &place {
                        Place::Sealed(segment) => segment.number,
                        Place::Active(active) => active.header.header.number,
                    };
                    (partial(shared, &place, sequence)?, SegmentNumber(number.0.saturating_sub(1)))
                }
                None => {
                    let context = format!("record {sequence} is not in the replica");
                    return Err(Error::new(ErrorKind::NotFound, context));
                }
            }
        };
        let route = Mutex::new(Arc::new(Route::new(view, through)));
        Ok(Self { partial, through, route })
    }

    fn route(&self) -> Arc<Route> {
        Arc::clone(&self.route.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the newest view. Whether there is another than before.
    fn look_again(&self, shared: &Shared) -> bool {
        let view = shared.view();
        let mut route = self.route.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !Arc::ptr_eq(&view, &route.view);
        *route = Arc::new(Route::new(view, self.through));
        is_new
    }

    /// Tries to read, again where files went away meanwhile because they were folded.
    fn attempt<T>(&self, shared: &Shared, read: impl Fn(&Route) -> Result<T>) -> Result<T> {
        let mut last = read(&self.route());
        for _ in 1..TRIES {
            match &last {
                Err(error) if error.kind() == ErrorKind::NotFound && self.look_again(shared) => {
                    last = read(&self.route());
                }
                _ => break,
            }
        }
        last
    }

    fn find(&self, shared: &Shared, route: &Route, sectors: Sectors) -> Result<Found> {
        let mut found = Layers::new(sectors);
        found.ask(|gap| Ok(self.partial.overlapping(gap)))?;
        for layer in &route.layers {
            if found.is_full() {
                break;
            }
            let pages = shared.pages_of(&route.view, layer)?;
            found.ask(|gap| pages.pieces_in(&shared.pages, gap))?;
        }
        let (pieces, mut gaps) = found.finish();
        let folded = route.view.folded.sequence;
        // An index that is folded in part still knows of what is in the base now.
        let (kept, in_base): (Vec<_>, Vec<_>) = pieces.into_iter().partition(|piece| piece.sequence > folded);
        gaps.extend(in_base.into_iter().map(|piece| piece.sectors));
        Ok(Found { pieces: kept, gaps })
    }

    /// Reads whole sectors.
    pub(super) fn read(&self, shared: &Shared, sectors: Sectors, buffer: &mut [u8]) -> Result<()> {
        let read = self.attempt(shared, |route| {
            let mut bytes = vec![0; buffer.len()];
            let place = |part: Sectors| {
                let start = ((part.start - sectors.start) * SECTOR_BYTES) as usize;
                start..start + ((part.end - part.start) * SECTOR_BYTES) as usize
            };
            let found = self.find(shared, route, sectors)?;
            for gap in found.gaps {
                shared.read_base(gap, &mut bytes[place(gap)])?;
            }
            for piece in found.pieces {
                shared.read_piece(&route.view, &piece, &mut bytes[place(piece.sectors)])?;
            }
            Ok(bytes)
        })?;
        buffer.copy_from_slice(&read);
        Ok(())
    }

    /// What was touched after an earlier record, which is pinned too.
    ///
    /// # Errors
    /// [`ErrorKind::Folded`] where what would tell is folded.
    pub(super) fn changed(
        &self,
        shared: &Shared,
        sectors: Sectors,
        since: Sequence,
    ) -> Result<Vec<ByteRange>> {
        self.attempt(shared, |route| {
            if route.view.folded.sequence > since {
                let context = format!("what changed since record {since} is folded");
                return Err(Error::new(ErrorKind::Folded, context));
            }
            let pieces = self.find(shared, route, sectors)?.pieces.into_iter();
            Ok(pieces.filter(|piece| piece.sequence > since).map(|piece| range_of(piece.sectors)).collect())
        })
    }

    /// Tells data from zeros.
    pub(super) fn extents(&self, shared: &Shared, sectors: Sectors) -> Result<Vec<Extent>> {
        self.attempt(shared, |route| {
            let found = self.find(shared, route, sectors)?;
            let mut extents = Vec::new();
            for gap in found.gaps {
                extents.extend(shared.base_extents(gap)?);
            }
            extents.extend(found.pieces.iter().map(|piece| Extent {
                range: range_of(piece.sectors),
                kind: if piece.source == Source::Zero { ExtentKind::Zero } else { ExtentKind::Data },
            }));
            Ok(joined(extents))
        })
    }
}

impl Route {
    fn new(view: Arc<View>, through: SegmentNumber) -> Self {
        let layers = view.layers(through, super::view::LEVEL_MAX);
        Self { view, layers }
    }
}

fn range_of(sectors: Sectors) -> ByteRange {
    ByteRange::new(sectors.start * SECTOR_BYTES, (sectors.end - sectors.start) * SECTOR_BYTES)
}

fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_by_key(|extent| extent.range.offset_bytes);
    let mut joined: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        match joined.last_mut() {
            Some(last) if last.kind == extent.kind => last.range.length_bytes += extent.range.length_bytes,
            _ => joined.push(extent),
        }
    }
    joined
}

/// What a segment says from its start to a record within it.
fn partial(shared: &Shared, place: &Place, through: Sequence) -> Result<ExtentMap> {
    let name = place.name();
    let file = shared.file(&name).map_err(|error| Error::from_io(format!("opening {name}"), error))?;
    let mut blocks = match place {
        Place::Sealed(segment) => Blocks::of_sealed(&*file, segment),
        Place::Active(active) => Blocks::of_open(&*file, &active.header, active.end_bytes),
    };
    let header = match place {
        Place::Sealed(segment) => crate::segment::OpenHeader::read(&*file, segment.number)?.header,
        Place::Active(active) => active.header.header.clone(),
    };
    let (mut map, mut disks) = (ExtentMap::default(), header.disks);
    while blocks.next_sequence() <= through {
        let Some(block) = blocks.next()? else {
            return Err(Error::corrupt(format!("{name}: ends before record {through}")));
        };
        for record in block.records().map_err(|error| error.of_file(&name))? {
            if record.sequence > through {
                break;
            }
            let (sequence, offset_bytes) = (record.sequence, block.offset_bytes as u32);
            match record.body {
                Body::Write { disk, sector, sectors, position } => {
                    let sectors = Sectors::new(disk, sector, u64::from(sectors));
                    map.put(Piece { sectors, sequence, source: Source::Block { offset_bytes, position } });
                }
                Body::Zero { disk, sector, sectors } => {
                    let sectors = Sectors::new(disk, sector, sectors);
                    map.put(Piece { sectors, sequence, source: Source::Zero });
                }
                Body::Mark(mark) => {
                    if let Some(sectors) = disks.cut_off(&mark) {
                        map.put(Piece { sectors, sequence, source: Source::Zero });
                    }
                    let applied = disks.apply(&mark);
                    applied.map_err(|error| {
                        Error::corrupt(format!("{name}: a mark makes no sense")).with_source(error)
                    })?;
                }
            }
        }
    }
    Ok(map)
}

impl Shared {
    /// The pages of a layer's index.
    pub(super) fn pages_of(&self, view: &View, layer: &Layer) -> Result<Pages> {
        let opened =
            |name: &str| self.file(name).map_err(|error| Error::from_io(format!("opening {name}"), error));
        match layer {
            Layer::Segment(segment) => Ok(segment.pages(opened(&segment.name())?)),
            Layer::Merged(key, index) => {
                let name = key.file_name();
                let file = opened(&name)?;
                let owner = view.owner_of(*key);
                Ok(Pages { file, name: Arc::from(name), start_bytes: 0, count: index.page_count, owner })
            }
        }
    }

    fn read_piece(&self, view: &View, piece: &Piece, buffer: &mut [u8]) -> Result<()> {
        let Source::Block { offset_bytes, position } = piece.source else {
            buffer.fill(0);
            return Ok(());
        };
        let place = view.place_of(piece.sequence).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("record {} is not in the replica", piece.sequence))
        })?;
        let block = self.block(&place, offset_bytes)?;
        let bytes = block.get(position as usize..position as usize + buffer.len()).ok_or_else(|| {
            Error::corrupt(format!(
                "{}: its index leads out of the block at byte {offset_bytes}",
                place.name()
            ))
        })?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn block(&self, place: &Place, offset_bytes: u32) -> Result<Bytes> {
        let (number, checksum, end_bytes) = match place {
            Place::Sealed(segment) => {
                let SealedSegment { number, checksum, blocks_end_bytes, .. } = **segment;
                (number, checksum, blocks_end_bytes)
            }
            Place::Active(active) => (active.header.header.number, active.header.checksum, active.end_bytes),
        };
        self.blocks.get_or(&(number, offset_bytes), || {
            let name = place.name();
            let file = self.file(&name).map_err(|error| Error::from_io(format!("opening {name}"), error))?;
            let at = crate::block::Place { header: &checksum, offset_bytes: u64::from(offset_bytes) };
            let (_, raw) = read_block(&*file, at, end_bytes).map_err(|error| error.of_file(&name))?;
            Ok(raw)
        })
    }

    /// The base of a disk and its length; none of a disk that was added after what the bases show.
    fn base(&self, disk: DiskNumber) -> Result<Option<(Arc<dyn crate::folder::FolderFile>, u64)>> {
        let name = base_name(disk);
        let failed = |error| Error::from_io(format!("opening {name}"), error);
        match self.file(&name) {
            Ok(file) => {
                let length_bytes = file.length_bytes().map_err(failed)?;
                Ok(Some((file, length_bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Reads from the base of a disk; what is behind its end is zeros.
    fn read_base(&self, sectors: Sectors, buffer: &mut [u8]) -> Result<()> {
        let range = range_of(sectors);
        let Some((file, length_bytes)) = self.base(sectors.disk)? else {
            buffer.fill(0);
            return Ok(());
        };
        let there = range.intersection(ByteRange::new(0, length_bytes)).length_bytes as usize;
        let (filled, rest) = buffer.split_at_mut(there);
        rest.fill(0);
        let name = base_name(sectors.disk);
        let read = file.read_at(range.offset_bytes, filled);
        read.map_err(|error| Error::from_io(format!("reading {name}"), error))
    }

    fn base_extents(&self, sectors: Sectors) -> Result<Vec<Extent>> {
        let range = range_of(sectors);
        let Some((file, length_bytes)) = self.base(sectors.disk)? else {
            return Ok(vec![Extent { range, kind: ExtentKind::Zero }]);
        };
        let there = range.intersection(ByteRange::new(0, length_bytes));
        let mut extents = Vec::new();
        if !there.is_empty() {
            let name = base_name(sectors.disk);
            let mapped = file.extents(there);
            extents = mapped.map_err(|error| Error::from_io(format!("mapping {name}"), error))?;
        }
        let behind = ByteRange::between(range.offset_bytes.max(length_bytes), range.end_bytes());
        if !behind.is_empty() {
            extents.push(Extent { range: behind, kind: ExtentKind::Zero });
        }
        Ok(extents)
    }
}
