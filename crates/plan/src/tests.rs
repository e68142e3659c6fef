//! Documents: read, judged, compared; what actions are told.

use model::{Timestamp, VmId};
use serde_json::json;

use crate::{
    Begin, Command, Direction, Event, Finding, Format, Kind, Outcome, Output, Plan, Run, Severity, Site,
    Sites, Standing, StepId, Told, context, dropped, environment, read, validate,
};

/// The example of docs/plans.md.
fn example() -> Plan {
    read(example_text(), Format::Toml).unwrap()
}

fn example_text() -> &'static str {
    let page = include_str!("../../../docs/plans.md");
    page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_microseconds((1_790_000_000 + seconds) * 1_000_000)
}

fn begin(kind: Kind) -> Begin {
    Begin {
        plan: "shop".to_owned(),
        plan_version: 3,
        kind,
        direction: Direction::Failover,
        point: "latest".to_owned(),
        operator: "ada".to_owned(),
    }
}

fn only_error(text: &str) -> Finding {
    match read(text, Format::Toml) {
        Err(finding) => finding,
        Ok(plan) => {
            let mut findings = validate(&plan);
            findings.retain(|finding| finding.severity == Severity::Error);
            assert_eq!(findings.len(), 1, "{findings:?}");
            findings.remove(0)
        }
    }
}

#[test]
fn the_example_is_a_plan() {
    let plan = example();
    assert_eq!(validate(&plan), []);
    assert_eq!(
        plan.vms().map(|vm| vm.name.to_string()).collect::<Vec<_>>(),
        ["db-1", "app-1", "app-2", "web-1"]
    );
    assert_eq!(plan.actions().count(), 4);
}

#[test]
fn a_word_that_is_not_known_is_found_with_its_place_and_what_was_meant() {
    let finding = only_error(
        "version = 1\n[[groups]]\nname = \"a\"\nvms = [{ name = \"x\" }]\n[[groups.pre]]\nname = \"p\"\nscrpt = { command = [\"x\"] }\n",
    );
    assert!(finding.path.starts_with("groups[0].pre[0]"), "{finding}");
    assert!(finding.message.contains("line 7") && finding.message.contains("scrpt"), "{finding}");
    assert_eq!(finding.hint.as_deref(), Some("did you mean script?"));
    let finding = only_error("version = 1\nfailback_order = \"revers\"\n");
    assert_eq!(finding.hint.as_deref(), Some("did you mean reverse?"));
    let finding = only_error("version = 1\n[[groups]\n");
    assert!(finding.message.contains("line 2"), "{finding}");
}

#[test]
fn yaml_says_the_same_and_is_judged_the_same() {
    let text = "# a plan\nversion: 1\ngroups:\n  - name: a\n    vms:\n      - name: x\n        health:\n          - tcp: { port: 80 }\n";
    let toml = "version = 1\n[[groups]]\nname = \"a\"\nvms = [{ name = \"x\", health = [{ tcp = { port = 80 } }] }]\n";
    assert_eq!((Format::of(text), Format::of(toml)), (Format::Yaml, Format::Toml));
    assert_eq!(read(text, Format::Yaml).unwrap(), read(toml, Format::Toml).unwrap());
    let finding = read(&text.replace("health", "helth"), Format::Yaml).unwrap_err();
    assert!(finding.path.starts_with("groups[0].vms[0]"), "{finding:?}");
    assert!(finding.message.contains("line 7"), "{finding:?}");
    assert_eq!(finding.hint.as_deref(), Some("did you mean health?"), "{finding:?}");
    let runbook = crate::read_runbook(
        "version: 1\nscript: { command: [\"x\", \"{{a}}\"] }\nparameters: { a: { default: \"1\" } }",
    );
    assert_eq!(runbook.unwrap().validate(), []);
}

#[test]
fn yaml_that_repeats_itself_or_goes_deep_is_refused() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut bomb = "version: 1\nz: &z [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (before, name) in ["z"].iter().chain(&names).zip(&names) {
        let uses = vec![format!("*{before}"); 9].join(", ");
        bomb.push_str(&format!("{name}: &{name} [{uses}]\n"));
    }
    assert!(read(&bomb, Format::Yaml).is_err());
    let deep = format!("version: 1\ngroups: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    assert!(read(&deep, Format::Yaml).is_err());
}

#[test]
fn a_vm_has_other_networks_on_the_way_back() {
    let text = "version = 1\n[[groups]]\nname = \"a\"\n[[groups.vms]]\nname = \"x\"\n[[groups.vms.networks]]\ndevice = 0\n\
                production = { bridge = \"br-b\" }\nhome = { bridge = \"br-a\" }\n";
    let plan = read(text, Format::Toml).unwrap();
    for (kind, direction, bridge) in [
        (Kind::Unplanned, Direction::Failover, Some("br-b")),
        (Kind::Planned, Direction::Failback, Some("br-a")),
        (Kind::Test, Direction::Failback, None),
    ] {
        let run = Run::begin(&plan, Begin { direction, ..begin(kind) }, at(0));
        let facts = run.vms().values().next().unwrap();
        assert_eq!(facts.networks.get(&0).and_then(|attachment| attachment.bridge.as_deref()), bridge);
    }
    let finding = only_error(&text.replace("br-a", "no/bridge"));
    assert_eq!(finding.path, "groups[0].vms[0].networks[0].home.bridge");
}

#[test]
fn what_makes_no_sense_is_found_where_it_is() {
    let with = |more: &str| only_error(&format!("version = 1\n[[groups]]\nname = \"a\"\n{more}"));
    let vm = "vms = [{ name = \"x\" }]\n";
    let cases = [
        (with("vms = [{ name = \"x\" }, { name = \"x\" }]\n"), "groups[0].vms[1].name"),
        (with("vms = [{ name = \"x\", health = [{}] }]\n"), "groups[0].vms[0].health[0]"),
        (
            with(
                "vms = [{ name = \"x\", networks = [{ device = 0, test = { address = \"10.0.0.1/64\" } }] }]\n",
            ),
            "groups[0].vms[0].networks[0].test.address",
        ),
        (with(&format!("{vm}pre = [{{ name = \"p\" }}]\n")), "groups[0].pre[0]"),
        (
            with(&format!("{vm}pre = [{{ name = \"p\", script = {{ command = [] }} }}]\n")),
            "groups[0].pre[0].script.command",
        ),
        (
            with(&format!("{vm}post = [{{ name = \"p\", guest = {{ vm = \"y\", command = [\"z\"] }} }}]\n")),
            "groups[0].post[0].guest.vm",
        ),
        (
            with(&format!("{vm}post = [{{ name = \"p\", http = {{ url = \"ftp://x\" }} }}]\n")),
            "groups[0].post[0].http.url",
        ),
        (
            with(&format!(
                "{vm}post = [{{ name = \"p\", timeout_seconds = 0, script = {{ command = [\"z\"] }} }}]\n"
            )),
            "groups[0].post[0].timeout_seconds",
        ),
        (only_error("version = 2\n[[groups]]\nname = \"a\"\nvms = [{ name = \"x\" }]\n"), "version"),
        (only_error("version = 1\n"), "groups"),
    ];
    for (finding, path) in cases {
        assert_eq!(finding.path, path, "{finding}");
    }
}

#[test]
fn an_edit_says_what_it_takes_out() {
    let before = example();
    let mut after = before.clone();
    after.groups.reverse();
    assert_eq!(dropped(&before, &after), [] as [String; 0], "what moved is not lost");
    after.groups[0].post.remove(0);
    after.groups[2].vms[0].health.pop();
    assert_eq!(
        dropped(&before, &after),
        ["of the VM db-1: pg_isready in the guest", "the action point the name at this site"]
    );
    after.groups.remove(1);
    assert_eq!(dropped(&before, &after).len(), 2 + 1 + 2 * 2 + 1);
}

/// Everything goes well, until the run stands still.
fn carry_out(run: &mut Run, mut told: Vec<Told>) -> Vec<StepId> {
    let mut begun = Vec::new();
    while !told.is_empty() {
        let Told::Begin { step, attempt } = told.remove(0) else { panic!("nothing is to be stopped") };
        begun.push(step);
        let vm_id = VmId::from_random([u8::try_from(step.0).unwrap(); 10]);
        let output = Output {
            vm: Some((vm_id, format!("vm of {step}"))),
            moment_at: Some(at(-5)),
            addresses: vec!["10.2.0.5".to_owned()],
            ..Output::default()
        };
        told.extend(run.handle(Event::Ended { step, attempt, outcome: Outcome::Succeeded(output) }, at(9)));
    }
    begun
}

#[test]
fn a_test_runs_waits_for_a_person_and_is_cleaned_up() {
    let mut run = Run::begin(&example(), begin(Kind::Test), at(0));
    let told = run.handle(Event::Tick, at(0));
    carry_out(&mut run, told);
    assert_eq!(run.standing(), Standing::NeedsAnswer);
    let question = run.questions().next().unwrap();
    assert_eq!(question.work.title(), "look at the shop");
    let confirm = Command::Confirm { step: question.id, note: "ada: order 17".to_owned() };
    assert_eq!(run.command(confirm, at(20)).unwrap(), []);
    assert_eq!((run.standing().as_str(), run.recovered_at), ("recovered", Some(at(20))));
    assert!(run.command(Command::Commit, at(21)).is_err());
    let told = run.command(Command::CleanUp, at(30)).unwrap();
    let titles: Vec<_> = told
        .iter()
        .map(|told| match told {
            Told::Begin { step, .. } | Told::Stop { step, .. } => run.step(*step).unwrap().work.title(),
        })
        .collect();
    assert_eq!(titles[0], "remove the test of web-1", "those that came last go first");
    assert_eq!(titles.len(), 4);
    carry_out(&mut run, told);
    assert_eq!(run.standing().as_str(), "cleaned-up");
}

#[test]
fn a_planned_failover_shuts_down_in_reverse_and_is_committed_and_replicated_back() {
    let mut run = Run::begin(&example(), begin(Kind::Planned), at(0));
    let told = run.handle(Event::Tick, at(0));
    let begun = carry_out(&mut run, told);
    let titles: Vec<_> = begun.iter().map(|id| run.step(*id).unwrap().work.title()).collect();
    assert_eq!(
        titles[..5],
        ["check what is needed", "shut web-1 down", "shut app-1 down", "shut app-2 down", "shut db-1 down"]
    );
    assert!(titles.contains(&"set the addresses of db-1".to_owned()));
    let told = run.command(Command::Commit, at(30)).unwrap();
    assert_eq!(carry_out(&mut run, told).len(), 4);
    let told = run.command(Command::Reprotect, at(31)).unwrap();
    assert_eq!(carry_out(&mut run, told).len(), 4);
    assert_eq!(run.standing().as_str(), "reprotected");
}

#[test]
fn the_context_has_the_fields_of_azure_and_more() {
    let mut run = Run::begin(&example(), begin(Kind::Unplanned), at(0));
    let told = run.handle(Event::Tick, at(0));
    let begun = carry_out(&mut run, told);
    let switch = begun.iter().filter_map(|id| run.step(*id));
    let switch = switch.rev().find(|step| step.work.title() == "point the name at this site").unwrap();
    let site = |name: &str| Site { id: format!("{name}-id"), name: name.to_owned() };
    let sites = Sites { sources: vec![site("east")], target: site("west"), job_id: "j1".to_owned() };
    let context = context(&run, switch, &sites, false);
    assert_eq!(context["RecoveryPlanName"], "shop");
    assert_eq!(context["FailoverType"], "Unplanned");
    assert_eq!(context["FailoverDirection"], "PrimaryToSecondary");
    assert_eq!(context["GroupId"], "Group3");
    let database = run.vms()[&"db-1".parse().unwrap()].clone();
    let vm = &context["VmMap"][database.vm_id.unwrap().as_str()];
    assert_eq!(vm["RecoveryPointId"], json!(at(-5)));
    assert_eq!((&vm["ResourceGroupName"], &vm["SourceName"]), (&json!("west"), &json!("db-1")));
    assert!(
        vm["RoleName"].is_string() && vm["CloudServiceName"].is_string() && vm["SubscriptionId"].is_string()
    );
    assert_eq!(vm["Addresses"], json!(["10.2.0.5"]));
    assert_eq!(context["Results"]["tell the application where the database is"]["Succeeded"], true);
    assert_eq!((&context["Operator"], &context["DryRun"]), (&json!("ada"), &json!(false)));
    let environment = environment(&run, switch, &sites, false);
    assert!(environment.contains(&("HOLDFAST_FAILOVER_TYPE", "Unplanned".to_owned())));
}

/// docs/format.md describes it. A run that an older Holdfast kept is read for ever.
#[test]
fn a_run_that_was_kept_is_read_for_ever() {
    let mut run = Run::begin(&example(), begin(Kind::Planned), at(0));
    let told = run.handle(Event::Tick, at(0));
    carry_out(&mut run, told);
    let golden = include_str!("golden/run-1.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/golden/run-1.json");
        std::fs::write(path, run.encode() + "\n").unwrap();
    }
    assert_eq!(Run::decode(golden).unwrap(), run);
    assert_eq!(run.encode(), golden.trim_end());
    let newer = golden.replacen("\"format\":1", "\"format\":2", 1);
    assert_eq!(
        Run::decode(&newer).unwrap_err().to_string(),
        "the run has format 2, and this Holdfast knows 1"
    );
    for damaged in ["", "{}", "{\"format\":1}", &golden.replacen("\"id\":2", "\"id\":1", 1)] {
        assert!(Run::decode(damaged).unwrap_err().to_string().contains("damaged"));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in ".{0,200}") {
        let _ = read(&text, Format::Toml).map(|plan| validate(&plan));
        let _ = read(&text, Format::Yaml).map(|plan| validate(&plan));
        let _ = Run::decode(&text);
    }

    #[test]
    fn no_change_of_a_document_makes_reading_panic(place in 0usize..3000, byte in 0u8..128) {
        let mut bytes = example_text().as_bytes().to_vec();
        let place = place % bytes.len();
        bytes[place] = byte;
        if let Ok(text) = String::from_utf8(bytes) && let Ok(plan) = read(&text, Format::Toml) {
            let _ = validate(&plan);
            let mut run = Run::begin(&plan, begin(Kind::Planned), at(0));
            let _ = run.handle(Event::Tick, at(0));
        }
    }
}
