//! A runbook that another site runs for a plan of this one: asked for once, waited for, and told to end when it is given up.

use std::{collections::BTreeMap, time::Duration};

use peer::{
    ErrorKind, Patience, PeerClient,
    runbooks::{RunbookOrder, RunbookRun},
};
use plan::{Outcome, Output, RunbookCall, Site as ContextSite};
use runbook::Log;
use tokio::time::sleep;

use crate::{actions::Told, failure::Result, peers, site::Site};

/// How often it is asked how a run stands.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How much sooner than the attempt here it is to be over, so that its end is still heard.
const MARGIN: Duration = Duration::from_secs(3);

/// Has a runbook run where the VMs of a plan come from, under a name that no other attempt has.
pub(crate) async fn perform(
    site: &Site,
    sources: &[ContextSite],
    call: &RunbookCall,
    name: &str,
    told: &Told,
    log: &Log,
) -> Outcome {
    let failed = |why: String| Outcome::Failed { why, output: Output::default() };
    let [source] = sources else {
        let why = "the VMs come from no other site, or from several: it is not known where to run it";
        return failed(why.to_owned());
    };
    let client = match client(site, source).await {
        Ok(Some(client)) => client,
        Ok(None) => {
            return failed(format!("the site {} has no address, so that it cannot be asked", source.name));
        }
        Err(failure) => return failed(failure.detail().to_owned()),
    };
    // Whether anybody is there is found out before anything is asked for: then it is known that it was not run.
    if let Err(error) = client.clone().with_patience(Patience::NONE).site().await {
        let why = format!("the site {} cannot be reached, and the runbook was not run: {error}", source.name);
        return failed(why);
    }
    let environment = told.environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let order = RunbookOrder {
        runbook: call.name.clone(),
        parameters: call.parameters.clone(),
        context: told.context.clone(),
        environment: environment.collect(),
        time_limit_seconds: told.time_limit.saturating_sub(MARGIN).as_secs().max(1),
    };
    let mut given_up = GivenUp(Some((client.clone(), name.to_owned())));
    let outcome = follow(&client, name, &order, log).await;
    given_up.0 = None;
    outcome
}

async fn client(site: &Site, source: &ContextSite) -> Result<Option<PeerClient>> {
    let peer = peers::find(site, &source.id).await?;
    site.peers.client(&peer, Patience::default())
}

async fn follow(client: &PeerClient, name: &str, order: &RunbookOrder, log: &Log) -> Outcome {
    let mut asked = client.run_runbook(name, order).await;
    loop {
        match asked {
            Ok(RunbookRun::Running) => {}
            Ok(RunbookRun::Succeeded { exit_code, output, variables }) => {
                log.push(output.as_bytes());
                return Outcome::Succeeded(Output {
                    exit_code,
                    text: output,
                    variables,
                    ..Output::default()
                });
            }
            Ok(RunbookRun::Failed { why, exit_code, output }) => {
                log.push(output.as_bytes());
                let output = Output { exit_code, text: output, ..Output::default() };
                return Outcome::Failed { why, output };
            }
            Ok(RunbookRun::Unknown { why }) => return Outcome::Unknown { why },
            // It may have been begun, and nobody says what became of it.
            Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Gone) => {
                return Outcome::Unknown { why: error.to_string() };
            }
            Err(error) => return Outcome::Failed { why: error.to_string(), output: Output::default() },
        }
        sleep(LOOK_INTERVAL).await;
        asked = client.runbook_run(name).await;
    }
}

/// Tells the other site to end a run that nobody waits for any more.
struct GivenUp(Option<(PeerClient, String)>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        let Some((client, name)) = self.0.take() else { return };
        tokio::spawn(async move {
            if let Err(error) = client.end_runbook_run(&name).await {
                tracing::error!(run = name, %error, "a runbook at another site was not ended: it ends at its time limit");
            }
        });
    }
}

/// The variables that are told to a runbook of another site's plan, by their names: a peer sets no others.
pub(super) fn environment(told: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
    let known = plan::ENVIRONMENT.iter();
    known.filter_map(|name| Some((*name, told.get(*name)?.clone()))).collect()
}
