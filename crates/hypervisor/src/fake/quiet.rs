//! Guests in memory that stand still.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use model::Consistency;

use super::FakeVm;
use crate::{Error, ErrorKind, Power, Quiet, Result};

/// Freezes a VM that can; see [`crate::Hypervisor::quiesce`].
pub(super) fn quiesce(vm: &FakeVm, limit: Duration) -> Result<Box<dyn Quiet>> {
    if vm.power == Power::Stopped || vm.consistency < Consistency::FileSystem {
        return Err(Error::new(ErrorKind::Consistency, "the fake guest cannot be frozen"));
    }
    Ok(Box::new(FakeQuiet { begun: Instant::now(), limit }))
}

struct FakeQuiet {
    begun: Instant,
    limit: Duration,
}

#[async_trait]
impl Quiet for FakeQuiet {
    async fn end(self: Box<Self>) -> Result<()> {
        if self.begun.elapsed() <= self.limit {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Consistency, "the freeze limit passed"))
    }
}
