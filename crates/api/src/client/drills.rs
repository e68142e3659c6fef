//! Drills of recovery plans.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, broken, collect, segment};
use crate::{DrillReportFormat, DrillStateView, DrillView, JobView, RunDrill, ScheduleDrill};

impl Client {
    /// How it stands with the drills of all plans that are or were drilled, by plan.
    pub async fn drills(&self) -> Result<Vec<DrillStateView>> {
        self.get("/v1/drills").await
    }

    /// Has a plan drilled by itself, in the place of what was said of that before.
    pub async fn schedule_drill(&self, plan: &str, request: &ScheduleDrill) -> Result<DrillStateView> {
        self.send(Method::PUT, &format!("/v1/drills/{}/schedule", segment(plan)), request).await
    }

    /// Has a plan drilled by itself no more. Its reports stay.
    pub async fn unschedule_drill(&self, plan: &str) -> Result<()> {
        self.call(Method::DELETE, &format!("/v1/drills/{}/schedule", segment(plan)), Bytes::new()).await
    }

    /// Drills a plan now.
    pub async fn run_drill(&self, plan: &str, request: &RunDrill) -> Result<JobView> {
        self.post(&format!("/v1/drills/{}/runs", segment(plan)), request).await
    }

    /// The drills of a plan that have ended, newest first.
    pub async fn drill_reports(&self, plan: &str) -> Result<Vec<DrillView>> {
        self.get(&format!("/v1/drills/{}/reports", segment(plan))).await
    }

    /// The report of a drill, by its id, a unique start of one, or `latest`.
    pub async fn drill_report(&self, plan: &str, drill: &str, format: DrillReportFormat) -> Result<String> {
        let format = format.as_str();
        let path = format!("/v1/drills/{}/reports/{}?format={format}", segment(plan), segment(drill));
        let answer = collect(self.request(Method::GET, &path, Bytes::new()).await?).await?;
        String::from_utf8(answer.to_vec()).map_err(broken)
    }
}
