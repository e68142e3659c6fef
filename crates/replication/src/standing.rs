//! How a replication stands.

/// How it stands, in a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The tap is on its way.
    Starting,
    /// Everything is copied for the first time.
    Copying,
    /// The journal has everything.
    Protected,
    /// Writes are tracked and not taken, and why.
    Degraded(String),
    /// What was missed is copied.
    Resyncing,
    /// Somebody wanted it so.
    Paused,
    /// The VM does not run, and the journal has everything that it wrote.
    VmStopped,
    /// The other site has taken the VM over.
    Fenced(String),
}
