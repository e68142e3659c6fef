//! A site's server: the HTTP API, the job runner, and the wiring of engines to adapters.
//!
//! The only crate besides the binary that knows engines and adapters at once, and the only one that speaks HTTP. It holds
//! no logic of backup, of vaults or of hypervisors: a route checks what was asked for and hands it to a job or an engine,
//! and every error on the way becomes a problem document in one place, [`failure`].

mod actions;
mod backing;
mod copies;
mod dependents;
mod directory;
mod disks;
mod doctor;
mod drills;
mod failure;
mod files;
mod groups;
mod images;
mod jobs;
mod keystore;
mod object_locks;
mod peers;
mod plans;
mod points;
mod policies;
mod replicas;
mod replications;
mod routes;
mod runbooks;
mod serve;
mod site;
mod snapshots;
mod startup;
mod turns;
mod vaults;
mod vms;
mod work;

pub use failure::{files_problem, operation_problem, vault_problem};
pub use replications::Taps;
pub use routes::openapi;
pub use serve::serve;
pub use site::{PeerConfig, Site, SiteConfig};
