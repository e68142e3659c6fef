//! The same for all members of a consistency group, at a moment that they share.

use api::FailOver;

use crate::{context::Context, failure::Failure, wait::WaitArguments};

/// Has all members run here, or from another moment.
pub(super) async fn fail_over(
    context: &Context,
    group: &str,
    request: &FailOver,
    is_change: bool,
    dry_run: bool,
    wait: &WaitArguments,
) -> Result<(), Failure> {
    let client = &context.client;
    let plan = match is_change {
        true => client.plan_group_change(group, request).await?,
        false => client.plan_group_failover(group, request).await?,
    };
    if dry_run {
        return context.output.one(&plan);
    }
    for member in &plan.members {
        for lost in &member.lost {
            context.note(&format!("lost of {}: {lost}", member.vm_name));
        }
    }
    let vms = plan.members.iter().map(|member| member.vm_name.as_str()).collect::<Vec<_>>().join(", ");
    let question = match is_change {
        true => format!("Make {vms} anew from #{}, of {}?", plan.number, plan.moment_at),
        false => format!("Have {vms} run here, from #{}, of {}?", plan.number, plan.moment_at),
    };
    context.confirm(&question)?;
    let jobs = match is_change {
        true => client.change_group_point(group, request).await?,
        false => client.fail_over_group(group, request).await?,
    };
    wait.finish_all(context, &jobs).await
}

/// Hands all members over.
pub(super) async fn hand_over(
    context: &Context,
    group: &str,
    skip_proof: bool,
    dry_run: bool,
    wait: &WaitArguments,
) -> Result<(), Failure> {
    let view = context.client.replication_group(group).await?;
    if dry_run {
        return context.output.one(&view);
    }
    let vms = view.members.iter().map(|member| member.vm.as_str()).collect::<Vec<_>>().join(", ");
    context.confirm(&format!("Shut {vms} down here, and have them run at {}?", view.site))?;
    wait.finish(context, &context.client.hand_over_group(group, skip_proof).await?).await
}

/// Has all members run here for good.
pub(super) async fn commit(context: &Context, group: &str, dry_run: bool) -> Result<(), Failure> {
    let view = context.client.replica_group(group).await?;
    if dry_run {
        return context.output.one(&view);
    }
    let vms = view.members.iter().map(|member| member.vm_name.as_str()).collect::<Vec<_>>().join(", ");
    context.confirm(&format!("Keep {vms} at this moment, and let their other moments go?"))?;
    context.output.list(&context.client.commit_group_failover(group).await?, "nothing was to be committed")
}
