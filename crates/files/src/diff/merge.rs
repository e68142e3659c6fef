//! Two walks in the order of paths become one list of pairs. Pure: whoever drives it brings the steps that it wants.

use std::cmp::Ordering;

use crate::{Error, FilePath, Found, walk::Step};

/// One of two trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Before,
    /// The second.
    After,
}

/// What two walks have at one path.
#[derive(Debug)]
pub(super) enum Pair {
    /// Something that only one of them has.
    Only(Side, Found),
    /// Something that both have.
    Both(Found, Box<Found>),
    /// A directory of which the rest cannot be read on one side. What the other has there is passed over: nobody knows whether
    /// it is in both.
    Unreadable(Side, FilePath, Error),
}

/// The merge as far as it has come.
///
/// Invariant: pairs come in the order of paths, each step of both walks is in exactly one pair or lies where the other side
/// cannot be read, and one step of each side is all that is held.
#[derive(Debug, Default)]
pub(super) struct Merge {
    before: Lane,
    after: Lane,
}

/// One side of a merge.
#[derive(Debug, Default)]
struct Lane {
    head: Head,
    /// What it told last.
    last: FilePath,
    /// What is passed over, because the other side cannot read it.
    hidden: Option<FilePath>,
}

#[derive(Debug, Default)]
enum Head {
    #[default]
    Wanted,
    Step(Box<Step>),
    End,
}

impl Merge {
    /// Whether a step of this side is needed before the next pair is known.
    pub(super) fn wants(&self, side: Side) -> bool {
        matches!(self.lane(side).head, Head::Wanted)
    }

    /// Whether a step of any side is needed.
    pub(super) fn wants_any(&self) -> bool {
        self.wants(Side::Before) || self.wants(Side::After)
    }

    /// Brings the next step of a side that wants one; none at its end.
    pub(super) fn offer(&mut self, side: Side, step: Option<Step>) {
        let lane = self.lane_mut(side);
        lane.head = match step {
            None => Head::End,
            Some(step) if lane.hides(&step) => Head::Wanted,
            Some(step) => Head::Step(Box::new(step)),
        };
    }

    /// The next pair, once nothing is wanted; none at the end.
    pub(super) fn next(&mut self) -> Option<Pair> {
        match self.before.position().zip(self.after.position()).map(|(one, other)| one.cmp(&other)) {
            Some(Ordering::Less) => self.take(Side::Before),
            Some(Ordering::Greater) => self.take(Side::After),
            Some(Ordering::Equal) => self.take_both(),
            None if self.before.position().is_some() => self.take(Side::Before),
            None => self.take(Side::After),
        }
    }

    /// Takes what both have at one path. What both cannot read is told once.
    fn take_both(&mut self) -> Option<Pair> {
        if matches!(&self.before.head, Head::Step(step) if matches!(**step, Step::Unreadable { .. })) {
            return self.take(Side::Before);
        }
        match (self.before.take()?, self.after.take()?) {
            (Step::Found(before), Step::Found(after)) => Some(Pair::Both(before, Box::new(after))),
            _ => None,
        }
    }

    fn take(&mut self, side: Side) -> Option<Pair> {
        match self.lane_mut(side).take()? {
            Step::Found(found) => Some(Pair::Only(side, found)),
            Step::Unreadable { path, error } => {
                let other = match side {
                    Side::Before => &mut self.after,
                    Side::After => &mut self.before,
                };
                other.hidden = Some(path.clone());
                if matches!(&other.head, Head::Step(step) if other.hides(step)) {
                    other.head = Head::Wanted;
                }
                Some(Pair::Unreadable(side, path, error))
            }
        }
    }

    fn lane(&self, side: Side) -> &Lane {
        match side {
            Side::Before => &self.before,
            Side::After => &self.after,
        }
    }

    fn lane_mut(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Before => &mut self.before,
            Side::After => &mut self.after,
        }
    }
}

impl Lane {
    /// Where the head is in the order of both: at its path, and what cannot be read behind all that was told before.
    fn position(&self) -> Option<(&FilePath, bool)> {
        let Head::Step(step) = &self.head else { return None };
        Some(match &**step {
            Step::Found(found) => (&found.path, false),
            Step::Unreadable { path, .. } => ((&self.last).max(path), true),
        })
    }

    fn hides(&self, step: &Step) -> bool {
        let path = match step {
            Step::Found(found) => &found.path,
            Step::Unreadable { path, .. } => path,
        };
        self.hidden.as_ref().is_some_and(|hidden| path.is_within(hidden))
    }

    fn take(&mut self) -> Option<Step> {
        match std::mem::take(&mut self.head) {
            Head::Step(step) => {
                if let Step::Found(found) = &*step {
                    self.last.clone_from(&found.path);
                }
                Some(*step)
            }
            Head::Wanted => None,
            Head::End => {
                self.head = Head::End;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
