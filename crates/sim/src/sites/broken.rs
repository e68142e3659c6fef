//! Variants that are broken on purpose, to prove that the checker notices.

use std::fmt;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Broken {
    /// The target acknowledges before it is durable.
    ReceiveBeforeSync,
    /// The source's journal acknowledges before it is durable.
    AcknowledgeBeforeSync,
    /// What the journal has is trusted before it is durable.
    TrustUndurable,
    /// A VM that was taken over may be started all the same.
    StartIgnoresFence,
    /// The other site is asked to take over before it is durable that the VM must not run here.
    AskBeforeFence,
    /// When no answer comes, the VM may run again.
    SilenceIsRefusal,
    /// A VM is handed over before everything has come.
    HandOverEarly,
    /// A stopped VM is taken to lack nothing, whatever the tap missed.
    StoppedIsWhole,
    /// A replication that is ended forgets that the VM was handed over meanwhile.
    StopForgetsFence,
    /// A VM is replicated although its own failover may still be changed to another moment.
    ReplicateUncommitted,
    /// A replica begins with what the source still has of a journal.
    BeginLate,
    /// A replica whose VM has long run here by another one is failed over once more.
    OldReplicaFailsOver,
    /// Parts of one replica are taken although the VM was failed over by another.
    OtherReplicaUnfenced,
    /// Whether the VM was failed over is looked at before the parts' turn, and not in it.
    LookBeforeTurn,
    /// The VM is made before it is durable that it was failed over.
    BuildBeforeStanding,
    /// A failover begins no generation.
    SameGeneration,
    /// A test does not pin its moment.
    TestUnpinned,
    /// At intervals, the disks are called whole when an epoch begins, and not when all of it was copied.
    WholeTooSoon,
    /// At intervals, what was written since an epoch that came to nothing is in no other one.
    FailedEpochForgotten,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use clap::ValueEnum;
        let value = self.to_possible_value();
        formatter.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
