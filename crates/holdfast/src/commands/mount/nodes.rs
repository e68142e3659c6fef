//! The inode numbers that the kernel knows.

use std::collections::BTreeMap;

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// What was mounted.
    Root,
    /// The directory of disks.
    Disks,
    /// One of the disks.
    Disk(usize),
    /// The directory of volumes.
    Files,
    /// A volume, or something in one: `/volume/path`.
    Entry(Vec<u8>),
}

/// The places that the kernel knows, by number. It holds as many as the kernel has not forgotten.
#[derive(Debug)]
pub struct Nodes {
    by_number: BTreeMap<u64, Node>,
    by_place: BTreeMap<Place, u64>,
    next_number: u64,
}

#[derive(Debug)]
struct Node {
    place: Place,
    /// How often the kernel was told of it since it last forgot it.
    lookups: u64,
}

/// The number of what is mounted, by FUSE's protocol.
const ROOT: u64 = 1;

impl Nodes {
    /// The root alone, which is never forgotten.
    pub fn new() -> Self {
        Self {
            by_number: BTreeMap::from([(ROOT, Node { place: Place::Root, lookups: 1 })]),
            by_place: BTreeMap::from([(Place::Root, ROOT)]),
            next_number: ROOT + 1,
        }
    }

    /// What has a number.
    pub fn place(&self, number: u64) -> Option<&Place> {
        self.by_number.get(&number).map(|node| &node.place)
    }

    /// The number of a place that the kernel knows.
    pub fn number(&self, place: &Place) -> Option<u64> {
        self.by_place.get(place).copied()
    }

    /// The number of a place of which the kernel is told now.
    pub fn look_up(&mut self, place: Place) -> u64 {
        if let Some(&number) = self.by_place.get(&place) {
            self.by_number.entry(number).and_modify(|node| node.lookups += 1);
            return number;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.by_place.insert(place.clone(), number);
        self.by_number.insert(number, Node { place, lookups: 1 });
        number
    }

    /// The kernel forgets some of what it was told.
    pub fn forget(&mut self, number: u64, lookups: u64) {
        let Some(node) = self.by_number.get_mut(&number).filter(|_| number != ROOT) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0
            && let Some(node) = self.by_number.remove(&number)
        {
            self.by_place.remove(&node.place);
        }
    }
}

#[cfg(test)]
mod tests;
