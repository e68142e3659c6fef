//! The figures as measurements: ours beside the best rival, what the machine allows, and everybody else.

use anyhow::{Context, Result};

use super::{
    bound::Rates,
    cycle::{Figures, Step},
    images::{Image, Images},
};
use crate::bench::{report::Measurement, sample::Samples};

/// The most memory that a backup or a restore may take, whatever the disk's size.
const MEMORY_LIMIT_MIB: f64 = 64.0;

const MIB: f64 = 1048576.0;

/// The bench's figures.
pub struct Rows<'a> {
    pub ours: &'a Figures,
    /// Tools that deduplicate and encrypt.
    pub rivals: Vec<&'a Figures>,
    /// Tools that do less.
    pub yardsticks: Vec<&'a Figures>,
    pub rates: &'a Rates,
    pub images: &'a Images,
}

/// A step, and the ratios that are aimed at.
struct Goal {
    step: Step,
    what: &'static str,
    /// Of the time, to the fastest rival.
    wall: f64,
    /// Of the processor time, to the most frugal rival.
    cpu: Option<f64>,
    /// Of the time, to tools that do less.
    yardstick: Option<f64>,
    /// Of the time, to what the machine allows.
    bound: Option<f64>,
}

const fn goal(step: Step, what: &'static str, wall: f64) -> Goal {
    Goal { step, what, wall, cpu: None, yardstick: None, bound: None }
}

const GOALS: [Goal; 6] = [
    Goal { cpu: Some(0.44), bound: Some(1.3), ..goal(Step::Full, "full backup", 0.30) },
    goal(Step::Incremental, "comparing backup", 0.23),
    goal(Step::Sibling, "sibling's full backup", 0.22),
    Goal { yardstick: Some(0.53), bound: Some(1.3), ..goal(Step::Restore, "restore to raw", 0.40) },
    goal(Step::Verify, "verification", 0.45),
    goal(Step::Collect, "deletion and garbage collection", 0.17),
];

impl Rows<'_> {
    /// All of them, in the order of the steps.
    pub fn measurements(&self) -> Result<Vec<Measurement>> {
        let mut rows = Vec::new();
        for goal in &GOALS {
            if let Some(samples) = self.ours.samples(goal.step) {
                rows.extend(self.of_step(goal, samples)?);
            }
        }
        rows.extend(self.stored()?);
        rows.extend(self.memory());
        let rates = self.rates.named().into_iter();
        rows.extend(
            rates.map(|(name, rate)| Measurement::new(format!("this machine: {name}"), rate, "GB/s")),
        );
        let all = [&[self.ours][..], &self.rivals, &self.yardsticks].concat();
        rows.push(Measurement::new("processors busy with other things", Figures::others(&all), ""));
        Ok(rows)
    }

    fn of_step(&self, goal: &Goal, samples: &Samples) -> Result<Vec<Measurement>> {
        let wall = || Measurement::new(goal.what, samples.wall_seconds(), "s");
        let cpu = || Measurement::new(format!("{}, processor", goal.what), samples.cpu_seconds(), "s");
        let wall_of = |tool: &Figures| Some(tool.samples(goal.step)?.wall_seconds());
        let cpu_of = |tool: &Figures| Some(tool.samples(goal.step)?.cpu_seconds());
        let mut rows = Vec::new();
        for (place, (name, seconds)) in ranked(&self.rivals, wall_of).into_iter().enumerate() {
            rows.push(wall().beside(name, seconds).ratio_at_most((place == 0).then_some(goal.wall)));
        }
        for (name, seconds) in ranked(&self.yardsticks, wall_of) {
            rows.push(wall().beside(name, seconds).ratio_at_most(goal.yardstick));
        }
        let bound = self.bound(goal.step)?;
        rows.extend(
            bound.map(|seconds| wall().beside("bound of this machine", seconds).ratio_at_most(goal.bound)),
        );
        let frugal = ranked(&self.rivals, cpu_of).into_iter().next();
        rows.extend(frugal.map(|(name, seconds)| cpu().beside(name, seconds).ratio_at_most(goal.cpu)));
        Ok(rows)
    }

    /// The least time that a step could take here, in seconds.
    fn bound(&self, step: Step) -> Result<Option<f64>> {
        let used = |image| self.images.used(image).map(|used| used.0 as f64);
        let added = |before, after| {
            Ok::<_, anyhow::Error>((stored(self.ours, after)? - stored(self.ours, before)?) * MIB)
        };
        Ok(match step {
            Step::Full => Some(self.rates.full(used(Image::Base)?)),
            Step::Incremental => {
                Some(self.rates.backup(used(Image::Changed)?, added(Step::Full, Step::Incremental)?))
            }
            Step::Sibling => {
                Some(self.rates.backup(used(Image::Sibling)?, added(Step::Incremental, Step::Sibling)?))
            }
            Step::Restore => Some(self.rates.restore(used(Image::Changed)?)),
            Step::Verify => Some(self.rates.verify(stored(self.ours, Step::Sibling)? * MIB)),
            Step::Collect => None,
        })
    }

    fn stored(&self) -> Result<Vec<Measurement>> {
        let added = |tool: &Figures, before, after| Some(tool.stored_mib(after)? - tool.stored_mib(before)?);
        let row = |what: &str, limit: Option<f64>, of: &dyn Fn(&Figures) -> Option<f64>| {
            let ours = of(self.ours).with_context(|| format!("nothing is known of what is {what}"))?;
            let row = Measurement::new(what, ours, "MiB");
            Ok::<_, anyhow::Error>(match ranked(&self.rivals, of).into_iter().next() {
                Some((name, theirs)) => row.beside(name, theirs).ratio_at_most(limit),
                None => row,
            })
        };
        let mut rows = vec![
            row("stored, first disk", None, &|tool| tool.stored_mib(Step::Full))?,
            row("stored, by the change alone", Some(0.45), &|tool| {
                added(tool, Step::Full, Step::Incremental)
            })?,
            row("stored, by the sibling alone", None, &|tool| added(tool, Step::Incremental, Step::Sibling))?,
            row("stored, all three", Some(1.0), &|tool| tool.stored_mib(Step::Sibling))?,
        ];
        if self.ours.stored_mib(Step::Collect).is_some() {
            rows.push(row("stored, without the first point", None, &|tool| tool.stored_mib(Step::Collect))?);
        }
        Ok(rows)
    }

    fn memory(&self) -> Vec<Measurement> {
        let peak_of = |tool: &Figures, step| Some(tool.samples(step)?.peak_memory_mib());
        let rows = GOALS.iter().filter_map(|goal| {
            let what = format!("{}, peak of memory", goal.what);
            let mut row = Measurement::new(what, peak_of(self.ours, goal.step)?, "MiB");
            if let Some((name, theirs)) =
                ranked(&self.rivals, |rival| peak_of(rival, goal.step)).into_iter().next()
            {
                row = row.beside(name, theirs);
            }
            let is_limited = !matches!(goal.step, Step::Verify | Step::Collect);
            Some(if is_limited { row.at_most(MEMORY_LIMIT_MIB) } else { row })
        });
        rows.collect()
    }
}

fn stored(tool: &Figures, step: Step) -> Result<f64> {
    tool.stored_mib(step).with_context(|| format!("nothing is known of what {} stored", tool.name()))
}

/// What tools need, the one that needs least first.
fn ranked(tools: &[&Figures], of: impl Fn(&Figures) -> Option<f64>) -> Vec<(String, f64)> {
    let mut ranked: Vec<(String, f64)> =
        tools.iter().filter_map(|tool| Some((tool.name().to_owned(), of(tool)?))).collect();
    ranked.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    ranked
}
