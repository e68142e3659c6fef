//! Managed snapshots: what the site knows of them. A snapshot's data is a recovery point in the snapshot store; until it is
//! there, the moment is held and [`Held`] shows it, so that a snapshot can be used as soon as its moment is fixed.

mod adopt;
mod baseline;
mod change;
mod find;
mod held;
mod lost;
mod reception;
mod recover;
mod subject;
mod switching;
mod view;

pub(crate) use self::{
    baseline::{committed, earlier},
    change::{Users, check_deletable, check_lock, check_tags, delete, forget_failed, lock, tag, undelete},
    find::{find, find_any, find_deleted, resolve},
    held::{Held, HeldSnapshot},
    lost::LostImage,
    reception::{KIND, SentSnapshot, SnapshotReception},
    recover::{recover, watch},
    subject::{Subject, family_of},
    view::{Wanted, add_sizes, copy_view, list, view},
};
