//! Drills on a real server, of a plan whose VM nobody has.

use std::time::{Duration, Instant};

use api::{DrillStateView, DrillView};

use crate::serving::Serving;

/// What a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A plan of which nothing comes up. What is done after its removal goes on for as long as there is no such file.
fn plan(site: &Serving, go: &str) -> String {
    let (file, began) = (site.path("shop.toml"), site.path("began"));
    let text = format!(
        r#"
version = 1
[[groups]]
name = "all"
vms = [{{ name = "nowhere" }}]
[[after_cleanup]]
name = "close the <b>door</b>"
script = {{ command = ["sh", "-c", "echo x >> {began}; while [ ! -e {go} ]; do sleep 0.05; done; echo closed"] }}
"#
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_drill_is_scheduled_fails_and_says_so_everywhere() {
    let site = Serving::start();
    let go = site.path("go");
    std::fs::write(&go, "").unwrap();
    let created = site.run(&["plan", "create", "shop", &plan(&site, &go)]);
    assert_eq!(created.exit, Some(0), "{}", created.stderr);
    assert_eq!(site.run(&["drill", "report", "shop"]).exit, Some(4));
    assert_eq!(site.run(&["drill", "schedule", "shop"]).exit, Some(2), "when?");
    let scheduled = site.run(&["drill", "schedule", "shop", "--at", "sat 03:00", "--zone", "UTC"]);
    assert!(scheduled.exit == Some(0) && scheduled.stdout.contains("not drilled yet"), "{scheduled:?}");
    let states: Vec<DrillStateView> = site.ask(&["drill", "list"]);
    assert_eq!(states[0].schedule.as_ref().unwrap().schedule, "sat 03:00");

    let run = site.run(&["drill", "run", "shop"]);
    assert_eq!(run.exit, Some(1), "{run:?}");
    assert!(run.stderr.contains("no replica of nowhere"), "{}", run.stderr);
    assert!(run.stderr.contains("drill report shop"), "{}", run.stderr);
    let text = site.run(&["drill", "report", "shop"]);
    assert!(text.exit == Some(0) && text.stdout.starts_with("Drill of shop · failed"), "{text:?}");
    assert!(text.stdout.contains("not up") && text.stdout.contains("close the <b>door</b>"), "{text:?}");
    let page = site.path("drill.html");
    let written = site.run(&["drill", "report", "shop", "latest", "--format", "html", "--to", &page]);
    assert_eq!((written.exit, written.stdout.as_str()), (Some(0), ""), "{written:?}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("close the &lt;b&gt;door&lt;/b&gt;") && !page.contains("<b>door"), "{page}");
    let report: serde_json::Value = site.ask(&["drill", "report", "shop"]);
    assert_eq!((&report["verdict"], &report["format"]), (&"failed".into(), &1.into()));

    let reports = site.run(&["drill", "reports", "shop", "-q"]);
    assert_eq!(reports.stdout.trim(), report["drill"].as_str().unwrap());
    let listed = site.run(&["drill", "list"]);
    assert!(listed.stdout.contains("failed"), "{listed:?}");
    let doctor = site.run(&["doctor"]);
    assert!(doctor.stdout.contains("drills of shop"), "{doctor:?}");
    assert_eq!(doctor.exit, Some(3));
    assert_eq!(site.run(&["drill", "unschedule", "shop"]).exit, Some(0));
    assert_eq!(site.run(&["drill", "unschedule", "shop"]).exit, Some(6));
}

#[test]
fn one_whose_server_is_killed_ends_and_keeps_a_report() {
    let mut site = Serving::start();
    let (go, began) = (site.path("go"), site.path("began"));
    let created = site.run(&["plan", "create", "shop", &plan(&site, &go)]);
    assert_eq!(created.exit, Some(0), "{}", created.stderr);
    let run = site.run(&["drill", "run", "shop", "--no-wait"]);
    assert_eq!(run.exit, Some(0), "{run:?}");
    until("the door is being closed", || std::path::Path::new(&began).exists().then_some(()));
    site.start_over();
    let reports = until("the drill has ended", || {
        let reports: Vec<DrillView> = site.ask(&["drill", "reports", "shop"]);
        (!reports.is_empty()).then_some(reports)
    });
    assert_eq!((reports.len(), reports[0].verdict.as_str()), (1, "failed"));
    assert!(reports[0].reasons.iter().any(|reason| reason.contains("the server ended")), "{reports:?}");
    assert_eq!(std::fs::read_to_string(&began).unwrap().lines().count(), 1, "it was not done again");
    let run = site.run(&["drill", "run", "shop", "--no-wait"]);
    assert_eq!(run.exit, Some(0), "nothing of it is in the way: {run:?}");
}
