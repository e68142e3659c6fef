//! How a replication is, in one word, with the reasons and what to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Mode, Standing};

/// A link that is down for less is not worth a word.
const LINK_PATIENCE: Duration = Duration::from_secs(30);

/// A disk that is not whole for longer loses more and more moments.
const BREAK_PATIENCE: Duration = Duration::from_secs(300);

/// Breaks in an hour from which on something is wrong with the host.
const BREAKS_WARNING: u64 = 3;

/// Where the newest checkpoint is older than this, in seconds.
const RPO_WARNING_SECONDS: f64 = 60.0;
const RPO_CRITICAL_SECONDS: f64 = 900.0;

/// How full the journal is, in per cent of its share.
const JOURNAL_WARNING_PERCENT: u64 = 75;

/// How a replication is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    #[default]
    Ok,
    /// It protects, but somebody should look.
    Warning,
    /// It does not protect, or not as well as it should.
    Critical,
}

/// Why it is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// How bad.
    pub health: Health,
    /// What is so.
    pub what: String,
    /// What to do.
    pub guidance: String,
}

/// The way to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// The last call came through, or none was needed.
    Up,
    /// Calls have failed for so long.
    Down {
        /// Why the last one did.
        why: String,
        /// For how long.
        lasting: Duration,
    },
    /// The target takes nothing more, and why.
    Refuses(String),
}

/// What is known of a replication.
#[derive(Debug, Clone)]
pub struct Facts {
    /// How it stands.
    pub standing: Standing,
    /// For how long.
    pub lasting: Duration,
    /// The way to the target.
    pub link: LinkState,
    /// How old the newest checkpoint is that is durable at the target, in seconds; none without one.
    pub rpo_seconds: Option<f64>,
    /// How full the journal is, in per cent of its share.
    pub journal_percent: u64,
    /// How often the tap broke within the last hour, or an epoch came to nothing.
    pub breaks_in_hour: u64,
    /// How the journal gets what the VM writes.
    pub mode: Mode,
}

/// How a replication is, and why: the worst reason first.
#[must_use]
pub fn health(facts: &Facts) -> (Health, Vec<Reason>) {
    let mut reasons: Vec<Reason> =
        [standing(facts), link(&facts.link), rpo(facts), journal(facts), breaks(facts)]
            .into_iter()
            .flatten()
            .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.health));
    (reasons.first().map_or(Health::Ok, |reason| reason.health), reasons)
}

fn reason(health: Health, what: impl Into<String>, guidance: &str) -> Option<Reason> {
    Some(Reason { health, what: what.into(), guidance: guidance.to_owned() })
}

fn standing(facts: &Facts) -> Option<Reason> {
    match &facts.standing {
        Standing::Fenced(why) => reason(
            Health::Critical,
            format!("fenced: {why}"),
            "the other site has taken this VM over; do not start it here. Stop the replication here, or replicate back from there",
        ),
        Standing::Degraded(why) => {
            let health = if facts.lasting >= BREAK_PATIENCE { Health::Critical } else { Health::Warning };
            let what = format!("writes are tracked and not taken: {why}");
            reason(health, what, "it is tried again by itself; until then there are no new checkpoints")
        }
        Standing::Paused => reason(Health::Warning, "paused", "go on with: holdfast replication resume"),
        Standing::Starting | Standing::Copying => {
            reason(Health::Warning, "not protected yet", "wait until everything was copied once")
        }
        Standing::Resyncing if facts.lasting >= BREAK_PATIENCE => reason(
            Health::Warning,
            "still reading what was missed",
            "earlier checkpoints can be used meanwhile",
        ),
        Standing::Resyncing | Standing::Protected | Standing::VmStopped => None,
    }
}

fn link(link: &LinkState) -> Option<Reason> {
    match link {
        LinkState::Down { why, lasting } if *lasting >= LINK_PATIENCE => reason(
            Health::Critical,
            format!("the other site has not been reached for {} s: {why}", lasting.as_secs()),
            "look at the network and at the server there; what the guest writes is kept until the journal is full",
        ),
        LinkState::Refuses(why) => {
            reason(Health::Critical, format!("the other site takes nothing: {why}"), "see to it there")
        }
        LinkState::Up | LinkState::Down { .. } => None,
    }
}

fn rpo(facts: &Facts) -> Option<Reason> {
    // While it is copied for the first time there is none, and while it is paused or fenced that is what has to be said.
    let is_expected =
        matches!(facts.standing, Standing::Protected | Standing::Degraded(_) | Standing::Resyncing);
    // At intervals the newest checkpoint grows as old as one interval and what the next epoch takes.
    let spared_seconds = match facts.mode {
        Mode::Tap => 0.0,
        Mode::Interval(interval) => 2.0 * interval.as_secs_f64(),
    };
    let rpo = facts.rpo_seconds.filter(|rpo| is_expected && *rpo > RPO_WARNING_SECONDS + spared_seconds)?;
    let is_critical = rpo > RPO_CRITICAL_SECONDS + 2.0 * spared_seconds;
    let health = if is_critical { Health::Critical } else { Health::Warning };
    let what = format!("the newest checkpoint at the other site is {} s old", rpo.round());
    reason(
        health,
        what,
        "compare the rate of the link with what the guest writes; raise --rate-limit where there is one",
    )
}

fn journal(facts: &Facts) -> Option<Reason> {
    let percent = facts.journal_percent;
    (percent >= JOURNAL_WARNING_PERCENT).then_some(())?;
    let guidance = "when it is full writes are tracked instead, and read again later; raise --journal-size, or look at the link";
    reason(Health::Warning, format!("the journal is full to {percent} %"), guidance)
}

fn breaks(facts: &Facts) -> Option<Reason> {
    let breaks = facts.breaks_in_hour;
    (breaks >= BREAKS_WARNING).then_some(())?;
    let what = match facts.mode {
        Mode::Tap => format!("the tap broke {breaks} times within an hour"),
        Mode::Interval(_) => format!("{breaks} epochs came to nothing within an hour"),
    };
    reason(
        Health::Warning,
        what,
        "the disk that the journal is on may be too slow; the server's log says more",
    )
}

#[cfg(test)]
mod tests {
    use super::{Facts, Health, LinkState, health};
    use crate::{Mode, Standing};
    use std::time::Duration;

    fn facts(standing: Standing) -> Facts {
        Facts {
            standing,
            lasting: Duration::from_secs(1),
            link: LinkState::Up,
            rpo_seconds: Some(1.0),
            journal_percent: 1,
            breaks_in_hour: 0,
            mode: Mode::Tap,
        }
    }

    #[test]
    fn the_newest_checkpoint_may_be_as_old_as_the_interval_asks() {
        let mode = Mode::Interval(Duration::from_secs(600));
        let of = |rpo| health(&Facts { mode, rpo_seconds: Some(rpo), ..facts(Standing::Protected) }).0;
        assert_eq!([of(1259.0), of(1261.0), of(3301.0)], [Health::Ok, Health::Warning, Health::Critical]);
    }

    #[test]
    fn what_protects_is_ok_and_what_does_not_says_why_and_what_to_do() {
        assert_eq!(health(&facts(Standing::Protected)), (Health::Ok, Vec::new()));
        assert_eq!(health(&facts(Standing::VmStopped)).0, Health::Ok);
        let (fenced, reasons) = health(&facts(Standing::Fenced("failed over at noon".to_owned())));
        assert_eq!(fenced, Health::Critical);
        assert!(reasons[0].what.contains("failed over at noon") && !reasons[0].guidance.is_empty());
    }

    #[test]
    fn the_worst_comes_first_and_time_makes_it_worse() {
        let link = LinkState::Down { why: "no route".to_owned(), lasting: Duration::from_secs(31) };
        let facts =
            Facts { link, rpo_seconds: Some(61.0), journal_percent: 80, ..facts(Standing::Protected) };
        let (worst, reasons) = health(&facts);
        assert_eq!((worst, reasons.len()), (Health::Critical, 3));
        assert!(reasons[0].what.contains("no route"), "{reasons:?}");
        let degraded = Facts { rpo_seconds: None, lasting: Duration::from_secs(299), ..facts.clone() };
        let degraded =
            Facts { standing: Standing::Degraded("full".to_owned()), link: LinkState::Up, ..degraded };
        assert_eq!(health(&degraded).0, Health::Warning);
        assert_eq!(health(&Facts { lasting: Duration::from_secs(300), ..degraded }).0, Health::Critical);
    }

    #[test]
    fn a_link_that_blinks_is_not_worth_a_word() {
        let link = LinkState::Down { why: String::new(), lasting: Duration::from_secs(5) };
        assert_eq!(health(&Facts { link, ..facts(Standing::Protected) }).0, Health::Ok);
    }
}
