//! Recovery plans on a real server, with programs that do what they should not.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use api::{PlanRunView, PlanStepView};

use crate::serving::Serving;

/// What a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn step<'run>(run: &'run PlanRunView, title: &str) -> &'run PlanStepView {
    let steps = run.waves.iter().flat_map(|wave| &wave.lanes).flat_map(|lane| &lane.steps);
    steps.into_iter().find(|step| step.title == title).unwrap_or_else(|| panic!("no {title}: {run:#?}"))
}

fn until(site: &Serving, what: &str, holds: impl Fn(&PlanRunView) -> bool) -> PlanRunView {
    let begun = Instant::now();
    loop {
        let run: PlanRunView = site.ask(&["plan", "status", "shop"]);
        if holds(&run) {
            return run;
        }
        assert!(begun.elapsed() < PATIENCE, "it never came to this: {what}; it is {run:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lines(file: &str) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

#[test]
fn programs_end_in_time_say_what_they_know_and_are_not_repeated_by_themselves() {
    let mut site = Serving::start();
    let (plan, began, go) = (site.path("shop.toml"), site.path("began"), site.path("go"));
    let text = format!(
        r#"
version = 1
[[groups]]
name = "all"
vms = [{{ name = "nowhere", on_failure = "continue" }}]
pre = [
  {{ name = "hangs", script = {{ command = ["sh", "-c", "sleep 1000 & sleep 1000"] }}, timeout_seconds = 1, on_failure = "continue" }},
  {{ name = "prints", script = {{ command = ["sh", "-c", 'yes | head -c 100000000; echo "{{\"variables\": {{\"size\": 100}}}}"'] }} }},
  {{ name = "takes words as they are", script = {{ command = ["printf", "%s|", "a b", "$(reboot)", "it's"] }} }},
]
post = [
  {{ name = "waits", script = {{ command = ["sh", "-c", "echo x >> {began}; while [ ! -e {go} ]; do sleep 0.05; done"] }} }},
]
"#
    );
    std::fs::write(&plan, text).unwrap();
    let created = site.run(&["plan", "create", "shop", &plan]);
    assert_eq!(created.exit, Some(0), "{}", created.stderr);
    let validated = site.run(&["plan", "validate", "--plan", "shop"]);
    assert!(validated.exit == Some(2) && validated.stdout.contains("no replica of nowhere"), "{validated:?}");

    let held_up = site.run(&["plan", "run", "shop", "--unplanned", "--yes"]);
    assert_eq!(held_up.exit, Some(1), "{held_up:?}");
    assert!(held_up.stderr.contains("plan skip shop 1"), "{}", held_up.stderr);
    let skipped = site.run(&["plan", "skip", "shop", "1", "--note", "known", "--no-wait"]);
    assert_eq!(skipped.exit, Some(0), "{skipped:?}");
    let run = until(&site, "the last program is under way", |run| {
        step(run, "waits").state == "running" && Path::new(&began).exists()
    });
    let hangs = step(&run, "hangs");
    assert!(
        hangs.state == "passed-over" && hangs.why.as_ref().unwrap().contains("time was over"),
        "{hangs:?}"
    );
    let prints = step(&run, "prints");
    assert!(prints.state == "done" && prints.attempts[0].text.len() < 10_000, "{prints:?}");
    assert_eq!(run.variables["size"], "100");
    assert_eq!(step(&run, "takes words as they are").attempts[0].text, "a b|$(reboot)|it's|");
    assert_eq!(step(&run, "bring nowhere up").state, "passed-over");

    site.start_over();
    let run = until(&site, "somebody is asked", |run| run.standing == "needs-answer");
    let waits = step(&run, "waits");
    assert!(waits.state == "asking" && waits.why.as_ref().unwrap().contains("server ended"), "{waits:?}");
    assert_eq!(lines(&began), 1, "it was not begun again by itself");
    std::fs::write(&go, "").unwrap();
    let retried = site.run(&["plan", "retry", "shop", &waits.id.to_string()]);
    assert_eq!(retried.exit, Some(0), "{retried:?}");
    assert!(retried.stdout.contains("recovered"), "{retried:?}");
    assert_eq!(lines(&began), 2);
    let history = site.run(&["plan", "history", "shop", "--runs", "-q"]);
    assert_eq!(history.stdout.trim(), run.id.as_str());
}
