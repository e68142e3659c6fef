//! Replication of VMs to other sites.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, segment};
use crate::{
    CheckpointView, EditReplication, JobView, MakeCheckpoint, ReplicationView, StartReplication,
    StopReplication, StoppedReplicationView,
};

impl Client {
    /// All replications, by VM.
    pub async fn replications(&self) -> Result<Vec<ReplicationView>> {
        self.get("/v1/replications").await
    }

    /// The replication of a VM.
    pub async fn replication(&self, vm: &str) -> Result<ReplicationView> {
        self.get(&of(vm)).await
    }

    /// Has a VM replicated.
    pub async fn start_replication(&self, vm: &str, request: &StartReplication) -> Result<ReplicationView> {
        self.post(&of(vm), request).await
    }

    /// Changes how a VM is replicated.
    pub async fn edit_replication(&self, vm: &str, request: &EditReplication) -> Result<ReplicationView> {
        self.send(Method::PATCH, &of(vm), request).await
    }

    /// Takes and sends nothing for now. What is written is tracked.
    pub async fn pause_replication(&self, vm: &str) -> Result<ReplicationView> {
        self.call(Method::POST, &format!("{}/pause", of(vm)), Bytes::new()).await
    }

    /// Goes on, also with what waits to be tried again.
    pub async fn resume_replication(&self, vm: &str) -> Result<ReplicationView> {
        self.call(Method::POST, &format!("{}/resume", of(vm)), Bytes::new()).await
    }

    /// Names this moment.
    pub async fn make_checkpoint(&self, vm: &str, request: &MakeCheckpoint) -> Result<CheckpointView> {
        self.post(&format!("{}/checkpoints", of(vm)), request).await
    }

    /// Stops a VM here, and has it run at the other site from its last write on, once both have read its disks and found the
    /// same; with `skip_proof`, without that.
    pub async fn hand_over(&self, vm: &str, skip_proof: bool) -> Result<JobView> {
        let path = format!("{}/hand-over?skip_proof={skip_proof}", of(vm));
        self.call(Method::POST, &path, Bytes::new()).await
    }

    /// Ends the replication of a VM.
    pub async fn stop_replication(
        &self,
        vm: &str,
        request: &StopReplication,
    ) -> Result<StoppedReplicationView> {
        self.post(&format!("{}/stop", of(vm)), request).await
    }
}

fn of(vm: &str) -> String {
    format!("/v1/vms/{}/replication", segment(vm))
}
