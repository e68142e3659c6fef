//! Reports of drills, read.

use api::{Code, DrillReportFormat};
use catalog::KnownDrill;
use plan::drill::{Report, html, text};

use super::evidence;
use crate::{
    failure::{Failure, Result},
    plans,
    site::Site,
};

/// The drill of a plan with this id, a unique start of one, or the latest.
async fn find(site: &Site, plan: &str, drill: &str) -> Result<KnownDrill> {
    let drills = site.catalog.drills_of(plan).await?;
    if drills.is_empty() {
        plans::history(site, plan).await?;
        return Err(Failure::not_found(format!("no drill of the plan {plan} has ended"))
            .with_hint(format!("run one: holdfast drill run {plan}")));
    }
    let is_meant = |known: &KnownDrill| known.run_id.as_str().starts_with(drill);
    let mut meant = drills.into_iter().filter(|known| drill == "latest" || is_meant(known));
    let hint = format!("see them with: holdfast drill reports {plan}");
    match (meant.next(), meant.next()) {
        (Some(found), None) => Ok(found),
        (Some(found), Some(_)) if drill == "latest" => Ok(found),
        (Some(_), Some(_)) => {
            Err(Failure::invalid(format!("{drill} is the start of several drills")).with_hint(hint))
        }
        (None, _) => {
            Err(Failure::not_found(format!("there is no drill {drill} of the plan {plan}")).with_hint(hint))
        }
    }
}

/// A report, and what it is on the wire.
pub(crate) async fn report(
    site: &Site,
    plan: &str,
    drill: &str,
    format: DrillReportFormat,
) -> Result<(&'static str, String)> {
    let drill = find(site, plan, drill).await?;
    let kept = site.catalog.drill_report(drill.run_id).await?.unwrap_or_default();
    let report = Report::decode(&kept).map_err(|error| {
        Failure::new(Code::Damaged, format!("the drill {} of {plan}: {error}", drill.run_id))
    })?;
    Ok(match format {
        DrillReportFormat::Json => ("application/json", report.encode() + "\n"),
        DrillReportFormat::Text => ("text/plain; charset=utf-8", text(&report)),
        DrillReportFormat::Html => {
            let pictures = evidence::pictures(site, &report, drill.run_id);
            ("text/html; charset=utf-8", html(&report, &pictures))
        }
    })
}
