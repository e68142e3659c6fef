//! Mistakes that a journal can be told to make, so that a simulation can show that it would find them. Without the feature
//! `flaws` there are none.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// What is written counts as durable before it is.
    AcknowledgeBeforeSync,
    /// What is not durable at the source is shipped.
    ShipBeforeSync,
    /// A fold says that it has ended before the base is durable.
    FoldBeforeSync,
    /// A fold does not say that it has begun.
    FoldUnannounced,
    /// A fold goes beyond moments that are pinned.
    FoldIgnoresPins,
    /// A copy goes over what the guest has written meanwhile.
    CopyOverWrites,
    /// Disks count as whole although writes to them were missed.
    EpochForgotten,
    /// What the target has counts as durable before it is.
    ReceiveBeforeSync,
}

/// The mistake that is made, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flaws {
    #[cfg(feature = "flaws")]
    pub(crate) made: Option<Flaw>,
}

impl Flaws {
    #[cfg(feature = "flaws")]
    pub(crate) fn has(self, flaw: Flaw) -> bool {
        self.made == Some(flaw)
    }

    #[cfg(not(feature = "flaws"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) const fn has(self, _: Flaw) -> bool {
        false
    }
}
