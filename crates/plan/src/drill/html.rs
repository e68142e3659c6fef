//! A report as a page: one file, without scripts, for light and dark screens and for paper.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Differences,
    report::{Measure, Part, Report, StepReport, StepResult, Verdict, VmReport},
    text::{attempts, duration, measured, second, took_ms},
};

const STYLE: &str = include_str!("report.css");

/// The report as a page. `pictures` are the screenshots, PNG, by their files; one that is missing is not shown.
#[must_use]
pub fn html(report: &Report, pictures: &BTreeMap<String, Vec<u8>>) -> String {
    let title = format!("Drill of {} · {}", report.plan, report.verdict.title());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escaped(&title)
    );
    head(&mut page, report);
    if let Some(differences) = &report.differences {
        since(&mut page, differences);
    }
    page.push_str("<h2>VMs</h2>\n<div class=\"vms\">\n");
    for each in &report.vms {
        vm(&mut page, each, pictures);
    }
    page.push_str("</div>\n<h2>Steps</h2>\n");
    for each in &report.parts {
        part(&mut page, each);
    }
    line(
        &mut page,
        format_args!(
            "<footer>Drill {} · times are UTC · written by Holdfast</footer>\n</main>\n</body>\n</html>",
            escaped(&report.drill)
        ),
    );
    page
}

/// Writing to a String cannot fail.
fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(page, "{text}");
}

/// Text that means nothing but itself, between tags and in attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(character),
            _ if character.is_control() => safe.push('\u{fffd}'),
            _ => safe.push(character),
        }
    }
    safe
}

fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "good",
        Verdict::PassedLate | Verdict::Cancelled => "fair",
        Verdict::Failed => "bad",
    }
}

fn head(page: &mut String, report: &Report) {
    line(
        page,
        format_args!(
            "<header>\n<h1>Drill of {}</h1>\n<p class=\"verdict {}\">{}</p>\n</header>",
            escaped(&report.plan),
            tone(report.verdict),
            report.verdict.title()
        ),
    );
    if !report.reasons.is_empty() {
        page.push_str("<ul class=\"reasons\">\n");
        for reason in &report.reasons {
            line(page, format_args!("<li>{}</li>", escaped(reason)));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("<dl class=\"measures\">\n");
    measure(page, "RTO", report.rto);
    measure(page, "RPO", report.rpo);
    page.push_str("</dl>\n<dl class=\"facts\">\n");
    for (name, value) in [
        ("Plan", format!("{}, version {}", report.plan, report.plan_version)),
        ("At", report.site.clone()),
        ("Began", second(report.begun_at)),
        ("Took", duration(took_ms(report))),
        ("By", report.operator.clone()),
        ("Moment", report.point.clone()),
    ] {
        line(page, format_args!("<div><dt>{name}</dt><dd>{}</dd></div>", escaped(&value)));
    }
    page.push_str("</dl>\n");
}

fn measure(page: &mut String, name: &str, measure: Measure) {
    let tone = match measure.measured_seconds.zip(measure.target_seconds) {
        Some(_) if measure.is_missed() => "fair",
        Some(_) => "good",
        None => "plain",
    };
    line(
        page,
        format_args!("<div class=\"{tone}\"><dt>{name}</dt><dd>{}</dd></div>", escaped(&measured(measure))),
    );
}

fn since(page: &mut String, differences: &Differences) {
    line(page, format_args!("<h2>Since the drill of {}</h2>", escaped(&second(differences.before_at))));
    if differences.changes.is_empty() {
        page.push_str("<p>Nothing has changed.</p>\n");
        return;
    }
    page.push_str("<ul class=\"changes\">\n");
    for change in &differences.changes {
        let detail = change.detail.as_ref().map(|detail| format!(": {}", escaped(detail)));
        line(
            page,
            format_args!(
                "<li><b>{}</b> {}{}</li>",
                change.kind.title(),
                escaped(&change.what),
                detail.unwrap_or_default()
            ),
        );
    }
    page.push_str("</ul>\n");
}

fn vm(page: &mut String, vm: &VmReport, pictures: &BTreeMap<String, Vec<u8>>) {
    let (tone, up) = match vm.up_after_ms {
        Some(after) => ("good", format!("up after {}", duration(after))),
        None => ("bad", "not up".to_owned()),
    };
    line(page, format_args!("<section class=\"vm {tone}\">\n<h3>{}</h3>", escaped(&vm.name)));
    let mut facts = vec![up];
    facts.extend(vm.moment_at.map(|at| format!("from {}", second(at))));
    facts.extend((!vm.addresses.is_empty()).then(|| format!("at {}", vm.addresses.join(", "))));
    line(page, format_args!("<p>{}</p>", escaped(&facts.join(" · "))));
    let picture = vm.screenshot.as_ref().and_then(|screenshot| pictures.get(&screenshot.file));
    if let Some(picture) = picture {
        let name = escaped(&vm.name);
        line(
            page,
            format_args!(
                "<img alt=\"The screen of {name}\" src=\"data:image/png;base64,{}\">",
                STANDARD.encode(picture)
            ),
        );
    }
    log(page, "console", &vm.console);
    page.push_str("</section>\n");
}

/// What something wrote, behind a word that opens it.
fn log(page: &mut String, word: &str, text: &str) {
    if !text.trim().is_empty() {
        line(page, format_args!("<details><summary>{word}</summary><pre>{}</pre></details>", escaped(text)));
    }
}

fn part(page: &mut String, part: &Part) {
    line(page, format_args!("<h3>{}</h3>\n<table>", escaped(&part.title)));
    page.push_str(
        "<thead><tr><th>step</th><th>what</th><th>result</th><th>took</th></tr></thead>\n<tbody>\n",
    );
    for each in &part.steps {
        step(page, each);
    }
    page.push_str("</tbody>\n</table>\n");
}

fn step(page: &mut String, step: &StepReport) {
    let tone = match step.result {
        StepResult::Done => "good",
        StepResult::Failed => "bad",
        StepResult::Skipped | StepResult::LeftOut | StepResult::NotReached => "plain",
    };
    let took = step.took_ms.map(duration).unwrap_or_default();
    line(
        page,
        format_args!(
            "<tr class=\"{tone}\"><td>{}</td><td>{}<span class=\"sort\">{}</span>",
            step.number,
            escaped(&step.title),
            step.sort.title()
        ),
    );
    if let Some(why) = &step.why {
        line(page, format_args!("<p>{}</p>", escaped(why)));
    }
    let code = step.exit_code.map(|code| format!(" (ended with {code})")).unwrap_or_default();
    log(page, &format!("what it wrote{code}"), &step.log);
    line(page, format_args!("</td><td>{}</td><td>{took}{}</td></tr>", step.result.title(), attempts(step)));
}
