//! One shared checkpoint: hold, mark, and let go once all are marked.
//!
//! # Why no effect is without its cause
//!
//! Let a write `c` of one member cause a write `e` of another one: `e` was made because somebody had seen that `c` was done. Let the shared
//! moment be without `c`: the journal of the first took `c` after its mark. Then `e` is not in it either:
//!
//! 1. `c` was taken after the mark, the mark after the hold of that member began, and the hold lasted until it was let go. So `c`
//!    was acknowledged only after that.
//! 2. Nobody is let go before the marks are in the journals of all members.
//! 3. Only a write that is acknowledged has effects. So `e` was made, and taken, after the mark of its own journal.
//!
//! Each premise is looked at afterwards, and without one of them the moment is not called shared:
//! - The hold lasted: the tap says so when it is asked to let go. It lets go by itself after [`HOLD_MAX`], or when the server dies.
//! - No write was acknowledged but by the tap: afterwards the tap is still in the epoch of the attachment, so it has lost no guest, and the
//!   hypervisor says that it has handed every write on until then.
//! - All marks were made: the taps have answered.
//!
//! That the marks are there says nothing yet, therefore: the second mark does, which is made last ([`super::mark`]).

use std::{sync::Arc, time::Duration};

use futures::future::{join_all, try_join_all};
use journal::Sequence;
use model::{VmId, VmName};
use tap::{Checkpoint, CheckpointKind};
use tokio::time::{Instant, timeout, timeout_at};

use super::mark::{GroupMark, Says};
use crate::replications::Attached;

/// How long acknowledgements are held at most, in all.
pub(super) const HOLD_MAX: Duration = Duration::from_millis(50);

/// How long a tap and the hypervisor may take to say that every write was taken.
const PROOF_LIMIT: Duration = Duration::from_secs(5);

/// A member whose writes are all taken.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) vm_id: VmId,
    pub(super) vm_name: VmName,
    pub(super) attached: Arc<Attached>,
}

/// Marks that are in all journals, and that all members share.
pub(super) struct Marked {
    /// The last record that each member has of it.
    pub(super) records: Vec<(VmId, Sequence)>,
    /// How long acknowledgements were held, from before the first hold until all were let go.
    pub(super) held: Duration,
}

/// Marks a moment in the journals of all members. An error says why it is not shared.
pub(super) async fn mark(members: &[Member], mark: &GroupMark) -> Result<Marked, String> {
    let name = mark.to_string();
    let begun = Instant::now();
    let deadline = begun + HOLD_MAX;
    let marking = try_join_all(members.iter().map(|member| hold_and_mark(member, &name, deadline)));
    // Whoever is dropped here lets go.
    let marked = timeout_at(deadline, marking).await.map_err(|_| too_long())??;
    let (held, records): (Vec<_>, Vec<_>) = marked.into_iter().unzip();
    let let_go = members.iter().zip(held).map(|(member, held)| member.attached.client.let_go(held));
    let let_go = join_all(let_go).await;
    let held = begun.elapsed();
    for (member, was_held) in members.iter().zip(let_go) {
        match was_held {
            Ok(true) => {}
            Ok(false) => return Err(too_long()),
            Err(error) => return Err(of_tap(member, &error)),
        }
    }
    let proofs = try_join_all(members.iter().map(insist));
    timeout(PROOF_LIMIT, proofs).await.map_err(|_| "a tap does not answer".to_owned())??;
    let records = members.iter().map(|member| member.vm_id).zip(records).collect();
    Ok(Marked { records, held })
}

/// Says in the journals of all members that the moment is shared; in one of them is enough.
pub(super) async fn confirm(members: &[Member], mark: &GroupMark, marked: &mut Marked) -> Result<(), String> {
    let name = GroupMark { says: Says::Held, ..mark.clone() }.to_string();
    let made = join_all(members.iter().map(|member| checkpoint(member, &name))).await;
    if let Some(Err(why)) = made.iter().find(|made| made.is_err())
        && made.iter().all(Result::is_err)
    {
        return Err(why.clone());
    }
    for ((_, record), made) in marked.records.iter_mut().zip(made) {
        *record = made.unwrap_or(*record);
    }
    Ok(())
}

async fn hold_and_mark(
    member: &Member,
    name: &str,
    deadline: Instant,
) -> Result<(tap::Held, Sequence), String> {
    let left = deadline.saturating_duration_since(Instant::now());
    let held = member.attached.client.hold(left).await.map_err(|error| of_tap(member, &error))?;
    Ok((held, checkpoint(member, name).await?))
}

async fn checkpoint(member: &Member, name: &str) -> Result<Sequence, String> {
    let checkpoint =
        Checkpoint { kind: CheckpointKind::Group, vm: Some(member.vm_id), name: name.to_owned() };
    member.attached.client.checkpoint(checkpoint).await.map_err(|error| of_tap(member, &error))
}

/// Fails unless no write of a member has passed its tap by until now.
async fn insist(member: &Member) -> Result<(), String> {
    let Attached { client, epoch, .. } = &*member.attached;
    let status = client.status().await.map_err(|error| of_tap(member, &error))?;
    let mut disks = status.disks.iter().filter(|disk| disk.vm_id == member.vm_id);
    if !disks.all(|disk| disk.is_whole && disk.accepts && disk.epoch == *epoch) {
        return Err(format!("{} went on without its tap", member.vm_name));
    }
    let tap = member.attached.tap();
    let tap = tap.ok_or_else(|| format!("not every write of {} is taken", member.vm_name))?;
    tap.insist().await.map_err(|error| format!("{}: {error}", member.vm_name))
}

fn too_long() -> String {
    format!("the members could not all be held for one moment within {} ms", HOLD_MAX.as_millis())
}

fn of_tap(member: &Member, error: &tap::Error) -> String {
    format!("the tap of {}: {error}", member.vm_name)
}
