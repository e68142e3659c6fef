//! The guard: a small process that undoes what a capture does to a guest when the server dies in the middle of it.
//!
//! A guest agent never thaws by itself, and nobody but us resumes a paused VM. So while a moment is being fixed, a process of
//! its own session holds the agent. It freezes and thaws on command, thaws by itself when the freeze limit has passed, and
//! when its standard input ends (the server was killed) it thaws and resumes at once. When the guard dies, the server does
//! the same; when both die, the VM's ledger tells the next server.
//!
//! **Proof of application consistency.** An agent reports success although a hook script inside the guest failed: stock
//! hook runners swallow exit codes. So the effect is checked: a freeze hook that has quiesced its applications writes
//! something new into [`MARKER`], such as a line of `/proc/sys/kernel/random/uuid`. The guard reads the file before the freeze
//! and after the thaw; when it has changed, the hook succeeded. On Windows the agent freezes through the Volume Shadow Copy
//! Service, which quiesces the applications or fails.

mod handle;
mod process;
mod protocol;
mod release;

pub(crate) use handle::{Guard, Thaw};
pub use process::run;
pub(crate) use protocol::{Quiescence, Setup};
pub(crate) use release::thaw;

/// The file in the guest that a freeze hook changes when it has quiesced its applications.
pub const MARKER: &str = "/run/holdfast/quiesced";
