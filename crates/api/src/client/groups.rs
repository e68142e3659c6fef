//! Consistency groups, at either site.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, segment};
use crate::{
    AddGroupMember, CleanUpTests, CreateReplicationGroup, EditReplicationGroup, FailOver, FailoverTestView,
    GroupCheckpointView, GroupFailoverPlanView, JobView, MakeCheckpoint, ReplicaGroupView, ReplicaView,
    ReplicationGroupView, SharedPointView, TestGroupFailover,
};

/// Those of VMs that are replicated from the site.
impl Client {
    /// All groups, by name.
    pub async fn replication_groups(&self) -> Result<Vec<ReplicationGroupView>> {
        self.get("/v1/replication-groups").await
    }

    /// One group, by name or id.
    pub async fn replication_group(&self, group: &str) -> Result<ReplicationGroupView> {
        self.get(&here(group)).await
    }

    /// Makes a group.
    pub async fn create_replication_group(
        &self,
        request: &CreateReplicationGroup,
    ) -> Result<ReplicationGroupView> {
        self.post("/v1/replication-groups", request).await
    }

    /// Changes a group.
    pub async fn edit_replication_group(
        &self,
        group: &str,
        request: EditReplicationGroup,
    ) -> Result<ReplicationGroupView> {
        self.send(Method::PATCH, &here(group), &request).await
    }

    /// Ends a group; its VMs go on being replicated.
    pub async fn delete_replication_group(&self, group: &str) -> Result<()> {
        self.call(Method::DELETE, &here(group), Bytes::new()).await
    }

    /// Takes a VM into a group.
    pub async fn add_group_member(
        &self,
        group: &str,
        request: &AddGroupMember,
    ) -> Result<ReplicationGroupView> {
        self.post(&format!("{}/members", here(group)), request).await
    }

    /// Takes a VM out of a group.
    pub async fn remove_group_member(&self, group: &str, vm: &str) -> Result<()> {
        self.call(Method::DELETE, &format!("{}/members/{}", here(group), segment(vm)), Bytes::new()).await
    }

    /// Names a moment that all members share.
    pub async fn make_group_checkpoint(
        &self,
        group: &str,
        request: &MakeCheckpoint,
    ) -> Result<GroupCheckpointView> {
        self.post(&format!("{}/checkpoints", here(group)), request).await
    }

    /// Stops all VMs of a group here, and has them run at the other site.
    pub async fn hand_over_group(&self, group: &str, skip_proof: bool) -> Result<JobView> {
        let path = format!("{}/hand-over?skip_proof={skip_proof}", here(group));
        self.call(Method::POST, &path, Bytes::new()).await
    }
}

/// Those of replicas that the site keeps.
impl Client {
    /// All groups of replicas, by name.
    pub async fn replica_groups(&self) -> Result<Vec<ReplicaGroupView>> {
        self.get("/v1/replica-groups").await
    }

    /// One group of replicas, by name or id.
    pub async fn replica_group(&self, group: &str) -> Result<ReplicaGroupView> {
        self.get(&there(group)).await
    }

    /// The moments that its members share, oldest first; without `all`, of those that the clock made the fewer the older they are.
    pub async fn shared_points(&self, group: &str, all: bool) -> Result<Vec<SharedPointView>> {
        self.get(&format!("{}/points?all={all}", there(group))).await
    }

    /// Makes a VM of each member, all from one moment.
    pub async fn test_group_failover(
        &self,
        group: &str,
        request: &TestGroupFailover,
    ) -> Result<Vec<JobView>> {
        self.post(&format!("{}/tests", there(group)), request).await
    }

    /// Removes the VMs of all tests of its members.
    pub async fn clean_up_group_tests(
        &self,
        group: &str,
        request: &CleanUpTests,
    ) -> Result<Vec<FailoverTestView>> {
        self.post(&format!("{}/tests/cleanup", there(group)), request).await
    }

    /// What a failover of all members would do.
    pub async fn plan_group_failover(
        &self,
        group: &str,
        request: &FailOver,
    ) -> Result<GroupFailoverPlanView> {
        self.post(&format!("{}/failover/plan", there(group)), request).await
    }

    /// What another point for all members would do.
    pub async fn plan_group_change(&self, group: &str, request: &FailOver) -> Result<GroupFailoverPlanView> {
        self.post(&format!("{}/failover/point/plan", there(group)), request).await
    }

    /// Has all members run here.
    pub async fn fail_over_group(&self, group: &str, request: &FailOver) -> Result<Vec<JobView>> {
        self.post(&format!("{}/failover", there(group)), request).await
    }

    /// Has all members run from another moment.
    pub async fn change_group_point(&self, group: &str, request: &FailOver) -> Result<Vec<JobView>> {
        self.post(&format!("{}/failover/point", there(group)), request).await
    }

    /// Has all members run here for good.
    pub async fn commit_group_failover(&self, group: &str) -> Result<Vec<ReplicaView>> {
        self.post(&format!("{}/failover/commit", there(group)), &()).await
    }
}

fn here(group: &str) -> String {
    format!("/v1/replication-groups/{}", segment(group))
}

fn there(group: &str) -> String {
    format!("/v1/replica-groups/{}", segment(group))
}
