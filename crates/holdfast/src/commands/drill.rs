//! Drills of recovery plans.

use std::path::PathBuf;

use api::{DrillReportFormat, RunDrill, ScheduleDrill};
use clap::{Args, Subcommand, ValueEnum};

use super::{plan::operator, policy::jitter_seconds};
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    output::{self, Format},
    wait::WaitArguments,
};

/// What can be done with drills.
#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// Has a plan drilled by itself, or changes when.
    ///
    /// What is not given is as by default. A drill that is due while the plan is run otherwise is put off until that is over, and
    /// one that was missed is made up for. That none has passed in time is shown by drill list, doctor and the metrics.
    #[command(after_long_help = SCHEDULE_EXAMPLES)]
    Schedule(Schedule),
    /// Has a plan drilled by itself no more. Its reports stay.
    #[command(after_long_help = "Example:\n  holdfast drill unschedule shop")]
    Unschedule(Named),
    /// Lists the plans that are or were drilled: when next, what came of the last, and whether one is overdue.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast drill list")]
    List,
    /// Drills a plan now: its VMs come up in isolation, are looked at, and are removed again, whatever has come of it.
    ///
    /// It is the run of plan run --test, but asks nobody: what a person would do is skipped, and what fails ends the drill. Exits with
    /// 1 when it does not pass; a report is kept in any case. Ctrl-C leaves it running; holdfast job cancel ends it, and removes
    /// what it made.
    #[command(after_long_help = "Example:\n  holdfast drill run shop --point latest-application")]
    Run(Run),
    /// Lists the drills of a plan that have ended, newest first.
    #[command(after_long_help = "Example:\n  holdfast drill reports shop")]
    Reports(Named),
    /// Shows the report of a drill.
    ///
    /// What was run and how long it took, RTO and RPO beside what the plan asks for, each check, screenshots, and what is not as it
    /// was in the drill before.
    #[command(after_long_help = REPORT_EXAMPLES)]
    Report(Report),
}

const SCHEDULE_EXAMPLES: &str = "\
Examples:
  holdfast drill schedule shop --every 7d
  holdfast drill schedule shop --at 'sat 03:00' --zone Europe/Berlin --grace 2d --keep-reports 104";

const REPORT_EXAMPLES: &str = "\
Examples:
  holdfast drill report shop
  holdfast drill report shop latest --format html --to drill.html
  holdfast drill report shop --format json | jq .verdict";

/// Has a plan drilled by itself.
#[derive(Debug, Args)]
pub struct Schedule {
    /// The plan.
    plan: String,
    #[command(flatten)]
    when: When,
    /// The time zone of --at, as in Europe/Berlin; the host's by default.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// The moment: latest, latest-application, a time as in 2026-03-01T14:05:07Z, a checkpoint's name, or @GROUP for the newest that all
    /// VMs of a consistency group share.
    #[arg(long, value_name = "MOMENT", default_value = "latest")]
    point: String,
    /// How long after one was due a drill may not have passed before it is overdue; 24h by default.
    #[arg(long, value_name = "DURATION", value_parser = arguments::hours)]
    grace: Option<u32>,
    /// Spread the drills of plans over this time, as in 2h; each plan has its own place in it. None by default.
    #[arg(long, value_name = "DURATION", value_parser = jitter_seconds)]
    jitter: Option<u32>,
    /// How many reports stay; 52 by default. The last that passed stays in any case.
    #[arg(long, value_name = "COUNT")]
    keep_reports: Option<u32>,
}

/// When drills are due.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct When {
    /// Every so often, as in 7d or 12h, counted in UTC from 1970 on.
    #[arg(long, value_name = "DURATION")]
    every: Option<String>,
    /// At such moments: weekdays, dates and times as in 'sat 03:00' or '*-*-01 03:00'; weekly, monthly; or cron with five fields.
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
}

/// Names a plan.
#[derive(Debug, Args)]
pub struct Named {
    /// The plan.
    plan: String,
}

/// Drills a plan now.
#[derive(Debug, Args)]
pub struct Run {
    /// The plan.
    plan: String,
    /// The moment: latest, latest-application, a time as in 2026-03-01T14:05:07Z, a checkpoint's name, or @GROUP for the newest that all
    /// VMs of a consistency group share.
    #[arg(long, value_name = "MOMENT", default_value = "latest")]
    point: String,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Shows a report.
#[derive(Debug, Args)]
pub struct Report {
    /// The plan.
    plan: String,
    /// The drill, by its id or a unique start of it, or latest.
    #[arg(default_value = "latest")]
    drill: String,
    /// How it is written; text by default, or json with -o json.
    #[arg(long, value_name = "FORMAT")]
    format: Option<ReportFormat>,
    /// Write it to this file.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// For a terminal.
    Text,
    /// One page that needs nothing else, with screenshots in it.
    Html,
    /// For programs.
    Json,
}

impl DrillCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let (client, output) = (&context.client, &context.output);
        match self {
            Self::Schedule(schedule) => schedule.run(context).await,
            Self::Unschedule(Named { plan }) => {
                client.unschedule_drill(&plan).await?;
                context.note(&format!("the plan {plan} is drilled by itself no more; its reports stay"));
                Ok(())
            }
            Self::List => {
                let schedule = context.command("drill schedule PLAN --every 7d");
                output
                    .list(&client.drills().await?, &format!("no plan was drilled yet; have one: {schedule}"))
            }
            Self::Run(Run { plan, point, wait }) => {
                let job = client.run_drill(&plan, &RunDrill { point, operator: operator() }).await?;
                wait.finish(context, &job).await
            }
            Self::Reports(Named { plan }) => {
                let run = context.command(&format!("drill run {plan}"));
                let reports = client.drill_reports(&plan).await?;
                output.list(&reports, &format!("no drill of it has ended yet; run one: {run}"))
            }
            Self::Report(report) => report.run(context).await,
        }
    }
}

impl Schedule {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let When { every, at } = self.when;
        let request = ScheduleDrill {
            schedule: every.map_or_else(|| at.unwrap_or_default(), |every| format!("every {every}")),
            zone: self.zone,
            point: self.point,
            grace_hours: self.grace,
            jitter_seconds: self.jitter,
            keep_reports: self.keep_reports,
        };
        context.output.one(&context.client.schedule_drill(&self.plan, &request).await?)
    }
}

impl Report {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let format = match (self.format, context.output.format) {
            (Some(ReportFormat::Html), _) => DrillReportFormat::Html,
            (Some(ReportFormat::Json), _) | (None, Format::Json | Format::Jsonl) => DrillReportFormat::Json,
            (Some(ReportFormat::Text), _) | (None, Format::Table) => DrillReportFormat::Text,
        };
        let report = context.client.drill_report(&self.plan, &self.drill, format).await?;
        match &self.to {
            None => output::print(&report),
            Some(file) => std::fs::write(file, report).map_err(|error| Failure::file(file, &error)),
        }
    }
}
