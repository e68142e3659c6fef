//! Random identifiers: 80 bits, written as 16 characters that survive being read aloud and typed again.

use std::{fmt, str::FromStr};

/// Crockford's base 32 in lower case: no i, l, o or u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters in every id.
pub(crate) const ID_LENGTH_CHARS: usize = 16;

/// The text is not an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError(String);

impl fmt::Display for ParseIdError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} is not an id: {ID_LENGTH_CHARS} characters of 0-9 a-z without i, l, o and u",
            self.0
        )
    }
}

impl std::error::Error for ParseIdError {}

fn encode(random: [u8; 10]) -> [u8; ID_LENGTH_CHARS] {
    let mut bits = [0u8; 16];
    bits[6..].copy_from_slice(&random);
    let value = u128::from_be_bytes(bits);
    std::array::from_fn(|place| ALPHABET[(value >> (5 * (ID_LENGTH_CHARS - 1 - place))) as usize & 31])
}

fn parse(text: &str) -> Result<[u8; ID_LENGTH_CHARS], ParseIdError> {
    let characters: [u8; ID_LENGTH_CHARS] =
        text.as_bytes().try_into().map_err(|_| ParseIdError(text.to_owned()))?;
    if characters.iter().all(|character| ALPHABET.contains(character)) {
        Ok(characters)
    } else {
        Err(ParseIdError(text.to_owned()))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name([u8; ID_LENGTH_CHARS]);

        impl $name {
            /// The id made of 80 random bits.
            #[must_use]
            pub fn from_random(random: [u8; 10]) -> Self {
                Self(encode(random))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }
    };
}

id! {
    /// A VM, for as long as Holdfast knows it; its name may change.
    VmId
}
id! {
    /// A disk that has a name of its own on this site.
    DiskId
}
id! {
    /// A vault; fixed when the vault is created, and part of every key derivation in it.
    VaultId
}
id! {
    /// A recovery point.
    PointId
}
id! {
    /// A managed snapshot.
    SnapshotId
}

impl SnapshotId {
    /// The recovery point that the snapshot is in its store.
    #[must_use]
    pub fn point_id(self) -> PointId {
        PointId(self.0)
    }
}

id! {
    /// A job.
    JobId
}
id! {
    /// A run of a recovery plan.
    PlanRunId
}
id! {
    /// One capture of a VM: a moment held still, and the dirty bitmaps that start at it.
    CaptureId
}
id! {
    /// A site; made with its certificate authority when it first starts, and never changed.
    SiteId
}
id! {
    /// A pairing token. Not the secret in it.
    PairingId
}
id! {
    /// Disks on their way from one site to another, however often the sending is interrupted.
    TransferId
}
id! {
    /// A write log of site recovery, on both sides.
    JournalId
}
id! {
    /// A consistency group of replicated VMs, on both sides.
    GroupId
}
