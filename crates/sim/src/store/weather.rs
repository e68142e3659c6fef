//! How bad a store is to its users at a time.

use std::time::Duration;

use crate::dice::Dice;

/// How often what goes wrong, in a thousand requests. By default nothing does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Requests that fail and do nothing.
    pub(crate) refused: u32,
    /// Requests whose answer never arrives, though they take effect.
    pub(crate) lost_answers: u32,
    /// Those of them that take effect only later, up to `latest_effect`, when the sender has long gone on.
    pub(crate) late_effects: u32,
    pub(crate) latest_effect: Duration,
    /// Requests after which nearly nothing works for a while.
    pub(crate) busy: u32,
    /// Requests that take seconds.
    pub(crate) slow: u32,
    /// Listings that show the store as it was some time ago, at most `stalest`.
    pub(crate) stale_listings: u32,
    pub(crate) stalest: Duration,
    /// Listings that leave something out.
    pub(crate) short_listings: u32,
}

impl Weather {
    pub(crate) fn drawn(dice: &Dice) -> Self {
        let minute = Duration::from_secs(60);
        let up_to = |most: u64| dice.number(0..most + 1) as u32;
        match dice.number(0..4) {
            0 => Self { slow: 20, ..Self::default() },
            1 => Self { stale_listings: 400, stalest: minute, short_listings: 300, ..Self::default() },
            _ => Self {
                refused: up_to(40),
                lost_answers: up_to(40),
                late_effects: up_to(500),
                latest_effect: *dice.pick(&[minute / 20, minute, 10 * minute]).unwrap_or(&minute),
                busy: up_to(8),
                slow: up_to(30),
                stale_listings: up_to(300),
                stalest: *dice.pick(&[minute / 6, 10 * minute, 600 * minute]).unwrap_or(&minute),
                short_listings: up_to(300),
            },
        }
    }
}
