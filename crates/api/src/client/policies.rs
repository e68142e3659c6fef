//! Policies.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, segment};
use crate::{CreatePolicy, EditPolicy, PolicyView, VerdictView};

impl Client {
    /// All policies, by name.
    pub async fn policies(&self) -> Result<Vec<PolicyView>> {
        self.get("/v1/policies").await
    }

    /// One policy.
    pub async fn policy(&self, policy: &str) -> Result<PolicyView> {
        self.get(&of(policy)).await
    }

    /// Creates a policy.
    pub async fn create_policy(&self, request: &CreatePolicy) -> Result<PolicyView> {
        self.post("/v1/policies", request).await
    }

    /// Changes a policy.
    pub async fn edit_policy(&self, policy: &str, request: &EditPolicy) -> Result<PolicyView> {
        self.send(Method::PATCH, &of(policy), request).await
    }

    /// Which points and snapshots a policy would keep and delete after such a change, which is not made.
    pub async fn preview_policy(&self, policy: &str, request: &EditPolicy) -> Result<Vec<VerdictView>> {
        self.post(&format!("{}/preview", of(policy)), request).await
    }

    /// Forgets a policy that no VM follows. What it made stays.
    pub async fn delete_policy(&self, policy: &str) -> Result<()> {
        self.call(Method::DELETE, &of(policy), Bytes::new()).await
    }
}

fn of(policy: &str) -> String {
    format!("/v1/policies/{}", segment(policy))
}
