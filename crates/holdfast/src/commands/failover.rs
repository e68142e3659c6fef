//! Replicated VMs run at this site.

mod group;

use api::{
    CleanUpTests, FailOver, ReplicaStage, ReplicationView, TestFailover, TestGroupFailover, shell_word,
};
use clap::{Args, Subcommand};
use model::{ByteCount, VmName};

use super::{
    replica::ReplicaOrGroup,
    replication::{Settings, VmOrGroup},
};
use crate::{arguments, context::Context, exit::Exit, failure::Failure, wait::WaitArguments};

/// What can be done to have replicated VMs run here.
#[derive(Debug, Subcommand)]
pub enum FailoverCommand {
    /// Makes a VM from a moment of a replica, to see whether it works.
    ///
    /// It reaches nothing over its networks, and nothing that it does reaches the replica. The replication goes on; any number of
    /// tests may run at once.
    #[command(after_long_help = TEST_EXAMPLES)]
    Test(Test),
    /// Removes the VM of a test, or of all tests of a replica, with all that it had, and keeps what was found.
    #[command(
        after_long_help = "Examples:\n  holdfast failover cleanup web-1 --verdict 'the shop answers'\n  holdfast failover cleanup --group shop"
    )]
    Cleanup(Cleanup),
    /// Shuts a VM down here, and has the site that it is replicated to run it with everything that it wrote.
    ///
    /// This is asked for at the site where the VM runs; nothing is lost. The guest is shut down in order first. From the moment in
    /// which the other site is asked the VM does not start here any more.
    /// Before, both sites read its disks and have to find the same.
    #[command(
        after_long_help = "Examples:\n  holdfast failover planned web-1\n  holdfast failover planned web-1 --skip-proof\n  holdfast failover planned --group shop"
    )]
    Planned(Planned),
    /// Has a replicated VM run here although its site does not say that it has stopped there: because that site is gone.
    ///
    /// From then on nothing more is taken from its site, which is told so when it comes back. The VM runs within seconds, whatever
    /// its size; its disks become whole meanwhile. Until the commit it can still be made from another moment.
    #[command(after_long_help = UNPLANNED_EXAMPLES)]
    Unplanned(Unplanned),
    /// Makes a VM that was failed over anew from another moment. What it has written here is lost.
    #[command(
        name = "change-point",
        after_long_help = "Example:\n  holdfast failover change-point web-1 --point 2026-03-01T14:05:07Z --dry-run"
    )]
    ChangePoint(Unplanned),
    /// Has a VM that was failed over run here for good. Its other moments go.
    ///
    /// Where it took the place of what it was here before, the old disks go as well.
    #[command(
        after_long_help = "Examples:\n  holdfast failover commit web-1 --dry-run\n  holdfast failover commit web-1\n  holdfast failover commit --group shop"
    )]
    Commit(Commit),
    /// Replicates a VM that was failed over to here back to the site that it came from.
    ///
    /// The disks that it had there are its seed: only what has changed since is sent. The failover has to be committed before. It is
    /// replicated as it was when it came here, but for what is said otherwise.
    #[command(
        after_long_help = "Examples:\n  holdfast failover reprotect web-1\n  holdfast failover reprotect web-1 --rate-limit 20MiB"
    )]
    Reprotect(Reprotect),
    /// Hands a VM that was re-protected back to the site that it came from.
    ///
    /// This is asked for at the site where the VM runs, and is a planned failover: nothing is lost. There it takes the place of what
    /// it was before.
    #[command(after_long_help = "Example:\n  holdfast failover failback web-1")]
    Failback(Planned),
}

const TEST_EXAMPLES: &str = "\
Examples:
  holdfast failover test web-1
  holdfast failover test web-1 --point latest-application --name drill-web --bridge br-test
  holdfast failover test --group shop";

const UNPLANNED_EXAMPLES: &str = "\
Examples:
  holdfast failover unplanned web-1 --dry-run
  holdfast failover unplanned web-1 --point latest-application
  holdfast failover unplanned --group shop";

/// Makes a test.
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    meant: ReplicaOrGroup,
    /// The moment: latest, latest-application, a time as in 2026-03-01T14:05:07Z, a checkpoint's name, #NUMBER, or @GROUP for one that a
    /// group shares. With --group, only moments that its members share are meant.
    #[arg(long, value_name = "MOMENT", default_value = "latest")]
    point: String,
    /// What the test's VM is called; test-VM-NUMBER where it is left out.
    #[arg(long, conflicts_with = "group")]
    name: Option<VmName>,
    /// Connect all its networks to this bridge of the host.
    #[arg(long)]
    bridge: Option<String>,
    #[command(flatten)]
    wait: WaitArguments,
}

/// A test, or the tests of a group.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TestOrGroup {
    /// The VM of the test, or the VM that is replicated.
    name: Option<String>,
    /// The tests of all members of this consistency group.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
}

/// Removes tests.
#[derive(Debug, Args)]
pub struct Cleanup {
    #[command(flatten)]
    meant: TestOrGroup,
    /// What was found.
    #[arg(long, value_name = "TEXT")]
    verdict: Option<String>,
}

/// Hands a VM over.
#[derive(Debug, Args)]
pub struct Planned {
    #[command(flatten)]
    meant: VmOrGroup,
    /// Do not compare the disks of both sites before it runs there: for disks that take too long to read.
    #[arg(long)]
    skip_proof: bool,
    /// Say how it stands, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Replicates back.
#[derive(Debug, Args)]
pub struct Reprotect {
    /// The VM, by name or id.
    vm: String,
    #[command(flatten)]
    settings: Settings,
    /// Say what would be begun, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Fails over.
#[derive(Debug, Args)]
pub struct Unplanned {
    #[command(flatten)]
    meant: ReplicaOrGroup,
    /// The moment: latest, latest-application, a time as in 2026-03-01T14:05:07Z, a checkpoint's name, #NUMBER, or @GROUP for one that a
    /// group shares. With --group, only moments that its members share are meant.
    #[arg(long, value_name = "MOMENT", default_value = "latest")]
    point: String,
    /// The fastest rate a second at which data is copied into its disks, as in 50MiB; as fast as it can by default.
    #[arg(long, value_name = "SIZE", value_parser = arguments::rate)]
    hydrate_limit: Option<ByteCount>,
    /// Say what would be done and what would be lost, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Commits a failover.
#[derive(Debug, Args)]
pub struct Commit {
    #[command(flatten)]
    meant: ReplicaOrGroup,
    /// Show what would be kept and what would go, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl FailoverCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Test(test) => test.run(context).await,
            Self::Cleanup(Cleanup { meant, verdict }) => {
                let request = CleanUpTests { verdict };
                let ended = match meant {
                    TestOrGroup { group: Some(group), .. } => {
                        client.clean_up_group_tests(&group, &request).await?
                    }
                    TestOrGroup { name, group: None } => {
                        client.clean_up_tests(&name.unwrap_or_default(), &request).await?
                    }
                };
                context.output.list(&ended, "nothing was to be cleaned up")
            }
            Self::Planned(planned) => planned.run(context, false).await,
            Self::Failback(planned) => planned.run(context, true).await,
            Self::Reprotect(asked) => asked.run(context).await,
            Self::Unplanned(asked) => asked.run(context, false).await,
            Self::ChangePoint(asked) => asked.run(context, true).await,
            Self::Commit(Commit { meant: ReplicaOrGroup { group: Some(group), .. }, dry_run }) => {
                group::commit(context, &group, dry_run).await
            }
            Self::Commit(Commit { meant, dry_run }) => {
                let replica = meant.replica.unwrap_or_default();
                let view = client.replica(&replica).await?;
                if dry_run {
                    return context.output.one(&view);
                }
                let replaced = view.failover.as_ref().and_then(|failover| failover.replaced.as_ref());
                for file in replaced.iter().flat_map(|replaced| &replaced.disks_that_go) {
                    context.note(&format!("removed: {file}"));
                }
                context.confirm(&format!(
                    "Keep {} at this moment, and let its other moments go?",
                    view.vm_name
                ))?;
                context.output.one(&client.commit_failover(&replica).await?)
            }
        }
    }
}

/// The replication of a VM, whose failover can be planned where it runs and nowhere else.
async fn replication(context: &Context, vm: &str) -> Result<ReplicationView, Failure> {
    let error = match context.client.replication(vm).await {
        Ok(view) => return Ok(view),
        Err(error) => error,
    };
    match context.client.replica(vm).await {
        Ok(replica) if replica.stage == ReplicaStage::Protected => {
            let unplanned = context.command(&format!("failover unplanned {}", shell_word(vm)));
            Err(Failure::new(
                Exit::NotFound,
                format!("{} runs at the site {}", replica.vm_name, replica.site),
            )
            .with_hint(format!("ask for it there; where that site is lost: {unplanned}")))
        }
        _ => Err(error.into()),
    }
}

impl Test {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { meant, point, name, bridge, wait } = self;
        if let Some(group) = meant.group {
            let request = TestGroupFailover { point, bridge };
            let jobs = context.client.test_group_failover(&group, &request).await?;
            return wait.finish_all(context, &jobs).await;
        }
        let request = TestFailover { point, name: name.map(|name| name.to_string()), bridge };
        let job = context.client.test_failover(&meant.replica.unwrap_or_default(), &request).await?;
        wait.finish(context, &job).await
    }
}

impl Planned {
    async fn run(self, context: &Context, is_failback: bool) -> Result<(), Failure> {
        let Self { meant, skip_proof, dry_run, wait } = self;
        if let Some(group) = meant.group {
            return group::hand_over(context, &group, skip_proof, dry_run, &wait).await;
        }
        let vm = meant.vm.unwrap_or_default();
        let view = replication(context, &vm).await?;
        if is_failback {
            check_came_from(context, &vm, &view).await?;
        }
        if dry_run {
            return context.output.one(&view);
        }
        context.confirm(&format!("Shut {} down here, and have it run at {}?", view.vm, view.site))?;
        wait.finish(context, &context.client.hand_over(&vm, skip_proof).await?).await
    }
}

/// Fails where a VM is replicated to another site than it came from.
async fn check_came_from(context: &Context, vm: &str, view: &ReplicationView) -> Result<(), Failure> {
    let from = context.client.replica(vm).await.map(|replica| replica.site);
    if from.is_ok_and(|from| from == view.site) {
        return Ok(());
    }
    let planned = context.command(&format!("failover planned {}", shell_word(&view.vm)));
    Err(Failure::new(Exit::Conflict, format!("{} did not come from {}", view.vm, view.site))
        .with_hint(format!("have it run there: {planned}")))
}

impl Reprotect {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let replica = context.client.replica(&self.vm).await?;
        let name = shell_word(&replica.vm_name);
        let refused =
            |detail: String, hint: String| Err(Failure::new(Exit::Conflict, detail).with_hint(hint));
        match replica.stage {
            ReplicaStage::Committed => {}
            ReplicaStage::FailedOver => {
                let commit = context.command(&format!("failover commit {name}"));
                let detail = format!("the failover of {} is not committed", replica.vm_name);
                return refused(detail, format!("keep the moment first: {commit}"));
            }
            _ => {
                let show = context.command(&format!("replica show {name}"));
                let detail = format!("{} was not failed over to here", replica.vm_name);
                return refused(detail, format!("see how it stands: {show}"));
            }
        }
        let request = self.settings.request_as_before(replica.site.clone())?;
        if self.dry_run {
            context.note(&format!(
                "{} would be replicated to {}; nothing was changed",
                replica.vm_name, replica.site
            ));
            return context.output.one(&replica);
        }
        let begun = context.client.start_replication(&self.vm, &request).await?;
        let status = context.command(&format!("replication status {name}"));
        context.note(&format!("it goes on by itself; see how far it is: {status}"));
        context.output.one(&begun)
    }
}

impl Unplanned {
    async fn run(self, context: &Context, is_change: bool) -> Result<(), Failure> {
        let request = FailOver {
            point: self.point,
            rate_limit_bytes_per_second: self.hydrate_limit.map(|limit| limit.0),
        };
        if let Some(group) = &self.meant.group {
            return group::fail_over(context, group, &request, is_change, self.dry_run, &self.wait).await;
        }
        let replica = self.meant.replica.unwrap_or_default();
        let plan = match is_change {
            true => context.client.plan_change(&replica, &request).await?,
            false => context.client.plan_failover(&replica, &request).await?,
        };
        if self.dry_run {
            return context.output.one(&plan);
        }
        for lost in &plan.lost {
            context.note(&format!("lost: {lost}"));
        }
        let question = match is_change {
            true => format!("Make {} anew from {}?", plan.vm_name, plan.moment_at),
            false => format!("Have {} run here, from {}?", plan.vm_name, plan.moment_at),
        };
        context.confirm(&question)?;
        let job = match is_change {
            true => context.client.change_point(&replica, &request).await?,
            false => context.client.fail_over(&replica, &request).await?,
        };
        self.wait.finish(context, &job).await
    }
}
