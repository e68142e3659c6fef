//! Taking in what the source ships. What comes twice is told from what is missing; nothing is believed unchecked.

use std::{
    cmp::Ordering,
    sync::{Arc, MutexGuard, PoisonError},
};

use model::JournalId;

use super::{
    Replica, Shared, base_name,
    state::{Edge, State},
    view::{Active, View},
};
use crate::{
    DiskTable, Error, ErrorKind, Flaw, Generation, MarkRecord, Part, PartContent, Position, Result,
    SegmentNumber, Sequence,
    segment::{
        Expected, OpenHeader, SealedSegment,
        builder::{SegmentBuilder, Tail, digest_of_footer},
        file_name,
        header::Header,
    },
};

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It was missing, and is there now; durable after [`Replica::sync`].
    Appended,
    /// It was there already.
    Duplicate,
    /// Something is missing before it.
    Gap {
        /// What has to come next.
        wanted: Position,
    },
}

/// The end of what was received.
pub(super) struct Receiver {
    end: End,
    /// What the next segment must be; none before the first.
    expected: Option<Expected>,
    /// The segment that an empty replica begins with.
    start: SegmentNumber,
}

enum End {
    /// The last segment is sealed, or there is none.
    Sealed,
    Open(Box<SegmentBuilder>),
    /// Something failed: how far the last segment goes must be seen again.
    Unsure,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self { end: End::Sealed, expected: None, start: SegmentNumber(1) }
    }

    pub(super) fn expect_after(&mut self, edge: Edge, disks: &DiskTable, journal: JournalId) {
        let (number, first) = (edge.segment.next(), edge.sequence.next());
        self.expected = Some(Expected { journal, number, first, disks: disks.clone() });
    }

    pub(super) fn expect_after_segment(
        &mut self,
        segment: &SealedSegment,
        disks: &DiskTable,
        journal: JournalId,
    ) {
        self.expect_after(Edge { segment: segment.number, sequence: segment.last }, disks, journal);
    }

    pub(super) fn check(&self, header: &Header) -> Result<()> {
        self.expected.as_ref().map_or(Ok(()), |expected| expected.check(header))
    }

    pub(super) fn go_on_with(&mut self, builder: SegmentBuilder) {
        self.end = End::Open(Box::new(builder));
    }

    /// What has to come next.
    fn wanted(&self) -> Position {
        match &self.end {
            End::Open(builder) => Position { segment: builder.number(), offset_bytes: builder.end_bytes() },
            End::Sealed | End::Unsure => {
                let segment = self.expected.as_ref().map_or(self.start, |expected| expected.number);
                Position { segment, offset_bytes: 0 }
            }
        }
    }
}

/// What readers may see of the segment that grows.
pub(super) fn active_of(builder: &SegmentBuilder) -> Active {
    Active {
        header: Arc::clone(builder.header()),
        end_bytes: builder.end_bytes(),
        last: builder.next().previous(),
        times: builder.times(),
        marks: Arc::new(builder.marks().to_vec()),
    }
}

/// Adds what marks say of disks.
pub(super) fn push_tables(view: &mut View, marks: &[MarkRecord]) {
    for record in marks {
        let mut table = DiskTable::clone(&view.disks_at(record.sequence));
        let before = table.clone();
        // The segment's builder has refused marks that make no sense.
        if table.apply(&record.mark).is_ok() && table != before {
            Arc::make_mut(&mut view.tables).push((record.sequence, Arc::new(table)));
        }
    }
}

impl Replica {
    /// What has to come next.
    ///
    /// # Errors
    /// Those of the file system, when an earlier call failed and the end has to be looked for again.
    pub fn wanted(&self) -> Result<Position> {
        let mut receiver = self.shared.receiver();
        self.shared.make_sure(&mut receiver)?;
        Ok(receiver.wanted())
    }

    /// Lets an empty replica begin with a later segment than the first, because the source has no others any more. Of what the
    /// disks held before nothing is known: a new epoch has to begin for every VM, and all that its disks hold has to be copied in
    /// it. That a disk is whole says no more than that of what *this side has had*: who cannot promise it must not begin late.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the replica is not empty.
    pub fn begin_at(&self, segment: SegmentNumber) -> Result<()> {
        let mut receiver = self.shared.receiver();
        if receiver.expected.is_some() {
            return Err(Error::invalid("the replica has begun already"));
        }
        receiver.start = segment;
        Ok(())
    }

    /// Takes in a part, if it is the next.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] for a segment of an older generation than one that is known, [`ErrorKind::Corrupt`] for a part
    /// that is not what the source wrote, or of another journal; and those of the file system. What was there before stays.
    pub fn receive(&self, part: &Part) -> Result<Received> {
        let mut receiver = self.shared.receiver();
        self.shared.make_sure(&mut receiver)?;
        let wanted = receiver.wanted();
        match part.position.cmp(&wanted) {
            Ordering::Less => return Ok(Received::Duplicate),
            Ordering::Greater => return Ok(Received::Gap { wanted }),
            Ordering::Equal => {}
        }
        self.shared.check_fence(&receiver)?;
        match &part.content {
            PartContent::Header(bytes) => self.shared.receive_header(&mut receiver, part.position, bytes)?,
            PartContent::Block(bytes) => self.shared.receive_block(&mut receiver, bytes)?,
            PartContent::Seal(digest) => self.shared.receive_seal(&mut receiver, digest)?,
        }
        Ok(Received::Appended)
    }

    /// Makes everything that was received durable, and lets it be read. Returns what is then durable.
    ///
    /// # Errors
    /// Those of the file system; what was not durable is asked for again.
    pub fn sync(&self) -> Result<Sequence> {
        let mut receiver = self.shared.receiver();
        if let End::Open(builder) = &receiver.end {
            if !self.shared.flaws.has(Flaw::ReceiveBeforeSync)
                && let Err(error) = builder.sync()
            {
                receiver.end = End::Unsure;
                return Err(error);
            }
            self.shared.change_view(|view| {
                let fresh = builder.marks().partition_point(|record| record.sequence <= view.durable);
                push_tables(view, &builder.marks()[fresh..]);
                view.durable = builder.next().previous();
                view.active = Some(active_of(builder));
            });
        }
        Ok(self.shared.view().durable)
    }

    /// From now on nothing of an older generation is taken.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] when a newer one is known, [`ErrorKind::NotFound`] before the first segment has come, and those
    /// of the file system.
    pub fn raise_generation(&self, generation: Generation) -> Result<()> {
        // What is being received now was there before, and nothing comes after.
        let _receiver = self.shared.receiver();
        let mut ledger = self.shared.ledger();
        let state =
            ledger.state.as_ref().ok_or_else(|| Error::new(ErrorKind::NotFound, "the replica is empty"))?;
        check_generation(state, generation)?;
        let state = State { generation, ..state.clone() };
        state.save(&*self.shared.folder)?;
        ledger.state = Some(state);
        Ok(())
    }
}

fn check_generation(state: &State, generation: Generation) -> Result<()> {
    if generation < state.generation {
        let context =
            format!("generation {generation} is over: this side knows of generation {}", state.generation);
        return Err(Error::new(ErrorKind::Fenced, context)
            .with_guidance("the VM was failed over; re-protect it from where it runs now"));
    }
    Ok(())
}

impl Shared {
    pub(super) fn receiver(&self) -> MutexGuard<'_, Receiver> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a failure: goes back to what is known to be durable.
    fn make_sure(&self, receiver: &mut Receiver) -> Result<()> {
        if !matches!(receiver.end, End::Unsure) {
            return Ok(());
        }
        let view = self.view();
        receiver.end = match &view.active {
            Some(active) => {
                let number = active.header.header.number;
                let name = file_name(number);
                let failed = |error| Error::from_io(format!("{name}: going back in it"), error);
                let file = self.folder.open(&name).map_err(failed)?;
                file.set_length(active.end_bytes).map_err(failed)?;
                let builder =
                    SegmentBuilder::resume(file, OpenHeader::clone(&active.header), Tail::HadAgain)?;
                End::Open(Box::new(builder))
            }
            None => End::Sealed,
        };
        Ok(())
    }

    /// The segment that grows may be of a generation that is over since it was begun.
    fn check_fence(&self, receiver: &Receiver) -> Result<()> {
        let End::Open(builder) = &receiver.end else { return Ok(()) };
        let generation = builder.header().header.generation;
        self.ledger().state.as_ref().map_or(Ok(()), |state| check_generation(state, generation))
    }

    fn receive_header(&self, receiver: &mut Receiver, position: Position, bytes: &[u8]) -> Result<()> {
        let opened = OpenHeader::decode(bytes)?;
        let header = &opened.header;
        if (Position { segment: header.number, offset_bytes: 0 }) != position {
            return Err(Error::corrupt("a part is not of the segment that it says"));
        }
        let mut ledger = self.ledger();
        match &ledger.state {
            Some(state) => {
                check_generation(state, header.generation)?;
                receiver.check(header)?;
                if header.generation > state.generation {
                    let state = State { generation: header.generation, ..state.clone() };
                    state.save(&*self.folder)?;
                    ledger.state = Some(state);
                }
            }
            None => ledger.state = Some(self.begin(receiver, header)?),
        }
        drop(ledger);
        receiver.end = End::Unsure;
        let builder = SegmentBuilder::create(&*self.folder, bytes)?;
        self.change_view(|view| view.active = Some(active_of(&builder)));
        receiver.end = End::Open(Box::new(builder));
        Ok(())
    }

    /// An empty replica becomes that of this journal. Of what the disks held before nothing is known.
    fn begin(&self, receiver: &mut Receiver, header: &Header) -> Result<State> {
        let failed = |error| Error::from_io("creating a replica", error);
        let disks = header.disks.forgotten();
        for (disk, known) in disks.iter() {
            let base = self.folder.create(&base_name(disk)).map_err(failed)?;
            base.set_length(known.size_bytes).and_then(|()| base.sync()).map_err(failed)?;
        }
        let folded = Edge {
            segment: SegmentNumber(header.number.0.saturating_sub(1)),
            sequence: header.first.previous(),
        };
        let state = State {
            journal: header.journal,
            generation: header.generation,
            folded,
            folding: None,
            disks: disks.clone(),
            pins: std::collections::BTreeMap::new(),
            seeds: std::collections::BTreeSet::new(),
        };
        state.save(&*self.folder)?;
        receiver.expect_after(folded, &disks, header.journal);
        self.change_view(|view| {
            view.journal = Some(header.journal);
            view.folded = folded;
            view.durable = folded.sequence;
            view.tables = Arc::new(vec![(folded.sequence, Arc::new(disks))]);
        });
        Ok(state)
    }

    fn receive_block(&self, receiver: &mut Receiver, bytes: &[u8]) -> Result<()> {
        let End::Open(builder) = &mut receiver.end else {
            return Err(Error::corrupt("a block comes before its segment"));
        };
        let appended = builder.append(bytes);
        // What is no block has changed nothing.
        if appended.as_ref().is_err_and(|error| error.kind() != ErrorKind::Corrupt) {
            receiver.end = End::Unsure;
        }
        appended
    }

    fn receive_seal(&self, receiver: &mut Receiver, digest: &[u8; 32]) -> Result<()> {
        let End::Open(builder) = &receiver.end else {
            return Err(Error::corrupt("a segment ends before it has begun"));
        };
        let footer = builder.footer().filter(|footer| digest_of_footer(footer) == *digest);
        let footer = footer.ok_or_else(|| {
            Error::corrupt(format!("{} is not what the source has", file_name(builder.number())))
        })?;
        let End::Open(mut builder) = std::mem::replace(&mut receiver.end, End::Unsure) else { return Ok(()) };
        let sealed = Arc::new(builder.seal(&footer)?);
        self.change_view(|view| {
            let fresh = builder.marks().partition_point(|record| record.sequence <= view.durable);
            push_tables(view, &builder.marks()[fresh..]);
            view.durable = sealed.last;
            view.active = None;
            Arc::make_mut(&mut view.sealed).push(Arc::clone(&sealed));
        });
        let journal = builder.header().header.journal;
        receiver.expect_after_segment(&sealed, builder.disks(), journal);
        receiver.end = End::Sealed;
        Ok(())
    }
}
