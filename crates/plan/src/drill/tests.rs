//! Drills of the example of docs/plans.md, with whatever may happen to them.

use std::collections::BTreeMap;

use model::{Timestamp, VmId};

use super::{
    Change, ChangeKind, Circumstances, Report, Screenshot, Seen, StepResult, Verdict, html, next, text,
};
use crate::{
    Act, Begin, Command, Direction, Event, Format, Kind, Outcome, Output, Plan, Run, Standing, Step,
    StepState, Told, Work, read,
};

fn example() -> Plan {
    let page = include_str!("../../../../docs/plans.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    read(example, Format::Toml).unwrap()
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_microseconds((1_790_000_000_000 + milliseconds) * 1000)
}

/// A drill of a plan, in which each step takes a second and ends as `outcome` says, to its end.
fn drill(plan: &Plan, mut outcome: impl FnMut(&Run, &Step) -> Outcome) -> (Run, Timestamp) {
    let mut now = 0;
    let mut run = begun(plan);
    let mut told = run.handle(Event::Tick, at(now));
    loop {
        if let Some(one) = told.pop() {
            let (Told::Begin { step, attempt } | Told::Stop { step, attempt }) = one;
            let outcome = outcome(&run, &run.step(step).unwrap().clone());
            now += 1000;
            told.extend(run.handle(Event::Ended { step, attempt, outcome }, at(now)));
        } else if let Some(command) = next(&run) {
            told.extend(run.command(command, at(now)).unwrap());
        } else if let Some(due) = run.due() {
            now = now.max((due.as_microseconds() - at(0).as_microseconds()) / 1000);
            told.extend(run.handle(Event::Tick, at(now)));
        } else {
            return (run, at(now));
        }
        assert!(now < 100_000_000, "it comes to no end: {}", run.standing());
    }
}

fn begun(plan: &Plan) -> Run {
    let begin = Begin {
        plan: "shop <&>".to_owned(),
        plan_version: 3,
        kind: Kind::Test,
        direction: Direction::Failover,
        point: "latest".to_owned(),
        operator: "the schedule".to_owned(),
    };
    let mut run = Run::begin(plan, begin, at(0));
    (run.is_drill, run.is_newest) = (true, true);
    run
}

/// Everything works, and says so.
fn works(_run: &Run, step: &Step) -> Outcome {
    let vm = step.work.vm().map(ToString::to_string).unwrap_or_default();
    let text = match &step.work {
        Work::Gate(..) => format!("looked at <b>{vm}</b>\n\"all\" is well\u{1b}[0m\n"),
        _ => String::new(),
    };
    let came_up = matches!(step.work, Work::BringUp(_));
    let number = u8::try_from(step.id.0).unwrap();
    Outcome::Succeeded(Output {
        text,
        exit_code: matches!(step.work, Work::Act(_)).then_some(0),
        vm: came_up.then(|| (VmId::from_random([number; 10]), format!("test-{vm}"))),
        moment_at: came_up.then(|| at(-4500)),
        addresses: if came_up { vec!["10.99.0.5".to_owned()] } else { Vec::new() },
        ..Output::default()
    })
}

fn fails(why: &str) -> Outcome {
    let output = Output { text: format!("{why}, as it wrote"), ..Output::default() };
    Outcome::Failed { why: why.to_owned(), output }
}

/// Everything works but what has this title.
fn works_but(title: &'static str) -> impl FnMut(&Run, &Step) -> Outcome {
    move |run, step| if step.work.title() == title { fails("it says no") } else { works(run, step) }
}

fn report(drill: &(Run, Timestamp), before: Option<&Report>) -> Report {
    let (run, ended_at) = drill;
    let picture = |file: &str| Some(Screenshot { file: file.to_owned(), size_bytes: 9 });
    let seen = |file: &str| Seen { screenshot: picture(file), console: "login:\u{7} </pre>".to_owned() };
    let circumstances = Circumstances {
        drill: "ab".repeat(8),
        site: "west".to_owned(),
        ended_at: *ended_at,
        seen: [("db-1".parse().unwrap(), seen("1.png")), ("app-1".parse().unwrap(), seen("2.png"))].into(),
    };
    Report::of(run, &circumstances, before)
}

fn step<'report>(report: &'report Report, title: &str) -> &'report super::StepReport {
    report.steps().find(|step| step.title == title).unwrap_or_else(|| panic!("no {title}: {report:#?}"))
}

#[test]
fn a_drill_asks_nobody_and_removes_everything() {
    let plan = example();
    let drill = drill(&plan, works);
    assert_eq!(drill.0.standing(), Standing::Done(Act::CleanUp));
    let report = report(&drill, None);
    assert_eq!((report.verdict, report.reasons.len()), (Verdict::Passed, 0), "{report:#?}");
    let by_hand = step(&report, "look at the shop");
    assert_eq!((by_hand.result, by_hand.why.as_deref()), (StepResult::Skipped, Some("a drill asks nobody")));
    assert_eq!(step(&report, "point the name at this site").result, StepResult::LeftOut);
    assert_eq!(step(&report, "close the firewall again").result, StepResult::Done);
    assert!(report.vms.iter().all(|vm| vm.is_up && vm.up_after_ms.is_some()), "{report:#?}");
    assert_eq!((report.rpo.measured_seconds, report.rpo.is_missed()), (Some(5), false));
    assert_eq!(report.rto.target_seconds, plan.rto_seconds);
    assert!(report.differences.is_none());
}

#[test]
fn a_target_that_is_missed_is_late_and_an_older_moment_misses_none() {
    let plan = Plan { rto_seconds: Some(3), rpo_seconds: Some(4), ..example() };
    let late = drill(&plan, works);
    let judged = report(&late, None);
    assert_eq!((judged.verdict, judged.reasons.len()), (Verdict::PassedLate, 2), "{judged:#?}");
    let mut older = late.clone();
    older.0.is_newest = false;
    assert_eq!(report(&older, None).reasons.len(), 1, "how old that is, somebody has chosen");
}

#[test]
fn whatever_fails_is_told_and_the_rest_is_removed_all_the_same() {
    let plan = example();
    for (title, is_passed_over) in [
        ("check what is needed", false),
        ("bring app-1 up", false),
        ("db-1: port 5432 takes connections", false),
        ("bring web-1 up", true),
        ("tell the application where the database is", false),
        ("remove the test of app-2", true),
        ("close the firewall again", true),
    ] {
        let drill = drill(&plan, works_but(title));
        assert_eq!(drill.0.standing(), Standing::Done(Act::CleanUp), "{title}");
        let report = report(&drill, None);
        let failed = step(&report, title);
        assert_eq!((report.verdict, failed.result), (Verdict::Failed, StepResult::Failed), "{title}");
        assert!(report.reasons[0].contains(title) && report.reasons[0].contains("it says no"), "{report:#?}");
        assert_eq!(failed.log, "it says no, as it wrote");
        let is_last_reached = step(&report, "close the firewall again").attempts > 0;
        assert!(is_last_reached, "{title}, {is_passed_over}");
    }
    let removal = drill(&plan, works_but("remove the test of app-2"));
    assert_eq!(step(&report(&removal, None), "remove the test of app-2").attempts, 3);
}

#[test]
fn one_that_somebody_ends_is_cancelled() {
    let plan = example();
    let mut run = begun(&plan);
    let told = run.handle(Event::Tick, at(0));
    assert_eq!(next(&run), None, "it goes on by itself");
    let Some(Told::Begin { step, attempt }) = told.first().copied() else { panic!("{told:?}") };
    run.command(Command::Cancel, at(10)).unwrap();
    let _ = run.handle(Event::Ended { step, attempt, outcome: fails("it was ended") }, at(20));
    assert_eq!(next(&run), Some(Command::CleanUp));
    let mut told = run.command(Command::CleanUp, at(20)).unwrap();
    while let Some(Told::Begin { step, attempt }) = told.pop() {
        let outcome = works(&run, &run.step(step).unwrap().clone());
        told.extend(run.handle(Event::Ended { step, attempt, outcome }, at(30)));
    }
    assert_eq!((next(&run), run.standing()), (None, Standing::Done(Act::CleanUp)));
    assert_eq!(report(&(run, at(30)), None).verdict, Verdict::Cancelled);
}

#[test]
fn what_changed_since_the_last_drill_is_told_worst_first() {
    let plan = example();
    let before = report(&drill(&plan, works_but("db-1: the guest agent answers")), None);
    let mut other = plan.clone();
    other.groups[0].vms[0].health.remove(1);
    other.groups[1].vms.remove(1);
    other.groups[2].post.remove(1);
    let now = report(&drill(&other, works), Some(&before));
    let differences = now.differences.unwrap();
    assert_eq!(differences.before, before.drill);
    let said: Vec<_> = differences.changes.iter().map(|change| (change.kind, change.what.as_str())).collect();
    assert_eq!(
        said,
        [
            (ChangeKind::Gone, "the VM app-2"),
            (ChangeKind::Gone, "the action look at the shop"),
            (ChangeKind::Gone, "the check db-1: port 5432 takes connections"),
            (ChangeKind::Mended, "the check db-1: the guest agent answers"),
        ]
    );
    let whole = report(&drill(&plan, works), None);
    let mut slow = whole.clone();
    let check =
        slow.parts.iter_mut().flat_map(|part| &mut part.steps).find(|step| step.took_ms == Some(1000));
    check.unwrap().took_ms = Some(9000);
    let changes = super::difference::differences(&whole, &slow).changes;
    let [Change { kind: ChangeKind::Slower, detail: Some(detail), .. }] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(detail, "9 s, was 1 s");
    assert_eq!(super::difference::differences(&slow, &whole).changes[0].kind, ChangeKind::Faster);
    assert_eq!(super::difference::differences(&whole, &whole).changes, []);
}

/// docs/format.md describes it. A report that an older Holdfast kept is read for ever.
#[test]
fn a_report_is_written_as_ever() {
    let plan = example();
    let before = report(&drill(&plan, works), None);
    let report =
        report(&drill(&plan, works_but("app-1: http://{address}:8080/health answers")), Some(&before));
    let pictures = BTreeMap::from([("1.png".to_owned(), b"\x89PNG db".to_vec())]);
    let written = [
        ("drill-report-1.json", include_str!("../golden/drill-report-1.json"), report.encode() + "\n"),
        ("drill-report-1.html", include_str!("../golden/drill-report-1.html"), html(&report, &pictures)),
        ("drill-report-1.txt", include_str!("../golden/drill-report-1.txt"), text(&report)),
    ];
    for (file, golden, now) in &written {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(format!("{}/src/golden/{file}", env!("CARGO_MANIFEST_DIR")), now).unwrap();
        } else {
            assert_eq!(now, golden, "{file}");
        }
    }
    assert_eq!(Report::decode(&written[0].2).unwrap(), report);
    let newer = written[0].2.replacen("\"format\": 1", "\"format\": 2", 1);
    assert_eq!(
        Report::decode(&newer).unwrap_err().to_string(),
        "the report has format 2, and this Holdfast knows 1"
    );
    for damaged in ["", "{}", "{\"format\":1}"] {
        assert!(Report::decode(damaged).unwrap_err().to_string().contains("damaged"));
    }
}

#[test]
fn nothing_that_a_guest_wrote_means_anything_to_a_browser_or_a_terminal() {
    let report = report(&drill(&example(), works_but("db-1: the guest agent answers")), None);
    let page = html(&report, &BTreeMap::new());
    assert!(page.contains("shop &lt;&amp;&gt;") && page.contains("login:\u{fffd} &lt;/pre&gt;"), "{page}");
    assert!(!page.contains("</pre> ") && !page.contains("<script") && !page.contains('\u{1b}'), "{page}");
    assert!(!text(&report).contains('\u{1b}'));
}

proptest::proptest! {
    #[test]
    fn whatever_happens_a_drill_ends_and_removes_all_that_it_made(seed in proptest::collection::vec(0u8..8, 64)) {
        let mut dice = seed.into_iter().cycle();
        let (run, _) = drill(&example(), |run, step| match dice.next() {
            Some(0) => fails("it says no"),
            Some(1) => Outcome::Unknown { why: "its answer was lost".to_owned() },
            _ => works(run, step),
        });
        proptest::prop_assert_eq!(run.standing(), Standing::Done(Act::CleanUp));
        let made = run.steps().filter(|step| matches!(step.work, Work::BringUp(_)) && step.attempts > 0);
        for vm in made.filter_map(|step| step.work.vm()) {
            let is_removal = |step: &&Step| step.work == Work::TakeDown(vm.clone());
            let removal = run.steps().find(is_removal).unwrap();
            let is_tried = matches!(removal.state, StepState::Done { .. }) || removal.attempts >= 3;
            proptest::prop_assert!(is_tried, "{:?}", removal);
        }
        let judged = report(&(run, at(0)), None);
        let has_failed = judged.steps().any(|step| step.result == StepResult::Failed);
        proptest::prop_assert_eq!(judged.verdict == Verdict::Failed, has_failed);
    }

    #[test]
    fn no_text_makes_reading_a_report_panic(text in ".{0,200}") {
        let _ = Report::decode(&text);
    }
}

#[test]
fn the_examples_of_the_page_about_drills_are_what_they_say() {
    let page = include_str!("../../../../docs/drills.md");
    let block = |language: &str| {
        let start = format!("```{language}\n");
        page.split(&start).nth(1).and_then(|rest| rest.split("```").next()).unwrap()
    };
    let plan = read(block("toml"), Format::Toml).unwrap();
    assert_eq!(crate::validate(&plan), []);
    let report = Report::decode(block("json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&report.encode()).unwrap();
    let read: serde_json::Value = serde_json::from_str(block("json")).unwrap();
    assert_eq!(written, read, "the page shows every field, and no other");
}
