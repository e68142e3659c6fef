//! How stores retain immutable vaults, on the wire.

use api::{ObjectLockState, ObjectLockView, RetentionMode};
use catalog::KnownVault;
use model::CopyName;

use super::can_retain;
use crate::site::Site;

/// How the store of an immutable vault, or of a copy of it, retains it, as far as that is known; nobody is asked.
pub(crate) fn view(site: &Site, known: &KnownVault, copy: Option<&CopyName>, url: &str) -> ObjectLockView {
    let none = ObjectLockView {
        state: ObjectLockState::None,
        mode: None,
        first_until: None,
        last_until: None,
        problem: None,
    };
    if !can_retain(url) {
        return none;
    }
    match site.object_locks.outcome(&(known.id, copy.cloned())) {
        None => ObjectLockView { state: ObjectLockState::Unknown, ..none },
        Some(Ok(None)) => none,
        Some(Ok(Some(retained))) => ObjectLockView {
            state: ObjectLockState::Retained,
            mode: Some(match retained.mode {
                vault::RetentionMode::Governance => RetentionMode::Governance,
                vault::RetentionMode::Compliance => RetentionMode::Compliance,
            }),
            first_until: retained.first_until,
            last_until: retained.last_until,
            problem: (retained.missing > 0).then(|| {
                format!(
                    "{} objects that recovery points need are not in the store: somebody may have deleted them; bring back what \
                     it keeps with: holdfast vault repair {}",
                    retained.missing, known.name
                )
            }),
        },
        Some(Err(problem)) => ObjectLockView {
            state: ObjectLockState::Failing,
            problem: Some(format!("its store could not be told to retain it: {problem}")),
            ..none
        },
    }
}
