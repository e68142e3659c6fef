//! A report for a terminal.

use super::report::{Measure, Part, Report, StepReport, StepResult, VmReport};

/// The report as lines of text.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut lines = vec![
        format!("Drill of {} · {}", report.plan, report.verdict.title()),
        String::new(),
        field("Plan", &format!("{}, version {}", report.plan, report.plan_version)),
        field("At", &report.site),
        field("Began", &second(report.begun_at)),
        field("Took", &duration(took_ms(report))),
        field("By", &report.operator),
        field("Moment", &report.point),
        field("RTO", &measured(report.rto)),
        field("RPO", &measured(report.rpo)),
        field("Drill", &report.drill),
    ];
    if !report.reasons.is_empty() {
        section(&mut lines, "Why");
        lines.extend(report.reasons.iter().map(|reason| format!("  {}", one_line(reason))));
    }
    if let Some(differences) = &report.differences {
        section(&mut lines, &format!("Since the drill of {}", second(differences.before_at)));
        if differences.changes.is_empty() {
            lines.push("  nothing has changed".to_owned());
        }
        lines.extend(differences.changes.iter().map(|change| {
            let detail = change.detail.as_ref().map(|detail| format!(": {}", one_line(detail)));
            format!("  {:<14} {}{}", change.kind.title(), one_line(&change.what), detail.unwrap_or_default())
        }));
    }
    section(&mut lines, "VMs");
    lines.extend(report.vms.iter().map(vm));
    for each in &report.parts {
        part(&mut lines, each);
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn section(lines: &mut Vec<String>, title: &str) {
    lines.push(String::new());
    lines.push(one_line(title));
}

fn field(name: &str, value: &str) -> String {
    format!("{name:<8}{}", one_line(value))
}

fn vm(vm: &VmReport) -> String {
    let up = match vm.up_after_ms {
        Some(after) => format!("up after {}", duration(after)),
        None => "not up".to_owned(),
    };
    let moment = vm.moment_at.map(|at| format!(", from {}", second(at))).unwrap_or_default();
    let addresses =
        if vm.addresses.is_empty() { String::new() } else { format!(", at {}", vm.addresses.join(", ")) };
    format!("  {}: {up}{moment}{}", one_line(&vm.name), one_line(&addresses))
}

fn part(lines: &mut Vec<String>, part: &Part) {
    section(lines, &part.title);
    for step in &part.steps {
        let took = step.took_ms.map(|took| format!(", {}", duration(took))).unwrap_or_default();
        let why = step.why.as_ref().map(|why| format!(": {}", one_line(why))).unwrap_or_default();
        lines.push(format!(
            "  {:>3}  {:<12} {}{took}{}{why}",
            step.number,
            step.result.title(),
            one_line(&step.title),
            attempts(step)
        ));
        if step.result == StepResult::Failed {
            let log: Vec<_> = step.log.lines().collect();
            let last = &log[log.len().saturating_sub(LOG_LINES)..];
            lines.extend(last.iter().map(|line| format!("         | {}", one_line(line))));
        }
    }
}

/// How many lines of the log of a step that failed are shown.
const LOG_LINES: usize = 10;

/// How often a step was begun, where that is worth telling.
pub(super) fn attempts(step: &StepReport) -> String {
    if step.attempts > 1 { format!(", {} attempts", step.attempts) } else { String::new() }
}

/// Nothing in a report moves the cursor or begins a line of its own.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// How long all of it took, in milliseconds.
pub(super) fn took_ms(report: &Report) -> u64 {
    u64::try_from(report.ended_at.microseconds_since(report.begun_at)).unwrap_or(0) / 1000
}

/// What was measured, beside what it should be.
pub(super) fn measured(measure: Measure) -> String {
    let seconds = |seconds: u64| duration(seconds.saturating_mul(1000));
    let Some(is) = measure.measured_seconds.map(seconds) else {
        return match measure.target_seconds.map(seconds) {
            Some(target) => format!("it never came to that; at most {target} wanted"),
            None => "it never came to that".to_owned(),
        };
    };
    match measure.target_seconds.map(seconds) {
        Some(target) if measure.is_missed() => format!("{is}, more than {target}"),
        Some(target) => format!("{is} of {target}"),
        None => format!("{is}, without a target"),
    }
}

/// A moment to the second: more of it tells nobody anything.
pub(super) fn second(moment: model::Timestamp) -> String {
    let microseconds = moment.as_microseconds();
    model::Timestamp::from_microseconds(microseconds - microseconds.rem_euclid(1_000_000)).to_string()
}

/// A duration for people: 850 ms, 12.3 s, 4 min 05 s, 1 h 02 min.
pub(super) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => match milliseconds % 1000 / 100 {
            0 => format!("{seconds} s"),
            tenths => format!("{seconds}.{tenths} s"),
        },
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}
