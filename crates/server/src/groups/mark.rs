//! What a shared checkpoint is called in the journals of its members.
//!
//! Each member's journal has two marks of the kind `group` for it:
//!
//! ```text
//! <group's id>#<number> crash|application[ <name>]    the moment
//! <group's id>#<number> held                          that it is one: it was marked everywhere while nothing was acknowledged
//! ```
//!
//! A number is used once. The second mark is made after all of the first, and only where the proof holds; in whichever journal it
//! is found, it stands for all. So what was half done when a server died is never taken for a moment that is shared.

use std::fmt;

use model::GroupId;

/// The longest name of a shared checkpoint, in bytes: what a journal takes, without the rest of the mark.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// A mark of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupMark {
    pub(crate) group: GroupId,
    /// Counted from 1.
    pub(crate) number: u64,
    pub(crate) says: Says,
}

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Says {
    /// This is the moment. Its name may be empty.
    Moment { is_application: bool, name: String },
    /// It is shared by all members.
    Held,
}

impl GroupMark {
    /// Reads what a journal has; none for what is no mark of a group.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (group, rest) = text.split_once('#')?;
        let (number, says) = rest.split_once(' ')?;
        let (word, name) = says.split_once(' ').unwrap_or((says, ""));
        let says = match word {
            "crash" => Says::Moment { is_application: false, name: name.to_owned() },
            "application" => Says::Moment { is_application: true, name: name.to_owned() },
            "held" => Says::Held,
            _ => return None,
        };
        Some(Self { group: group.parse().ok()?, number: number.parse().ok()?, says })
    }
}

impl fmt::Display for GroupMark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}#{} ", self.group, self.number)?;
        match &self.says {
            Says::Held => formatter.write_str("held"),
            Says::Moment { is_application, name } => {
                formatter.write_str(if *is_application { "application" } else { "crash" })?;
                if name.is_empty() { Ok(()) } else { write!(formatter, " {name}") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GroupMark, NAME_BYTES_MAX, Says};
    use model::GroupId;

    #[test]
    fn marks_are_read_as_they_are_written_and_fit_into_a_journal() {
        let group = GroupId::from_random([5; 10]);
        let moment = |is_application, name: &str| Says::Moment { is_application, name: name.to_owned() };
        let long = "x".repeat(NAME_BYTES_MAX);
        for says in
            [Says::Held, moment(false, ""), moment(true, "before the upgrade #2"), moment(true, &long)]
        {
            let mark = GroupMark { group, number: u64::MAX, says };
            let text = mark.to_string();
            assert_eq!(GroupMark::parse(&text), Some(mark));
            assert!(text.len() <= journal::CHECKPOINT_NAME_BYTES_MAX);
        }
        for text in ["", "before-upgrade", "#1 held", "0000000000000000#x held", "0000000000000000#1 else"] {
            assert_eq!(GroupMark::parse(text), None, "{text}");
        }
    }
}
