//! Objects that lose bits, and what a repair can then promise.

use crate::dice::Dice;

/// What loses bits in a world, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rot {
    /// Nothing does.
    Nothing,
    /// Packs, index segments and points of the vault and of its copy, while the world goes on. Only two things can be asked
    /// for: never a wrong byte, and a repair that tells the truth.
    Objects,
    /// Anything in the vault, when all is over and the copy is up to date: a repair brings back everything.
    ShieldedByCopy,
    /// The index and the log, when all is over, while a collector is at work or dead, and there is no copy: a repair finds every
    /// point again.
    Alone,
}

impl Rot {
    /// Most worlds have none.
    pub(crate) fn drawn(dice: &Dice) -> Self {
        match dice.number(0..1000) {
            0..80 => Self::Objects,
            80..240 => Self::ShieldedByCopy,
            240..400 => Self::Alone,
            _ => Self::Nothing,
        }
    }
}
