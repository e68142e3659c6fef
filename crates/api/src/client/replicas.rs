//! Replicas, and failing over to them.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, segment};
use crate::{
    BackUpReplica, CleanUpTests, EditReplica, FailOver, FailoverPlanView, FailoverTestView, JobView,
    ReplicaMomentView, ReplicaPointView, ReplicaView, RetainReplica, TestFailover,
};

impl Client {
    /// All replicas, by the names of their VMs.
    pub async fn replicas(&self) -> Result<Vec<ReplicaView>> {
        self.get("/v1/replicas").await
    }

    /// One replica, by its VM's name or id, or its journal's id.
    pub async fn replica(&self, replica: &str) -> Result<ReplicaView> {
        self.get(&of(replica)).await
    }

    /// Its checkpoints, oldest first; without `all`, of those that the clock made the fewer the older they are.
    pub async fn replica_points(&self, replica: &str, all: bool) -> Result<Vec<ReplicaPointView>> {
        self.get(&format!("{}/points?all={all}", of(replica))).await
    }

    /// The moment that this names: latest, latest-application, a time, a checkpoint's name or #NUMBER.
    pub async fn replica_moment(&self, replica: &str, point: &str) -> Result<ReplicaMomentView> {
        self.get(&format!("{}/moments/{}", of(replica), segment(point))).await
    }

    /// Changes how its VM is to be here.
    pub async fn edit_replica(&self, replica: &str, request: &EditReplica) -> Result<ReplicaView> {
        self.send(Method::PATCH, &of(replica), request).await
    }

    /// Sets how long its moments stay reachable.
    pub async fn retain_replica(&self, replica: &str, request: &RetainReplica) -> Result<ReplicaView> {
        self.post(&format!("{}/retention", of(replica)), request).await
    }

    /// Deletes a replica; with `dry_run`, only asks whether that could be.
    pub async fn delete_replica(&self, replica: &str, dry_run: bool) -> Result<()> {
        self.call(Method::DELETE, &format!("{}?dry_run={dry_run}", of(replica)), Bytes::new()).await
    }

    /// Makes a recovery point of a moment.
    pub async fn back_up_replica(&self, replica: &str, request: &BackUpReplica) -> Result<JobView> {
        self.post(&format!("{}/backups", of(replica)), request).await
    }

    /// Makes a VM from a moment, to see whether it works.
    pub async fn test_failover(&self, replica: &str, request: &TestFailover) -> Result<JobView> {
        self.post(&format!("{}/tests", of(replica)), request).await
    }

    /// Removes the VM of a test, by its name, or of all tests of a replica.
    pub async fn clean_up_tests(&self, name: &str, request: &CleanUpTests) -> Result<Vec<FailoverTestView>> {
        self.post(&format!("/v1/failover-tests/{}/cleanup", segment(name)), request).await
    }

    /// What a failover would do.
    pub async fn plan_failover(&self, replica: &str, request: &FailOver) -> Result<FailoverPlanView> {
        self.post(&format!("{}/failover/plan", of(replica)), request).await
    }

    /// What another point of a failover would do.
    pub async fn plan_change(&self, replica: &str, request: &FailOver) -> Result<FailoverPlanView> {
        self.post(&format!("{}/failover/point/plan", of(replica)), request).await
    }

    /// Has the VM run here.
    pub async fn fail_over(&self, replica: &str, request: &FailOver) -> Result<JobView> {
        self.post(&format!("{}/failover", of(replica)), request).await
    }

    /// Has the VM run from another moment.
    pub async fn change_point(&self, replica: &str, request: &FailOver) -> Result<JobView> {
        self.post(&format!("{}/failover/point", of(replica)), request).await
    }

    /// Has the VM run here for good.
    pub async fn commit_failover(&self, replica: &str) -> Result<ReplicaView> {
        self.post(&format!("{}/failover/commit", of(replica)), &()).await
    }
}

fn of(replica: &str) -> String {
    format!("/v1/replicas/{}", segment(replica))
}
