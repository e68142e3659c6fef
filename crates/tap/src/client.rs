//! A tap as its server sees it.

mod connection;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use image::ByteRange;
use journal::{Checkpoint, Copied, DiskNumber, Part, Position, SegmentNumber, Sequence};
use model::{DiskName, Timestamp, VmId};

use crate::{
    AddedDisk, Epoch, Error, ErrorKind, Result, TapStatus,
    wire::{Answer, Ask, COPY_BYTES_MAX, CopiedKind, join},
};
use connection::Connection;

/// How long an answer may take that waits for nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a tap may take to make everything durable at its end.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that are kept for the next question.
const IDLE_MAX: usize = 8;

/// A tap as its server sees it. Clones share its connections; any number of calls may be under way at once.
///
/// Every call fails with [`ErrorKind::Gone`] when the tap has ended, and with [`ErrorKind::Unresponsive`] when it
/// lives and does not answer. A future that is dropped gives up its answer: what it asked for may have been done.
///
/// # How a VM comes under a tap
/// 1. [`Client::add_disk`] for each disk that [`Client::status`] does not have yet.
/// 2. [`Client::begin_epoch`] for the VM, which also lets its NBD clients in again where the tap had broken.
/// 3. The hypervisor connects each disk to its export.
/// 4. What the journal lacks of each disk is copied: [`Client::begin_copy`], then read, then [`Client::finish_copy`].
/// 5. [`Client::disk_is_whole`] with the epoch of step 2. It is refused when writes passed the tap by since: begin again with 2.
///
/// When the hypervisor gives a disk up, the tap has begun an epoch by itself; the same steps bring the VM back, and what is
/// copied is what was written meanwhile.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    socket: PathBuf,
    process_id: u32,
    idle: Mutex<Vec<Connection>>,
}

/// A copy that has begun: read the range from the live disk now, and finish it. Dropped, it is given up.
#[must_use = "a disk is not whole while a copy of it has begun and not finished"]
pub struct CopyTicket {
    range: ByteRange,
    connection: Connection,
}

impl CopyTicket {
    /// What is to be read.
    #[must_use]
    pub fn range(&self) -> ByteRange {
        self.range
    }
}

/// Acknowledgements that are held. Dropped, they are let go.
#[must_use = "acknowledgements are let go when this is dropped"]
pub struct Held {
    connection: Connection,
}

impl Client {
    /// Finds the tap that listens on a control socket.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] where none does, [`ErrorKind::UnsupportedVersion`] when it speaks another protocol,
    /// [`ErrorKind::Denied`] when it is another user's.
    pub async fn connect(control_socket: &Path) -> Result<Self> {
        let connection = Connection::open(control_socket).await?;
        let process_id = connection.process_id();
        let socket = control_socket.to_owned();
        Ok(Self { shared: Arc::new(Shared { socket, process_id, idle: Mutex::new(vec![connection]) }) })
    }

    /// The process that takes writes.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.shared.process_id
    }

    /// What the tap tells of itself.
    ///
    /// # Errors
    /// As every call.
    pub async fn status(&self) -> Result<TapStatus> {
        match self.ask(&Ask::Status).await? {
            Answer::Status(status) => Ok(*status),
            _ => Err(unexpected()),
        }
    }

    /// Adds a disk, zeros and not whole, and offers its export.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when the VM has a disk of that name, [`ErrorKind::Invalid`] for an impossible
    /// size, [`ErrorKind::Broken`].
    pub async fn add_disk(&self, vm: VmId, name: &DiskName, size_bytes: u64) -> Result<AddedDisk> {
        match self.ask(&Ask::AddDisk { vm, name: name.clone(), size_bytes }).await? {
            Answer::Disk { number, export, epoch } => Ok(AddedDisk { number, export, epoch }),
            _ => Err(unexpected()),
        }
    }

    /// The disk has another size from here on. Clients that connect from now on see it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Invalid`] for an impossible size, [`ErrorKind::Broken`].
    pub async fn resize_disk(&self, disk: DiskNumber, size_bytes: u64) -> Result<Sequence> {
        self.ask_sequence(&Ask::ResizeDisk { disk, size_bytes }).await
    }

    /// The disk is gone. Its connection has to end before.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while it is connected, [`ErrorKind::NotFound`], [`ErrorKind::Broken`].
    pub async fn remove_disk(&self, disk: DiskNumber) -> Result<Sequence> {
        self.ask_sequence(&Ask::RemoveDisk { disk }).await
    }

    /// Writes to the VM's disks may have been missed: none of them is whole, and copies under way are worth nothing. Begin one
    /// also before connections are ended on purpose, so that no record comes after a write that was missed. When the VM was
    /// shut out, its exports are there again when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`] when the journal takes nothing more: shut the tap down and launch it again.
    pub async fn begin_epoch(&self, vm: VmId) -> Result<Epoch> {
        match self.ask(&Ask::BeginEpoch { vm }).await? {
            Answer::Epoch(epoch) => Ok(epoch),
            _ => Err(unexpected()),
        }
    }

    /// As [`Client::begin_epoch`], for copies of one moment of the VM: until another epoch begins, everything that is taken, the
    /// checkpoints too, counts as of that moment, and the tap marks none by itself.
    ///
    /// # Errors
    /// As [`Client::begin_epoch`].
    pub async fn begin_epoch_at(&self, vm: VmId, moment: Timestamp) -> Result<Epoch> {
        match self.ask(&Ask::BeginEpochAt { vm, moment }).await? {
            Answer::Epoch(epoch) => Ok(epoch),
            _ => Err(unexpected()),
        }
    }

    /// Everything that the journal lacked of the disk was copied since this epoch began.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] when another has begun since, [`ErrorKind::Invalid`] while a copy has begun and
    /// not finished, [`ErrorKind::NotFound`], [`ErrorKind::Broken`].
    pub async fn disk_is_whole(&self, disk: DiskNumber, epoch: Epoch) -> Result<Sequence> {
        self.ask_sequence(&Ask::DiskIsWhole { disk, epoch }).await
    }

    /// Begins a copy of a range of whole sectors, of [`COPY_BYTES_MAX`] bytes at most. Only then read it. Some twenty may be
    /// under way at once.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an impossible range, [`ErrorKind::NotFound`], [`ErrorKind::Broken`].
    pub async fn begin_copy(&self, disk: DiskNumber, range: ByteRange) -> Result<CopyTicket> {
        let ByteRange { offset_bytes, length_bytes } = range;
        if length_bytes > COPY_BYTES_MAX {
            return Err(Error::invalid(format!("at most {COPY_BYTES_MAX} bytes are copied at once")));
        }
        let mut connection = self.connection().await?;
        let ask = Ask::BeginCopy { disk, offset_bytes, length_bytes };
        match connection.ask(&ask, &[], Some(ANSWER_TIMEOUT)).await {
            Ok((Answer::Done, _)) => Ok(CopyTicket { range, connection }),
            Ok(_) => Err(unexpected()),
            Err(error) => {
                self.keep(connection);
                Err(error)
            }
        }
    }

    /// Hands over what was read. Shorter ranges hold up guests' writes for less. Where the journal has no room to spare the tap waits for it: guests' writes come first.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] when an epoch has begun since the copy, [`ErrorKind::Invalid`] for data of
    /// another length than the range or a disk that was cut off, [`ErrorKind::Broken`]. The copy has then ended.
    pub async fn finish_copy(&self, ticket: CopyTicket, copied: Copied<'_>) -> Result<()> {
        let CopyTicket { mut connection, .. } = ticket;
        let data = if let Copied::Data(data) = copied { data } else { &[] };
        let answer = connection.ask(&Ask::FinishCopy { copied: CopiedKind::of(&copied) }, data, None).await;
        self.keep(connection);
        match answer?.0 {
            Answer::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Names this moment. It can be restored once all disks of a VM are whole and the target has it.
    ///
    /// # Errors
    /// [`ErrorKind::Full`], [`ErrorKind::Invalid`] for a name of more than 255 bytes, [`ErrorKind::Broken`].
    pub async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<Sequence> {
        self.ask_sequence(&Ask::checkpoint(checkpoint)).await
    }

    /// Waits until everything through this record is durable here; returns how far everything is.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`] when it never will be.
    pub async fn durable(&self, sequence: Sequence) -> Result<Sequence> {
        match self.ask_patiently(&Ask::Durable { sequence }, None).await?.0 {
            Answer::Sequence(durable) => Ok(durable),
            _ => Err(unexpected()),
        }
    }

    /// Parts from a position on, in order: about so many bytes, of [`crate::PARTS_BYTES_MAX`] at most, but one at least. Where there is none
    /// yet, waits for one up to a minute or so long, and returns nothing then.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the segment was released or never was, [`ErrorKind::Corrupt`],
    /// [`ErrorKind::Io`].
    pub async fn parts(&self, from: Position, most_bytes: u64, wait: Duration) -> Result<Vec<Part>> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let ask = Ask::Parts { from, most_bytes, wait_ms };
        let timeout = wait.saturating_add(ANSWER_TIMEOUT);
        match self.ask_patiently(&ask, Some(timeout)).await? {
            (Answer::Parts(heads), body) => join(&heads, body).ok_or_else(unexpected),
            _ => Err(unexpected()),
        }
    }

    /// Where the record after this one is, or will be: what to ask parts from.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it was released, [`ErrorKind::Corrupt`], [`ErrorKind::Io`].
    pub async fn position_after(&self, sequence: Sequence) -> Result<Position> {
        self.ask_position(&Ask::PositionAfter { sequence }).await
    }

    /// Where the journal begins here.
    ///
    /// # Errors
    /// As every call.
    pub async fn start(&self) -> Result<Position> {
        self.ask_position(&Ask::Start).await
    }

    /// The target wants this segment next: those before it go.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Denied`].
    pub async fn release(&self, before: SegmentNumber) -> Result<()> {
        self.ask_done(&Ask::Release { before }).await
    }

    /// Holds the acknowledgements of all writes, for this long at most, and never longer than [`crate::HOLD_MS_MAX`]: then
    /// they go by themselves. No write that the tap takes after this has returned is acknowledged before they are let go.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while somebody else holds them.
    pub async fn hold(&self, most: Duration) -> Result<Held> {
        let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        let mut connection = self.connection().await?;
        match connection.ask(&Ask::Hold { most_ms }, &[], Some(ANSWER_TIMEOUT)).await {
            Ok((Answer::Done, _)) => Ok(Held { connection }),
            Ok(_) => Err(unexpected()),
            Err(error) => {
                self.keep(connection);
                Err(error)
            }
        }
    }

    /// Lets them go. Whether they were held all the time; if not, a moment that was marked meanwhile is none of a group.
    ///
    /// # Errors
    /// As every call.
    pub async fn let_go(&self, held: Held) -> Result<bool> {
        let Held { mut connection } = held;
        let answer = connection.ask(&Ask::LetGo, &[], Some(ANSWER_TIMEOUT)).await;
        self.keep(connection);
        match answer?.0 {
            Answer::LetGo { was_held } => Ok(was_held),
            _ => Err(unexpected()),
        }
    }

    /// Lets the guests go on without the tap, at once: all NBD connections end. What was taken stays, and is shipped.
    ///
    /// # Errors
    /// As every call.
    pub async fn give_up(&self, reason: &str) -> Result<()> {
        self.ask_done(&Ask::GiveUp { reason: reason.to_owned() }).await
    }

    /// Ends the tap in order: all NBD connections end, and everything that was taken is durable when this returns. One that has
    /// ended already is as good. A new epoch begins when it is launched again.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`] when not everything can be made durable; the tap ends nevertheless.
    pub async fn shut_down(&self) -> Result<()> {
        match self.ask_patiently(&Ask::ShutDown, Some(END_TIMEOUT)).await {
            Err(error) if error.kind() != ErrorKind::Gone => Err(error),
            _ => Ok(()),
        }
    }

    async fn ask_done(&self, ask: &Ask) -> Result<()> {
        match self.ask(ask).await? {
            Answer::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    async fn ask_sequence(&self, ask: &Ask) -> Result<Sequence> {
        match self.ask(ask).await? {
            Answer::Sequence(sequence) => Ok(sequence),
            _ => Err(unexpected()),
        }
    }

    async fn ask_position(&self, ask: &Ask) -> Result<Position> {
        match self.ask(ask).await? {
            Answer::Position(position) => Ok(position),
            _ => Err(unexpected()),
        }
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer> {
        Ok(self.ask_patiently(ask, Some(ANSWER_TIMEOUT)).await?.0)
    }

    async fn ask_patiently(&self, ask: &Ask, timeout: Option<Duration>) -> Result<(Answer, bytes::Bytes)> {
        let mut connection = self.connection().await?;
        let answer = connection.ask(ask, &[], timeout).await;
        self.keep(connection);
        answer
    }

    /// A connection of its own for one question.
    async fn connection(&self) -> Result<Connection> {
        let idle = || self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(connection) = idle() {
            if connection.is_open() {
                return Ok(connection);
            }
        }
        let connection = Connection::open(&self.shared.socket).await?;
        // Another one has begun an epoch, of which this client's caller knows nothing.
        match connection.process_id() == self.shared.process_id {
            true => Ok(connection),
            false => Err(connection::gone(&self.shared.socket)),
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.is_open() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
}

fn unexpected() -> Error {
    Error::protocol("the tap answers something else than it was asked for")
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { socket, process_id, .. } = &*self.shared;
        formatter.debug_struct("Client").field("socket", socket).field("process_id", process_id).finish()
    }
}
