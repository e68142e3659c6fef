//! Continuous replication of a VM, from where it runs: what is done when, and how it stands.
//!
//! [`Machine`] decides: events go in, actions come out. It knows no hypervisor, no journal, no network and no clock, so that
//! every order of events can be tried. Whoever drives it carries the actions out and tells what came of them.
//!
//! # Invariants
//!
//! 1. **Whole is proven.** A VM's disks are called whole only after everything that the journal lacked was copied within one
//!    [`Attachment`], and the hypervisor has begun an epoch of tracking *after the last copy was read*. That it could begin one
//!    says that the tap was handed every write until then: a tap that broke meanwhile cannot pass for whole.
//! 2. **Trust comes last.** An epoch is trusted once the journal durably has every record that was taken in until the epoch had
//!    begun, and only an epoch that began while the disks were whole or about to be called so. It is in the catalog before the
//!    hypervisor drops what it tracked earlier: who dies in between tracks too much, never too little.
//! 3. **Nothing of an old attachment counts.** What is told of one that has ended changes nothing, but that it is let go of once
//!    more.
//! 4. **Stopped is not whole.** A VM that does not run is said to lack nothing at the other site only when it ended while its disks were
//!    whole, and neither it nor the process that holds the journal was seen to live otherwise since.
//! 5. **The guest first.** After a break the tap is tried again later and later; while the journal is full it is not tried at
//!    all.
//!
//! At intervals ([`Mode::Interval`]) an [`Attachment`] is one epoch: a moment of all disks is held, what was written since the
//! trusted one is copied from it, and the journal closes it with a mark. Then:
//!
//! 6. **One epoch, one moment.** The disks are whole in the journal from the mark that closes an epoch until the next one begins,
//!    and nothing is recorded in between. So nothing can be shown but what the disks held at one of the moments.
//! 7. **What failed is in the next.** The trusted epoch moves on only when the journal durably has the closed one; whatever ends
//!    before has changed nothing, and the next one copies all since the trusted one.

mod action;
mod backoff;
mod drain;
mod event;
mod health;
mod machine;
mod meter;
mod mode;
mod rpo;
mod standing;

pub use action::Action;
pub use backoff::pause;
pub use drain::{Drain, Drained};
pub use event::{Attachment, End, Epoch, Event, Obstacle, Record, Wish};
pub use health::{Facts, Health, LinkState, Reason, health};
pub use machine::Machine;
pub use meter::{Meter, seconds_to_in_sync};
pub use mode::Mode;
pub use rpo::RpoHistory;
pub use standing::Standing;
