//! Drills: recovery plans that are tested without anybody, again and again, and what came of it.
//!
//! A drill is a run of a plan of the kind test. [`plan::drill::next`] brings it to its end; the runner of plans carries it out as any
//! other run, also over the end of a server, and hands it over to [`conclude`] when all is removed. It is over only when its report
//! is kept. When one is due, and since when it is overdue, [`due`] works out of what the catalog holds.

mod conclude;
mod due;
mod evidence;
mod report;
mod schedule;
mod view;

pub(crate) use self::{
    conclude::conclude,
    evidence::keep as keep_evidence,
    report::report,
    schedule::{forget, look, run, schedule, unschedule},
    view::{check, metrics, reports, state, states},
};
