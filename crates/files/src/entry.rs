//! What is known of files and volumes.

/// A moment as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The name with its namespace, as in `user.comment`.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it leads, as it is written there.
        target: Vec<u8>,
    },
    /// A character device.
    CharacterDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// One file, directory or anything else that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in its directory; for the path that was asked for, its last name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions, with set-user-id, set-group-id and sticky: the low twelve bits of POSIX's mode.
    pub mode: u32,
    /// The owner's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
    /// The length of a file in bytes.
    pub size_bytes: u64,
    /// How many bytes are allocated to it.
    pub allocated_bytes: u64,
    /// What tells hard links: the same in one volume for each of them.
    pub inode: u64,
    /// How many names it has.
    pub links: u64,
    /// When the contents changed last.
    pub modified: Time,
    /// When it was read last.
    pub accessed: Time,
    /// When anything about it changed last.
    pub changed: Time,
    /// When it was made, where the file system knows.
    pub created: Option<Time>,
    /// Extended attributes, where they were asked for.
    pub attributes: Vec<Attribute>,
}

impl Entry {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// A directory that only we know of: the root, or a volume in it.
    pub(crate) fn directory(name: &[u8]) -> Self {
        Self {
            name: name.to_vec(),
            kind: Kind::Directory,
            mode: 0o755,
            user: 0,
            group: 0,
            size_bytes: 0,
            allocated_bytes: 0,
            inode: 0,
            links: 1,
            modified: Time::default(),
            accessed: Time::default(),
            changed: Time::default(),
            created: None,
            attributes: Vec::new(),
        }
    }
}

/// Whether the files of a volume can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeState {
    /// As far as is known without mounting it.
    Readable,
    /// Encrypted, and no passphrase opened it.
    Locked,
    /// Not here.
    Unreadable {
        /// Why not.
        reason: String,
    },
}

/// Something that holds a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The first name of every path in it.
    pub name: String,
    /// The file system or container that it holds, in the kernel's words: `ext4`, `xfs`, `crypto_LUKS`.
    pub content: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Whether its files can be read.
    pub state: VolumeState,
}
