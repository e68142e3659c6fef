//! Variants that are broken on purpose, to prove that the checker notices.

use std::fmt;

use journal::Flaw;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Broken {
    /// The source's journal acknowledges before it is durable.
    AcknowledgeBeforeSync,
    /// The source ships what a crash may take back.
    ShipBeforeSync,
    /// A copy goes over what the guest has written meanwhile.
    CopyOverWrites,
    /// A journal that is taken up again forgets that writes were missed.
    EpochForgotten,
    /// The replica acknowledges before it is durable.
    ReceiveBeforeSync,
    /// A fold has ended before the base is durable.
    FoldBeforeSync,
    /// A fold does not say that it has begun.
    FoldUnannounced,
    /// A fold takes what is pinned.
    FoldIgnoresPins,
}

impl Broken {
    pub(crate) fn flaw(self) -> Flaw {
        match self {
            Self::AcknowledgeBeforeSync => Flaw::AcknowledgeBeforeSync,
            Self::ShipBeforeSync => Flaw::ShipBeforeSync,
            Self::CopyOverWrites => Flaw::CopyOverWrites,
            Self::EpochForgotten => Flaw::EpochForgotten,
            Self::ReceiveBeforeSync => Flaw::ReceiveBeforeSync,
            Self::FoldBeforeSync => Flaw::FoldBeforeSync,
            Self::FoldUnannounced => Flaw::FoldUnannounced,
            Self::FoldIgnoresPins => Flaw::FoldIgnoresPins,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use clap::ValueEnum;
        let value = self.to_possible_value();
        formatter.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
