//! Recovery plans.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, segment};
use crate::{
    CreatePlan, EditPlan, EditedPlanView, PlanFindingView, PlanPreviewView, PlanRunView, PlanVersionView,
    PlanView, RunPlan, TellPlanRun, ValidatePlan,
};

impl Client {
    /// All plans, by name.
    pub async fn plans(&self) -> Result<Vec<PlanView>> {
        self.get("/v1/plans").await
    }

    /// One plan.
    pub async fn plan(&self, plan: &str) -> Result<PlanView> {
        self.get(&of(plan)).await
    }

    /// Keeps a plan.
    pub async fn create_plan(&self, request: &CreatePlan) -> Result<PlanView> {
        self.post("/v1/plans", request).await
    }

    /// Keeps another version of a plan.
    pub async fn edit_plan(&self, plan: &str, request: &EditPlan) -> Result<EditedPlanView> {
        self.send(Method::PUT, &of(plan), request).await
    }

    /// Forgets a plan. Its runs stay.
    pub async fn delete_plan(&self, plan: &str) -> Result<()> {
        self.call(Method::DELETE, &of(plan), Bytes::new()).await
    }

    /// Agrees to what a plan that came from another site does on this host, and to its runbooks.
    pub async fn accept_plan(&self, plan: &str) -> Result<PlanView> {
        self.call(Method::POST, &format!("{}/acceptance", of(plan)), Bytes::new()).await
    }

    /// All versions of a plan, newest first.
    pub async fn plan_versions(&self, plan: &str) -> Result<Vec<PlanVersionView>> {
        self.get(&format!("{}/versions", of(plan))).await
    }

    /// What is wrong with a document, or with a plan that is kept.
    pub async fn validate_plan(&self, request: &ValidatePlan) -> Result<Vec<PlanFindingView>> {
        self.post("/v1/plan-findings", request).await
    }

    /// What a run would do, and what stands in its way.
    pub async fn preview_plan(&self, plan: &str, request: &RunPlan) -> Result<PlanPreviewView> {
        self.post(&format!("{}/preview", of(plan)), request).await
    }

    /// Runs a plan.
    pub async fn run_plan(&self, plan: &str, request: &RunPlan) -> Result<PlanRunView> {
        self.post(&format!("{}/runs", of(plan)), request).await
    }

    /// The runs of a plan, newest first.
    pub async fn plan_runs(&self, plan: &str) -> Result<Vec<PlanRunView>> {
        self.get(&format!("{}/runs", of(plan))).await
    }

    /// A run, by its id, or the newest of a plan.
    pub async fn plan_run(&self, run: &str) -> Result<PlanRunView> {
        self.get(&format!("/v1/plan-runs/{}", segment(run))).await
    }

    /// Tells a run something.
    pub async fn tell_plan_run(&self, run: &str, request: &TellPlanRun) -> Result<PlanRunView> {
        self.post(&format!("/v1/plan-runs/{}", segment(run)), request).await
    }
}

fn of(plan: &str) -> String {
    format!("/v1/plans/{}", segment(plan))
}
