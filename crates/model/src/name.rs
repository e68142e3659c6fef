//! Names that people give. Anything a person may call a VM is allowed, but nothing that breaks a terminal or a log.

use std::{fmt, str::FromStr};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// The name is empty or only white space.
    Empty,
    /// The name is longer than the limit, in bytes of UTF-8.
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// The name holds a control character, or one that is invisible or turns the direction of text.
    ControlCharacter,
    /// The name starts or ends with white space.
    OuterSpace,
    /// The name holds a character that this kind of name does not allow.
    Character(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(formatter, "a name cannot be empty"),
            Self::TooLong { limit_bytes } => {
                write!(formatter, "a name has at most {limit_bytes} bytes of UTF-8")
            }
            Self::ControlCharacter => write!(formatter, "a name cannot hold control or invisible characters"),
            Self::OuterSpace => write!(formatter, "a name cannot start or end with a space"),
            Self::Character(character) => {
                write!(
                    formatter,
                    "this name cannot hold {character:?}: use letters, digits, '.', '_' and '-'"
                )
            }
        }
    }
}

impl std::error::Error for NameError {}

/// Whether a character would act on the text around it instead of being seen: names that look the same must be the same.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
        )
}

fn check_text(name: &str, limit_bytes: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        Err(NameError::Empty)
    } else if name.len() > limit_bytes {
        Err(NameError::TooLong { limit_bytes })
    } else if name.chars().any(is_unseen) {
        Err(NameError::ControlCharacter)
    } else if name.trim() != name {
        Err(NameError::OuterSpace)
    } else {
        Ok(())
    }
}

fn check_plain(name: &str, limit_bytes: usize) -> Result<(), NameError> {
    check_text(name, limit_bytes)?;
    match name.chars().find(|&character| !(character.is_alphanumeric() || "._-".contains(character))) {
        Some(character) => Err(NameError::Character(character)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident, $limit_bytes:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $check(text, $limit_bytes)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name! {
    /// A VM's name: any text of up to 1,024 bytes without control and invisible characters; slashes, quotes
    /// and spaces are fine. Never used as a file name.
    VmName, check_text, 1024
}
name! {
    /// A disk's name within its VM, as the hypervisor knows it (the device's id).
    DiskName, check_text, 255
}
name! {
    /// The name of a disk on this site, whatever VM has it: letters, digits, '.', '_' and '-'. Part of its file's name.
    SiteDiskName, check_plain, 100
}
name! {
    /// A vault's name on this site: letters, digits, '.', '_' and '-'.
    VaultName, check_plain, 100
}
name! {
    /// A copy's name among those of its vault: letters, digits, '.', '_' and '-'.
    CopyName, check_plain, 100
}
name! {
    /// A policy's name on this site: letters, digits, '.', '_' and '-'.
    PolicyName, check_plain, 100
}
name! {
    /// A recovery plan's name on this site: letters, digits, '.', '_' and '-'.
    PlanName, check_plain, 100
}
name! {
    /// A site's name: letters, digits, '.', '_' and '-'.
    SiteName, check_plain, 100
}
name! {
    /// A snapshot's name on this site: letters, digits, '.', '_' and '-'.
    SnapshotName, check_plain, 100
}
name! {
    /// A consistency group's name on its site: letters, digits, '.', '_' and '-'.
    GroupName, check_plain, 100
}
