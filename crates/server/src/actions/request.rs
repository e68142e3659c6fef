//! Requests.

use plan::{HttpCall, Outcome};
use runbook::{HttpAnswer, Log};

use super::{Told, not_done, output, succeeded};

pub(super) async fn perform(call: &HttpCall, told: &Told, log: &Log) -> Outcome {
    let mut headers = call.headers.clone();
    let is_context = call.body.is_none();
    if is_context && !headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
        headers.insert("content-type".to_owned(), "application/json".to_owned());
    }
    let request = runbook::HttpCall {
        method: call.method.clone(),
        url: call.url.clone(),
        headers,
        body: call.body.clone().unwrap_or_else(|| told.input()),
        time_limit: told.time_limit,
    };
    match request.make(log).await {
        Ok(answer) if is_success(call, &answer) => succeeded(None, &answer.last_line, log),
        Ok(answer) => Outcome::Failed {
            why: format!("{} answered with status {}", call.url, answer.status),
            output: output(None, log),
        },
        Err(error) => not_done(&error, log),
    }
}

fn is_success(call: &HttpCall, answer: &HttpAnswer) -> bool {
    if call.statuses.is_empty() { answer.is_success() } else { call.statuses.contains(&answer.status) }
}
