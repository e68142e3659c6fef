//! Policies.

use std::time::Duration;

use api::{CreatePolicy, EditPolicy, KeepRules};
use clap::{Args, Subcommand};
use model::PolicyName;

use crate::{arguments, context::Context, failure::Failure};

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Creates a policy: when its runs are due, and which of the points or snapshots that they make stay.
    ///
    /// It does nothing until the backups of a VM follow it, with protect --policy, or its snapshots, with snapshot schedule.
    /// Its runs delete the points and snapshots that no rule keeps, but only those that a policy made: what was made by hand
    /// stays until somebody deletes it. The newest always stays, and so do points under a legal hold, those that an immutable
    /// vault retains, and snapshots that are locked or that a VM runs from.
    #[command(after_long_help = CREATE_EXAMPLES)]
    Create(Create),
    /// Lists policies.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast policy list")]
    List,
    /// Shows a policy, the next three moments at which it is due, by the clock of its time zone, and what follows it.
    #[command(after_long_help = "Example:\n  holdfast policy show nightly")]
    Show(Show),
    /// Changes a policy; what is not given stays.
    ///
    /// Where it keeps less from then on, it deletes nothing until its time of grace is over.
    #[command(after_long_help = EDIT_EXAMPLES)]
    Edit(Edit),
    /// Shows which points and snapshots that policies made the policy keeps, by which rules, and which it will delete.
    #[command(after_long_help = "Example:\n  holdfast policy preview nightly")]
    Preview(Show),
    /// Forgets a policy that nothing follows; what it made stays.
    #[command(after_long_help = "Example:\n  holdfast policy delete nightly --dry-run")]
    Delete(Delete),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  holdfast policy create nightly --schedule 'mon..fri 21:00' --keep-daily 7 --keep-weekly 4
  holdfast policy create frequent --schedule 'every 15m' --keep-within 2d --keep-daily 30 --jitter 10m
  holdfast policy create monthly --schedule '0 3 1 * *' --zone Europe/Berlin";

const EDIT_EXAMPLES: &str = "\
Examples:
  holdfast policy edit nightly --schedule daily
  holdfast policy edit nightly --keep-daily 5 --keep-weekly 0 --dry-run";

/// Creates a policy.
#[derive(Debug, Args)]
pub struct Create {
    /// The policy's name.
    name: PolicyName,
    /// When its runs are due: hourly, daily, weekly, monthly; weekdays, dates and times as in 'mon..fri 21:00' or
    /// '*-*-01 03:00'; 'every 15m' or 'every 4h'; or cron with five fields.
    #[arg(long, value_name = "WHEN")]
    schedule: String,
    #[command(flatten)]
    options: Options,
}

/// Changes a policy.
#[derive(Debug, Args)]
pub struct Edit {
    /// The policy.
    policy: String,
    /// When its runs are due.
    #[arg(long, value_name = "WHEN")]
    schedule: Option<String>,
    #[command(flatten)]
    options: Options,
    /// Show which points would stay and which would go, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What may be said of any policy.
#[derive(Debug, Args)]
struct Options {
    /// The time zone of the schedule and of the days that are kept, as in Europe/Berlin; the host's by default.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    #[command(flatten)]
    keep: Keep,
    /// Spread the runs of its VMs over this time, as in 10m; each VM has its own place in it. None by default.
    #[arg(long, value_name = "DURATION", value_parser = jitter_seconds)]
    jitter: Option<u32>,
    /// How long it deletes nothing after it was made to keep less, or a VM joined it; 24h by default.
    #[arg(long, value_name = "DURATION", value_parser = arguments::hours)]
    grace: Option<u32>,
}

/// Which points stay, and likewise snapshots; 0 takes a rule away. A point stays when one rule keeps it; without rules, all
/// stay.
#[derive(Debug, Args)]
#[command(next_help_heading = "Retention rules")]
struct Keep {
    /// The newest points.
    #[arg(long, value_name = "COUNT")]
    keep_last: Option<u32>,
    /// The newest point of each of so many hours that have one.
    #[arg(long, value_name = "COUNT")]
    keep_hourly: Option<u32>,
    /// The same by days.
    #[arg(long, value_name = "COUNT")]
    keep_daily: Option<u32>,
    /// The same by weeks, which begin on Monday.
    #[arg(long, value_name = "COUNT")]
    keep_weekly: Option<u32>,
    /// The same by months.
    #[arg(long, value_name = "COUNT")]
    keep_monthly: Option<u32>,
    /// The same by years.
    #[arg(long, value_name = "COUNT")]
    keep_yearly: Option<u32>,
    /// Every point that is not older, as in 12h, 2d or 2w.
    #[arg(long, value_name = "DURATION", value_parser = arguments::hours)]
    keep_within: Option<u32>,
}

/// Names a policy.
#[derive(Debug, Args)]
pub struct Show {
    /// The policy.
    policy: String,
}

/// Forgets a policy.
#[derive(Debug, Args)]
pub struct Delete {
    /// The policy.
    policy: String,
    /// Show the policy that would be forgotten, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl PolicyCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Create(Create { name, schedule, options }) => {
                let request = CreatePolicy {
                    name: name.to_string(),
                    schedule,
                    zone: options.zone,
                    keep: options.keep.into(),
                    jitter_seconds: options.jitter,
                    grace_hours: options.grace,
                };
                context.output.one(&client.create_policy(&request).await?)
            }
            Self::List => {
                let create = context.command("policy create NAME --schedule daily");
                context
                    .output
                    .list(&client.policies().await?, &format!("no policies yet; make one: {create}"))
            }
            Self::Show(Show { policy }) => context.output.one(&client.policy(&policy).await?),
            Self::Edit(edit) => edit.run(context).await,
            Self::Preview(Show { policy }) => preview(context, &policy, &EditPolicy::default()).await,
            Self::Delete(delete) => delete.run(context).await,
        }
    }
}

impl Edit {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { policy, schedule, options, dry_run } = self;
        let request = EditPolicy {
            schedule,
            zone: options.zone,
            keep: options.keep.into(),
            jitter_seconds: options.jitter,
            grace_hours: options.grace,
        };
        if request == EditPolicy::default() {
            return Err(Failure::usage("nothing to change")
                .with_hint("give --schedule, --zone, --jitter, --grace or a --keep-… rule"));
        }
        if dry_run {
            context.note("this would become of what it made; nothing was changed");
            return preview(context, &policy, &request).await;
        }
        context.output.one(&context.client.edit_policy(&policy, &request).await?)
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { policy, dry_run } = self;
        let known = context.client.policy(&policy).await?;
        if dry_run {
            context.note("this policy would be forgotten, if nothing follows it; nothing was changed");
            return context.output.one(&known);
        }
        context.confirm(&format!("Forget the policy {policy}? What it made stays."))?;
        context.client.delete_policy(&policy).await?;
        context.note(&format!("the policy {policy} is forgotten; what it made stays"));
        Ok(())
    }
}

async fn preview(context: &Context, policy: &str, request: &EditPolicy) -> Result<(), Failure> {
    let verdicts = context.client.preview_policy(policy, request).await?;
    context.output.list(&verdicts, &format!("nothing yet that a policy made of VMs that follow {policy}"))
}

impl From<Keep> for KeepRules {
    fn from(keep: Keep) -> Self {
        Self {
            last: keep.keep_last,
            hourly: keep.keep_hourly,
            daily: keep.keep_daily,
            weekly: keep.keep_weekly,
            monthly: keep.keep_monthly,
            yearly: keep.keep_yearly,
            within_hours: keep.keep_within,
        }
    }
}

/// Reads a duration of whole seconds; 0s is none.
pub(super) fn jitter_seconds(text: &str) -> Result<u32, String> {
    let duration = if text == "0s" { Duration::ZERO } else { arguments::duration(text)? };
    u32::try_from(duration.as_secs()).map_err(|_| "write 24h at most".to_owned())
}
