//! What is asked for, what is printed, and what is only looked at.

use api::{Code, Problem, VmView};

use crate::{
    program::{holdfast, run},
    scripted::{Answer, ScriptedSite},
    views::{point, running, vm},
};

#[test]
fn json_is_the_apis_own() {
    let vms = vec![vm("web-1"), vm("서울 \"db\"/1")];
    let answer = vms.clone();
    let site = ScriptedSite::new(move |_| Answer::ok(&answer));
    let json = run(site.directory(), &["vm", "list", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Vec<VmView>>(&json.stdout).unwrap(), vms);
    let lines = run(site.directory(), &["vm", "ls", "-o", "jsonl"]);
    let parsed: Vec<VmView> = lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed, vms);
    let quiet = run(site.directory(), &["vm", "list", "-q"]);
    assert_eq!(quiet.stdout, format!("{}\n{}\n", vms[0].id, vms[1].id));
}

#[test]
fn an_empty_list_is_empty_and_says_so_elsewhere() {
    let site = ScriptedSite::new(|_| Answer::ok(&Vec::<VmView>::new()));
    let table = run(site.directory(), &["vm", "list"]);
    assert_eq!((table.exit, table.stdout.as_str()), (Some(0), ""));
    assert!(table.stderr.starts_with("no VMs yet; add one: holdfast vm add"), "{}", table.stderr);
    let json = run(site.directory(), &["vm", "list", "-o", "json"]);
    assert_eq!((json.stdout.as_str(), json.stderr.as_str()), ("[]\n", ""));
}

#[test]
fn times_have_the_zone_of_the_person() {
    let site = ScriptedSite::new(|_| Answer::ok(&vec![point()]));
    let output = holdfast(site.directory()).args(["point", "list"]).env("TZ", "Asia/Seoul").output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("2026-03-01 22:05:07 +09:00 ("), "{table}");
    assert!(table.contains(&format!("point:web-1/{}", point().id)), "{table}");
}

#[test]
fn names_of_every_kind_reach_the_server_whole() {
    for name in ["a b", "it's \"mine\"", "a/b?c#d%20", "서울", "..", &"한".repeat(300)] {
        let site = ScriptedSite::new(|_| Answer::problem(&Problem::new(Code::NotFound, "no such VM")));
        let run = run(site.directory(), &["vm", "show", name]);
        assert_eq!(run.exit, Some(4));
        let line = site.requests()[0].line.clone();
        let sent = line.strip_prefix("GET /v1/vms/").unwrap();
        assert_eq!(decoded(sent), name);
    }
}

fn decoded(segment: &str) -> String {
    assert!(!segment.contains('/'), "{segment}");
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_a_guest_says_does_not_drive_the_terminal() {
    let problem = Problem::new(Code::Failed, "the agent said \u{1b}]0;owned\u{7}");
    let site = ScriptedSite::new(move |line| match line {
        "GET /v1/vms" => Answer::ok(&vec![vm("web-1\u{1b}[2J")]),
        _ => Answer::problem(&problem),
    });
    for arguments in [&["vm", "list"][..], &["doctor"]] {
        let run = run(site.directory(), arguments);
        assert!(!run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'), "{run:?}");
    }
}

#[test]
fn paths_are_absolute_when_they_leave() {
    let site = ScriptedSite::new(|_| Answer::ok(&vm("web-1")));
    let directory = site.directory().canonicalize().unwrap();
    let mut command = holdfast(&directory);
    command.args(["vm", "add", "--qmp", "web-1.qmp", "--agent", "web-1.agent"]).current_dir(&directory);
    assert!(command.output().unwrap().status.success());
    let body = site.body("POST /v1/vms");
    assert_eq!(body["qmp"], directory.join("web-1.qmp").to_str().unwrap());
    assert_eq!(body["agent"], directory.join("web-1.agent").to_str().unwrap());
}

#[test]
fn protection_is_asked_for_as_it_was_written() {
    let site = ScriptedSite::new(|_| Answer::ok(&vm("web-1")));
    let arguments = "protect web-1 --vault main --consistency file-system --strict --freeze-limit 1500ms \
                     --read-limit 200MiB --pre-script /bin/pre";
    let run = run(site.directory(), &arguments.split_whitespace().collect::<Vec<_>>());
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    let expected = serde_json::json!({
        "vault": "main", "policy": null, "consistency": "file-system", "strict": true, "freeze_limit_ms": 1500,
        "read_limit_bytes_per_second": 200 << 20, "pre_script": "/bin/pre", "post_script": null,
    });
    assert_eq!(site.body("PUT /v1/vms/web-1/protection"), expected);
}

#[test]
fn a_dry_run_only_looks() {
    let site = ScriptedSite::new(|line| match line {
        line if line.starts_with("GET /v1/point?") => Answer::ok(&point()),
        "GET /v1/vms" => Answer::ok(&vec![vm("web-1")]),
        _ => Answer::ok(&vm("web-1")),
    });
    let disk = site.directory().join("vda.raw");
    std::fs::write(&disk, "precious").unwrap();
    let to = disk.to_str().unwrap();
    for (arguments, words) in [
        (&["vm", "remove", "web-1", "--dry-run"][..], "web-1"),
        (
            &["restore", "disk", "point:web-1/latest", "--to", to, "--replace", "--dry-run"],
            "replaces what is there",
        ),
        (&["restore", "vm", "point:web-1/latest", "--dry-run"], "a new directory of the site's own"),
    ] {
        let run = run(site.directory(), arguments);
        assert_eq!(run.exit, Some(0), "{}", run.stderr);
        assert!(run.stdout.contains(words), "{}", run.stdout);
    }
    assert!(site.requests().iter().all(|request| request.line.starts_with("GET ")), "{:?}", site.requests());
}

#[test]
fn a_vm_is_forgotten_without_a_question_where_nobody_can_answer() {
    let site = ScriptedSite::new(|line| match line {
        line if line.starts_with("DELETE") => Answer::Json(204, String::new()),
        _ => Answer::ok(&vm("web-1")),
    });
    let run = run(site.directory(), &["vm", "remove", "web-1"]);
    assert_eq!((run.exit, run.stdout.as_str()), (Some(0), ""), "{}", run.stderr);
    let deleted = format!("DELETE /v1/vms/{}", vm("web-1").id);
    assert!(site.requests().iter().any(|request| request.line == deleted), "{:?}", site.requests());
}

#[test]
fn a_disk_that_is_not_named_is_asked_about() {
    let two_disks = || {
        let mut point = point();
        point.disks.push(api::PointDiskView { name: "vdb".into(), ..point.disks[0].clone() });
        point
    };
    let site = ScriptedSite::new(move |line| match line {
        line if line.starts_with("GET /v1/point?") => Answer::ok(&two_disks()),
        _ => Answer::ok(&running("", 0)),
    });
    let run = run(site.directory(), &["restore", "disk", "point:web-1/latest", "--to", "x", "--dry-run"]);
    assert_eq!(run.exit, Some(4));
    assert!(run.stderr.contains("hint: add one of its disks: vda, vdb"), "{}", run.stderr);
}
