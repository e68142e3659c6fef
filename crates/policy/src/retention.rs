//! Retention: which points stay.

use std::{collections::BTreeSet, fmt};

use jiff::civil::ISOWeekDate;
use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Zone;

/// How many points stay, by rule; 0 leaves a rule out. A point stays when one rule at least keeps it.
///
/// `last` keeps the newest points. The others divide time by the clock on the wall, and keep the newest point of each of the
/// newest hours, days, weeks (ISO 8601), months and years that have one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Retention {
    /// Newest points.
    pub last: u32,
    /// Hours.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
    /// Every point that is not older than this, in hours.
    pub within_hours: u32,
}

/// Why a point stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// It is the newest, which always stays.
    Newest,
    /// [`Retention::last`].
    Last,
    /// [`Retention::hourly`].
    Hourly,
    /// [`Retention::daily`].
    Daily,
    /// [`Retention::weekly`].
    Weekly,
    /// [`Retention::monthly`].
    Monthly,
    /// [`Retention::yearly`].
    Yearly,
    /// [`Retention::within_hours`].
    Within,
}

/// What the rules say of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<I> {
    /// The point.
    pub id: I,
    /// The rules that keep it; where there is none, it goes.
    pub kept_by: BTreeSet<Rule>,
}

impl<I> Verdict<I> {
    /// Whether the point stays.
    #[must_use]
    pub fn stays(&self) -> bool {
        !self.kept_by.is_empty()
    }
}

impl Retention {
    /// Whether every point that `earlier` keeps is kept by these rules too, whatever the points.
    #[must_use]
    pub fn covers(&self, earlier: &Self) -> bool {
        self.numbers().into_iter().zip(earlier.numbers()).all(|(new, old)| new >= old)
    }

    /// Whether no rule is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn numbers(&self) -> [u32; 7] {
        let Self { last, hourly, daily, weekly, monthly, yearly, within_hours } = *self;
        [last, hourly, daily, weekly, monthly, yearly, within_hours]
    }
}

/// Which of these points stay, newest first. The newest always does; of two of one moment, the one with the greater id counts
/// as newer.
///
/// Points that go change nothing about those that stay: the same rules keep the rest again.
#[must_use]
pub fn keep<I: Copy + Ord>(
    points: &[(I, Timestamp)],
    rules: &Retention,
    zone: &Zone,
    now: Timestamp,
) -> Vec<Verdict<I>> {
    let mut points = points.to_vec();
    points.sort_unstable_by_key(|&(id, moment)| std::cmp::Reverse((moment, id)));
    let mut periods = [
        Periods::new(Rule::Hourly, rules.hourly),
        Periods::new(Rule::Daily, rules.daily),
        Periods::new(Rule::Weekly, rules.weekly),
        Periods::new(Rule::Monthly, rules.monthly),
        Periods::new(Rule::Yearly, rules.yearly),
    ];
    let within_us = i64::from(rules.within_hours).saturating_mul(3_600_000_000);
    let mut verdicts = Vec::with_capacity(points.len());
    for (place, (id, moment)) in points.into_iter().enumerate() {
        let mut kept_by = BTreeSet::new();
        if place == 0 {
            kept_by.insert(Rule::Newest);
        }
        if u32::try_from(place).is_ok_and(|place| place < rules.last) {
            kept_by.insert(Rule::Last);
        }
        if rules.within_hours > 0 && now.microseconds_since(moment) <= within_us {
            kept_by.insert(Rule::Within);
        }
        kept_by.extend(periods.iter_mut().filter_map(|periods| periods.take(moment, zone)));
        verdicts.push(Verdict { id, kept_by });
    }
    verdicts
}

/// The periods of one length that still have room.
struct Periods {
    rule: Rule,
    left: u32,
    /// The period of the newest point so far.
    current: Option<[i64; 3]>,
}

impl Periods {
    fn new(rule: Rule, count: u32) -> Self {
        Self { rule, left: count, current: None }
    }

    /// Whether the rule keeps this point, which is older than all before it: the first of its period is the newest.
    fn take(&mut self, moment: Timestamp, zone: &Zone) -> Option<Rule> {
        if self.left == 0 {
            return None;
        }
        let period = self.rule.period(moment, zone);
        if self.current.replace(period) == Some(period) {
            return None;
        }
        self.left -= 1;
        Some(self.rule)
    }
}

impl Rule {
    /// Names the period that a moment is in: later periods have other names, whatever the clock does.
    fn period(self, moment: Timestamp, zone: &Zone) -> [i64; 3] {
        let civil = zone.civil(moment);
        let (year, month, day) = (i64::from(civil.year()), i64::from(civil.month()), i64::from(civil.day()));
        match self {
            // An hour that the clock shows twice is two: they have different offsets.
            Self::Hourly => {
                let offset_seconds = i64::from(civil.offset().seconds());
                [
                    (moment.as_microseconds().div_euclid(1_000_000) + offset_seconds).div_euclid(3_600),
                    offset_seconds,
                    0,
                ]
            }
            Self::Weekly => {
                let week: ISOWeekDate = civil.date().iso_week_date();
                [i64::from(week.year()), i64::from(week.week()), 0]
            }
            Self::Monthly => [year, month, 0],
            Self::Yearly => [year, 0, 0],
            _ => [year, month, day],
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Newest => "newest",
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Within => "within",
        })
    }
}

#[cfg(test)]
mod tests;
