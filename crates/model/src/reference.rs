//! References to images, parsed in this one place.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{DiskName, Timestamp};

/// Which recovery point of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointSelector {
    /// The newest.
    Latest,
    /// The one whose id starts so.
    IdPrefix(String),
    /// The newest that is not younger than this.
    At(Timestamp),
}

/// `point:<vm>/<point>[/<disk>]`. The VM is a name or an id; `%2F` stands for a slash inside a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointReference {
    /// The VM's name or id.
    pub vm: String,
    /// Which of its points.
    pub point: PointSelector,
    /// One disk of it; none means the whole VM.
    pub disk: Option<DiskName>,
}

/// `snapshot:<name>[/<disk>]`. The snapshot is a name, an id, or the start of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReference {
    /// The snapshot's name or id, or the start of its id.
    pub snapshot: String,
    /// One disk of it; none means all of them.
    pub disk: Option<DiskName>,
}

/// Which moment of a replicated VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MomentSelector {
    /// The newest.
    Latest,
    /// The newest at which the applications in the guest held still.
    LatestApplication,
    /// The last one by this time, by the source's clock.
    At(Timestamp),
    /// After the record of this number.
    Sequence(u64),
    /// The newest checkpoint of this name.
    Checkpoint(String),
    /// A moment that all members of a consistency group share: `@<group>` is the newest, `@<group>#<number>` the checkpoint of that
    /// number, and `@<group>:<moment>` the newest one that is meant so.
    Shared {
        /// The group's name.
        group: String,
        /// Which of its moments. A number is that of the shared checkpoint, and not of a record.
        moment: Box<MomentSelector>,
    },
}

/// `replica:<vm>[/<moment>[/<disk>]]`. The VM is a name or an id, or the id of the journal; without a moment it is the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaReference {
    /// The VM's name or id, or the journal's id.
    pub vm: String,
    /// Which of its moments.
    pub moment: MomentSelector,
    /// One disk of it; none means the whole VM.
    pub disk: Option<DiskName>,
}

/// Anything that can be read as the image of a disk, or the images of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageReference {
    /// A recovery point.
    Point(PointReference),
    /// A managed snapshot.
    Snapshot(SnapshotReference),
    /// A moment of a replicated VM.
    Replica(ReplicaReference),
    /// `file:<path>`: an image file at rest.
    File(PathBuf),
}

/// The text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseReferenceError {
    text: String,
    why: &'static str,
    takes: Takes,
}

/// What would have been a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Points,
    Snapshots,
    Replicas,
    All,
}

impl Takes {
    fn example(self) -> &'static str {
        match self {
            Self::Points => "point:<vm>/<point>[/<disk>], as in point:web-1/latest",
            Self::Snapshots => "snapshot:<name>[/<disk>]",
            Self::Replicas => {
                "replica:<vm>[/<moment>[/<disk>]], where the moment is latest, latest-application, a time, a checkpoint's name, #NUMBER, or @GROUP for one that a group shares"
            }
            Self::All => {
                "point:<vm>/<point>[/<disk>], as in point:web-1/latest, or snapshot:<name>[/<disk>], or replica:<vm>[/<moment>[/<disk>]], or file:<path>"
            }
        }
    }
}

impl fmt::Display for ParseReferenceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let example = self.takes.example();
        write!(formatter, "{:?} is not a reference: {}; write {example}", self.text, self.why)
    }
}

impl std::error::Error for ParseReferenceError {}

impl FromStr for PointReference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| ParseReferenceError { text: text.to_owned(), why, takes: Takes::Points };
        let rest = text.strip_prefix("point:").ok_or_else(|| error("it does not start with point:"))?;
        let mut parts = rest.split('/').map(decode);
        let (Some(vm), Some(point), disk, None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error(
                "it needs a VM and a point, and at most one disk; write a slash in a name as %2F",
            ));
        };
        if vm.is_empty() {
            return Err(error("the VM's name is empty"));
        }
        let disk =
            disk.map(|name| name.parse()).transpose().map_err(|_| error("the disk's name is not valid"))?;
        let point = point.parse().map_err(error)?;
        Ok(Self { vm, point, disk })
    }
}

impl FromStr for SnapshotReference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| ParseReferenceError { text: text.to_owned(), why, takes: Takes::Snapshots };
        let rest = text.strip_prefix("snapshot:").ok_or_else(|| error("it does not start with snapshot:"))?;
        let mut parts = rest.split('/').map(decode);
        let (Some(snapshot), disk, None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(error("it has more than a name and one disk; write a slash in a disk's name as %2F"));
        };
        if snapshot.is_empty() {
            return Err(error("the snapshot's name is empty"));
        }
        let disk =
            disk.map(|name| name.parse()).transpose().map_err(|_| error("the disk's name is not valid"))?;
        Ok(Self { snapshot, disk })
    }
}

impl FromStr for ReplicaReference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| ParseReferenceError { text: text.to_owned(), why, takes: Takes::Replicas };
        let rest = text.strip_prefix("replica:").ok_or_else(|| error("it does not start with replica:"))?;
        let mut parts = rest.split('/').map(decode);
        let (Some(vm), moment, disk, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(error(
                "it has more than a VM, a moment and one disk; write a slash in a name as %2F",
            ));
        };
        if vm.is_empty() {
            return Err(error("the VM's name is empty"));
        }
        let disk =
            disk.map(|name| name.parse()).transpose().map_err(|_| error("the disk's name is not valid"))?;
        let moment = moment.as_deref().unwrap_or("latest").parse().map_err(error)?;
        Ok(Self { vm, moment, disk })
    }
}

impl FromStr for ImageReference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| ParseReferenceError { text: text.to_owned(), why, takes: Takes::All };
        match text.strip_prefix("file:") {
            Some("") => Err(error("the path is empty")),
            Some(path) => Ok(Self::File(path.into())),
            None if text.starts_with("point:") => text.parse().map(Self::Point),
            None if text.starts_with("snapshot:") => text.parse().map(Self::Snapshot),
            None if text.starts_with("replica:") => text.parse().map(Self::Replica),
            None => Err(error("it starts neither with point: nor with snapshot:, replica: or file:")),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Point(point) => point.fmt(formatter),
            Self::Snapshot(snapshot) => snapshot.fmt(formatter),
            Self::Replica(replica) => replica.fmt(formatter),
            Self::File(path) => write!(formatter, "file:{}", path.display()),
        }
    }
}

impl fmt::Display for PointReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "point:{}/{}", encode(&self.vm), self.point)?;
        self.disk.as_ref().map_or(Ok(()), |disk| write!(formatter, "/{}", encode(disk.as_str())))
    }
}

impl fmt::Display for SnapshotReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "snapshot:{}", encode(&self.snapshot))?;
        self.disk.as_ref().map_or(Ok(()), |disk| write!(formatter, "/{}", encode(disk.as_str())))
    }
}

impl fmt::Display for ReplicaReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "replica:{}/{}", encode(&self.vm), encode(&self.moment.to_string()))?;
        self.disk.as_ref().map_or(Ok(()), |disk| write!(formatter, "/{}", encode(disk.as_str())))
    }
}

/// The longest name of a checkpoint, in bytes.
const CHECKPOINT_NAME_MAX_BYTES: usize = 255;

impl MomentSelector {
    /// Whether it means the newest moment of its kind, whichever that is.
    #[must_use]
    pub fn is_newest(&self) -> bool {
        match self {
            Self::Latest | Self::LatestApplication => true,
            Self::At(_) | Self::Sequence(_) | Self::Checkpoint(_) => false,
            Self::Shared { moment, .. } => moment.is_newest(),
        }
    }
}

impl FromStr for MomentSelector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" => return Ok(Self::Latest),
            "latest-application" => return Ok(Self::LatestApplication),
            _ => {}
        }
        if let Some(shared) = text.strip_prefix('@') {
            return parse_shared(shared);
        }
        if let Some(number) = text.strip_prefix('#') {
            return number.parse().map(Self::Sequence).map_err(|_| "what comes after # is not a number");
        }
        if let Ok(moment) = text.parse() {
            return Ok(Self::At(moment));
        }
        if text.is_empty() || text.len() > CHECKPOINT_NAME_MAX_BYTES {
            return Err(
                "the moment is neither latest, nor latest-application, a time, a checkpoint's name, #NUMBER or @GROUP",
            );
        }
        Ok(Self::Checkpoint(text.to_owned()))
    }
}

/// What stands behind the `@`. A group's name has neither `#` nor `:`.
fn parse_shared(text: &str) -> Result<MomentSelector, &'static str> {
    let end = text.find(['#', ':']).unwrap_or(text.len());
    let (group, moment) = text.split_at(end);
    let moment = match moment.strip_prefix(':').unwrap_or(moment) {
        "" if moment.is_empty() => MomentSelector::Latest,
        moment => moment.parse()?,
    };
    if group.is_empty() || matches!(moment, MomentSelector::Shared { .. }) {
        return Err("what comes after @ is not the name of a group");
    }
    Ok(MomentSelector::Shared { group: group.to_owned(), moment: Box::new(moment) })
}

impl fmt::Display for MomentSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => formatter.write_str("latest"),
            Self::LatestApplication => formatter.write_str("latest-application"),
            Self::At(moment) => moment.fmt(formatter),
            Self::Sequence(number) => write!(formatter, "#{number}"),
            Self::Checkpoint(name) => formatter.write_str(name),
            Self::Shared { group, moment } => match &**moment {
                Self::Latest => write!(formatter, "@{group}"),
                Self::Sequence(number) => write!(formatter, "@{group}#{number}"),
                moment => write!(formatter, "@{group}:{moment}"),
            },
        }
    }
}

impl FromStr for PointSelector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Ok(moment) = text.parse() {
            return Ok(Self::At(moment));
        }
        let id_characters =
            text.chars().all(|character| character.is_ascii_lowercase() || character.is_ascii_digit());
        if text.is_empty() || text.len() > crate::id::ID_LENGTH_CHARS || !id_characters {
            return Err("the point is neither an id, nor the start of one, nor latest, nor a time");
        }
        Ok(Self::IdPrefix(text.to_owned()))
    }
}

impl fmt::Display for PointSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => formatter.write_str("latest"),
            Self::IdPrefix(prefix) => formatter.write_str(prefix),
            Self::At(moment) => moment.fmt(formatter),
        }
    }
}

fn decode(part: &str) -> String {
    part.replace("%2F", "/").replace("%2f", "/").replace("%25", "%")
}

fn encode(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}
