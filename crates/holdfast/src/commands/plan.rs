//! Recovery plans.

mod watch;

use std::path::PathBuf;

use api::{CreatePlan, EditPlan, PlanCommand as Told, RunPlan, TellPlanRun, ValidatePlan, shell_word};
use clap::{Args, Subcommand};
use model::PlanName;

use self::watch::Watch;
use crate::{context::Context, document, exit::Exit, failure::Failure};

/// What can be done with recovery plans.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Keeps a plan: how an application of several VMs comes up at this site.
    ///
    /// Nothing of it is run. It is also sent to the sites that its VMs come from or go to, with the runbooks that it names: there it is the
    /// way back.
    #[command(after_long_help = "Example:\n  holdfast plan create shop shop.toml")]
    Create(Create),
    /// Keeps another version of a plan. Runs go on with theirs.
    ///
    /// It says what would be taken out of the plan, and does that only with --drop.
    #[command(after_long_help = "Example:\n  holdfast plan edit shop shop.toml")]
    Edit(Edit),
    /// Lists plans.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast plan list")]
    List,
    /// Shows a plan, and its document.
    #[command(after_long_help = "Example:\n  holdfast plan show shop")]
    Show(Named),
    /// Says all that is wrong with a document or a plan, as this site is now. Fails where a run would be held up.
    #[command(after_long_help = VALIDATE_EXAMPLES)]
    Validate(Validate),
    /// Agrees to what a plan that came from another site does on this host, and to its runbooks.
    ///
    /// Until then it is not run here. One that does nothing on the host, or nothing that an accepted version has not done, needs no such word.
    #[command(after_long_help = "Example:\n  holdfast plan show shop\n  holdfast plan accept shop")]
    Accept(Named),
    /// Forgets a plan that nothing runs of, here and at the other sites. Its runs stay.
    #[command(after_long_help = "Example:\n  holdfast plan delete shop")]
    Delete(Named),
    /// Lists the versions of a plan, newest first, or with --runs what was run.
    #[command(after_long_help = "Example:\n  holdfast plan history shop --runs")]
    History(History),
    /// Runs a plan: its VMs come up at this site, in order.
    ///
    /// As a test they come up in isolation, beside the replication, until they are cleaned up. In a planned failover their own site
    /// shuts them down first, in reverse order, and hands them over with all that they wrote. In an unplanned one that site is not
    /// asked.
    #[command(after_long_help = RUN_EXAMPLES)]
    Run(Run),
    /// Brings an application back to this site, where it is at home, by a planned failover in the other direction.
    #[command(after_long_help = "Example:\n  holdfast plan failback shop")]
    Failback(Failback),
    /// Shows the newest run of a plan, or one by its id: every step, how it stands, and what it waits for.
    #[command(after_long_help = "Example:\n  holdfast plan status shop")]
    Status(Status),
    /// Lets nothing more of a run begin. What is under way ends.
    #[command(after_long_help = "Example:\n  holdfast plan pause shop")]
    Pause(Of),
    /// Goes on with a run that is paused, or with a failover that was cancelled.
    #[command(after_long_help = "Example:\n  holdfast plan resume shop")]
    Resume(Of),
    /// Goes on without a step; one that is under way is ended.
    #[command(after_long_help = "Example:\n  holdfast plan skip shop 7 --note 'the mail gateway can wait'")]
    Skip(OfStep),
    /// Does a step again that has failed, or of which nobody knows whether it was done.
    #[command(after_long_help = "Example:\n  holdfast plan retry shop 7")]
    Retry(OfStep),
    /// Says that a step is done: one by hand, or one of which nobody knows whether it was done.
    #[command(after_long_help = "Example:\n  holdfast plan confirm shop 9 --note 'order 17 arrived'")]
    Confirm(OfStep),
    /// Ends a run. What is under way and can be ended is.
    #[command(after_long_help = "Example:\n  holdfast plan cancel shop")]
    Cancel(Of),
    /// Removes what a test made; starts again what a planned failover shut down and did not hand over.
    #[command(after_long_help = "Example:\n  holdfast plan cleanup shop")]
    Cleanup(Of),
    /// Has all VMs of a run stay here for good. Their other moments go.
    #[command(after_long_help = "Example:\n  holdfast plan commit shop")]
    Commit(Of),
    /// Replicates all VMs of a committed run back to where they came from.
    #[command(after_long_help = "Example:\n  holdfast plan reprotect shop")]
    Reprotect(Of),
}

const VALIDATE_EXAMPLES: &str = "\
Examples:
  holdfast plan validate shop.toml
  holdfast plan validate --plan shop";

const RUN_EXAMPLES: &str = "\
Examples:
  holdfast plan run shop --test
  holdfast plan run shop --planned --dry-run
  holdfast plan run shop --unplanned --point latest-application";

/// Keeps a plan.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name.
    name: PlanName,
    /// The document, in TOML or YAML; - for standard input.
    file: PathBuf,
    /// The site where its VMs are at home; by default where their replicas here come from, or this one.
    #[arg(long, value_name = "SITE")]
    primary_site: Option<String>,
}

/// Keeps another version of it.
#[derive(Debug, Args)]
pub struct Edit {
    /// The plan.
    plan: String,
    /// The document, in TOML or YAML; - for standard input.
    file: PathBuf,
    /// Let go of what is not in the document any more.
    #[arg(long)]
    drop: bool,
}

/// Names a plan.
#[derive(Debug, Args)]
pub struct Named {
    /// The plan.
    plan: String,
}

/// Looks at a document or a plan.
#[derive(Debug, Args)]
pub struct Validate {
    /// The document, in TOML or YAML; - for standard input.
    #[arg(required_unless_present = "plan")]
    file: Option<PathBuf>,
    /// A plan that is kept.
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    plan: Option<String>,
}

/// Looks back.
#[derive(Debug, Args)]
pub struct History {
    /// The plan.
    plan: String,
    /// Its runs, not its versions.
    #[arg(long)]
    runs: bool,
}

/// Runs a plan.
#[derive(Debug, Args)]
pub struct Run {
    /// The plan.
    plan: String,
    #[command(flatten)]
    kind: Kind,
    /// The moment: latest, latest-application, a time as in 2026-03-01T14:05:07Z, a checkpoint's name, or @GROUP for the newest that all
    /// VMs of a consistency group share.
    #[arg(long, value_name = "MOMENT", default_value = "latest", conflicts_with = "planned")]
    point: String,
    /// Show the steps and what stands in their way, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    watch: Watch,
}

/// What a plan is run for.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Kind {
    /// To see whether it works.
    #[arg(long)]
    test: bool,
    /// With the help of the site that the VMs come from: nothing is lost.
    #[arg(long)]
    planned: bool,
    /// Without it, because it is gone.
    #[arg(long)]
    unplanned: bool,
}

/// Brings an application back.
#[derive(Debug, Args)]
pub struct Failback {
    /// The plan.
    plan: String,
    /// Show the steps and what stands in their way, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    watch: Watch,
}

/// Looks at a run.
#[derive(Debug, Args)]
pub struct Status {
    /// The plan, whose newest run is meant, or a run by its id.
    run: String,
    /// Show what each attempt wrote.
    #[arg(long)]
    log: bool,
    /// Go on showing what happens until the run is at rest.
    #[arg(long)]
    watch: bool,
}

/// Tells a run something.
#[derive(Debug, Args)]
pub struct Of {
    /// The plan, whose newest run is meant, or a run by its id.
    run: String,
    #[command(flatten)]
    watch: Watch,
}

/// Tells a run something about a step.
#[derive(Debug, Args)]
pub struct OfStep {
    /// The plan, whose newest run is meant, or a run by its id.
    run: String,
    /// The step, by its number.
    step: u32,
    /// What was seen, or why.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    watch: Watch,
}

impl PlanCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let (client, output) = (&context.client, &context.output);
        match self {
            Self::Create(Create { name, file, primary_site }) => {
                let request =
                    CreatePlan { name: name.to_string(), text: document::read(&file)?, primary_site };
                output.one(&client.create_plan(&request).await?)
            }
            Self::Edit(Edit { plan, file, drop }) => {
                let edited =
                    client.edit_plan(&plan, &EditPlan { text: document::read(&file)?, drop }).await?;
                edited.dropped.iter().for_each(|part| context.note(&format!("taken out: {part}")));
                output.one(&edited.plan)
            }
            Self::List => output.list(&client.plans().await?, "there are no plans"),
            Self::Show(Named { plan }) => output.one(&client.plan(&plan).await?),
            Self::Validate(validate) => validate.run(context).await,
            Self::Accept(Named { plan }) => output.one(&client.accept_plan(&plan).await?),
            Self::Delete(Named { plan }) => {
                context.confirm(&format!("Forget the plan {plan}, with all its versions?"))?;
                Ok(client.delete_plan(&plan).await?)
            }
            Self::History(History { plan, runs: true }) => {
                output.list(&client.plan_runs(&plan).await?, "it was never run")
            }
            Self::History(History { plan, runs: false }) => {
                output.list(&client.plan_versions(&plan).await?, "there are no versions")
            }
            Self::Run(run) => run.run(context).await,
            Self::Failback(Failback { plan, dry_run, watch }) => {
                let request = request("planned", "latest", Some("failback"));
                begin(context, &plan, &request, dry_run, &watch).await
            }
            Self::Status(status) => status.run(context).await,
            Self::Pause(of) => of.tell(context, Told::Pause).await,
            Self::Resume(of) => of.tell(context, Told::Resume).await,
            Self::Cancel(of) => of.tell(context, Told::Cancel).await,
            Self::Cleanup(of) => of.tell(context, Told::Cleanup).await,
            Self::Reprotect(of) => of.tell(context, Told::Reprotect).await,
            Self::Commit(of) => {
                context.confirm("Keep all VMs of the run at this site, and let their other moments go?")?;
                of.tell(context, Told::Commit).await
            }
            Self::Skip(of) => of.tell(context, Told::Skip).await,
            Self::Retry(of) => of.tell(context, Told::Retry).await,
            Self::Confirm(of) => of.tell(context, Told::Confirm).await,
        }
    }
}

impl Validate {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let text = self.file.as_ref().map(|file| document::read(file)).transpose()?;
        let findings = context.client.validate_plan(&ValidatePlan { text, plan: self.plan }).await?;
        context.output.list(&findings, "nothing is wrong with it")?;
        let errors = findings.iter().filter(|finding| finding.is_error).count();
        if errors > 0 {
            return Err(Failure::new(Exit::Usage, format!("a run would be held up by {errors} of these")));
        }
        Ok(())
    }
}

impl Run {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let kind = match self.kind {
            Kind { planned: true, .. } => "planned",
            Kind { unplanned: true, .. } => "unplanned",
            Kind { .. } => "test",
        };
        begin(context, &self.plan, &request(kind, &self.point, None), self.dry_run, &self.watch).await
    }
}

fn request(kind: &str, point: &str, direction: Option<&str>) -> RunPlan {
    RunPlan {
        kind: kind.to_owned(),
        point: point.to_owned(),
        direction: direction.map(str::to_owned),
        operator: operator(),
    }
}

/// Who sits here, as far as the environment tells.
pub(super) fn operator() -> Option<String> {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|name| !name.is_empty())
}

async fn begin(
    context: &Context,
    plan: &str,
    request: &RunPlan,
    is_dry_run: bool,
    watch: &Watch,
) -> Result<(), Failure> {
    if is_dry_run {
        let preview = context.client.preview_plan(plan, request).await?;
        context.output.one(&preview)?;
        if preview.findings.iter().any(|finding| finding.is_error) {
            return Err(Failure::new(Exit::Conflict, "the run would be held up before anything is changed"));
        }
        return Ok(());
    }
    if request.kind != "test" {
        let vms = context.client.plan(plan).await?.vms.join(", ");
        let question = match request.kind.as_str() {
            "planned" => format!("Shut {vms} down at their site, and have them run at this one?"),
            _ => format!("Have {vms} run at this site, without the one that they come from?"),
        };
        context.confirm(&question)?;
    }
    watch.follow(context, context.client.run_plan(plan, request).await?).await
}

impl Status {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let run = context.client.plan_run(&self.run).await?;
        if self.watch {
            return Watch::default().follow(context, run).await;
        }
        context.output.one(&run)?;
        if self.log {
            for step in run.waves.iter().flat_map(|wave| &wave.lanes).flat_map(|lane| &lane.steps) {
                for attempt in &step.attempts {
                    let failure = attempt.failure.as_deref().unwrap_or("done");
                    context.note(&format!("step {}, attempt {}: {failure}", step.id, attempt.number));
                    attempt.text.lines().for_each(|line| context.note(&format!("  {line}")));
                }
            }
        }
        Ok(())
    }
}

impl Of {
    async fn tell(self, context: &Context, command: Told) -> Result<(), Failure> {
        let request = TellPlanRun { command, step: None, note: None, operator: operator() };
        self.watch.follow(context, context.client.tell_plan_run(&self.run, &request).await?).await
    }
}

impl OfStep {
    async fn tell(self, context: &Context, command: Told) -> Result<(), Failure> {
        let request = TellPlanRun { command, step: Some(self.step), note: self.note, operator: operator() };
        self.watch.follow(context, context.client.tell_plan_run(&self.run, &request).await?).await
    }
}

/// What a command that brings a run on looks like.
fn way_on(context: &Context, way: &str, plan: &str, step: Option<u32>) -> String {
    let step = step.map(|step| format!(" {step}")).unwrap_or_default();
    context.command(&format!("plan {way} {}{step}", shell_word(plan)))
}
