//! A recovery plan is run on real guests: as a test, and when their site is lost.

use std::fs;

use anyhow::{Context, Result, ensure};
use api::{PlanRunView, PlanStepView, ReplicaStage, ReplicaView, VmView};
use model::{ByteCount, DiskFormat};
use serde_json::Value;
use testkit::{
    guest::GuestImage,
    site::Site,
    sites::{paired, until, until_protected},
    workload::WorkloadState,
};

use crate::fixture::words;

const VMS: [&str; 2] = ["db", "web"];

const PLAN: &str = r#"
version = 1
rto_seconds = 600

[[groups]]
name = "database"
vms = [{ name = "db", health = [
  { agent = true },
  { command = ["/bin/sh", "-c", "/usr/local/bin/verify boot | grep -F '\"problems\":[]'"] },
] }]

[[groups.post]]
name = "say who is primary"
guest = { vm = "db", command = ["/bin/sh", "-c", "echo \"$HOLDFAST_FAILOVER_TYPE $PATH\" >/data/said; echo '{\"variables\": {\"primary\": \"db it'\\''s\"}}'"] }

[[groups]]
name = "web"
vms = [{ name = "web", health = [{ agent = true }] }]

[[groups.post]]
name = "note it"
script = { command = ["sh", "-c", "cat >\"$0\"; echo \"$HOLDFAST_VARIABLE_PRIMARY\"", "NOTE"] }
"#;

async fn replicated(west: &Site, image: &GuestImage) -> Result<()> {
    for name in VMS {
        let directory = west.directory().join(name);
        fs::create_dir(&directory)?;
        let disks = image.create_disks(&directory, DiskFormat::Qcow2, ByteCount(32 << 20))?;
        west.add_vm(&disks.definition(name.parse()?)).await?;
        west.run(["vm", "start", name]).await?;
    }
    for name in VMS {
        // Its own program would only keep the machine busy.
        west.guest(name).await?.state_at_boot().await?;
        west.guest(name).await?.workload(&["pause"]).await?;
        west.json::<Value>(["replication", "start", name, "--to", "east"]).await?;
    }
    for name in VMS {
        until_protected(west, name).await?;
    }
    let create = ["replication", "group", "create", "shop", "--every", "500ms", "--vm", "db", "--vm", "web"];
    west.json::<Value>(create).await.map(drop)
}

fn step<'run>(run: &'run PlanRunView, title: &str) -> Result<&'run PlanStepView> {
    let mut steps = run.waves.iter().flat_map(|wave| &wave.lanes).flat_map(|lane| &lane.steps);
    steps.find(|step| step.title == title).with_context(|| format!("no {title}: {run:#?}"))
}

/// Runs the plan, and has everything be as the plan says.
async fn run(east: &Site, words: &[&str], kind: &str) -> Result<PlanRunView> {
    let command = ["plan", "run", "shop", "--point", "@shop"].into_iter().chain(words.iter().copied());
    let run: PlanRunView = east.json(command).await?;
    ensure!(run.standing == "recovered" && run.point.starts_with("@shop#"), "{run:#?}");
    ensure!(run.variables["primary"] == "db it's", "{run:#?}");
    ensure!(step(&run, "note it")?.attempts[0].text.contains("db it's"), "{run:#?}");
    let note = fs::read_to_string(east.directory().join("note"))?;
    let told: Value = serde_json::from_str(&note)?;
    ensure!(
        told["FailoverType"] == kind && told["VmMap"].as_object().is_some_and(|vms| vms.len() == 2),
        "{note}"
    );
    println!("{kind}: RTO {:?} s, RPO {:?} s", run.rto_seconds, run.rpo_seconds);
    Ok(run)
}

/// What the guest of a VM of the run has found, and what an action has left in it.
async fn look(east: &Site, run: &PlanRunView, vm: &str) -> Result<(WorkloadState, String)> {
    let name = run.vms.iter().find(|one| one.name == vm).and_then(|one| one.vm_name.clone());
    let guest = east.guest(&name.context("it is not up")?).await?;
    let said = guest.exec(&["/bin/sh", "-c", "cat /data/said || true"]).await?;
    Ok((guest.state_at_boot().await?.sound()?, said))
}

#[tokio::test]
async fn a_plan_brings_real_guests_up_as_a_test_and_when_their_site_is_lost() -> Result<()> {
    let image = GuestImage::obtain()?;
    let (east, mut west) = paired().await?;
    replicated(&west, &image).await?;
    let written = west.guest("db").await?.state_now().await?.sound()?;
    let (plan, note) = (east.directory().join("shop.toml"), east.directory().join("note"));
    fs::write(&plan, PLAN.replace("NOTE", &note.display().to_string()))?;
    east.run(words!["plan", "create", "shop", plan]).await?;
    let findings: Vec<Value> = east.json(["plan", "validate", "--plan", "shop"]).await?;
    ensure!(findings.is_empty(), "{findings:?}");

    let tested = run(&east, &["--test"], "Test").await?;
    let (found, said) = look(&east, &tested, "db").await?;
    ensure!(found.root_last >= written.data_last, "{found:?} is less than {written:?}");
    ensure!(said.starts_with("Test ") && said.contains("/sbin"), "{said}");
    let cleaned: PlanRunView = east.json(["plan", "cleanup", "shop"]).await?;
    ensure!(cleaned.standing == "cleaned-up", "{cleaned:#?}");
    ensure!(east.json::<Vec<VmView>>(["vm", "list"]).await?.is_empty(), "a VM of the test was left");
    for name in VMS {
        until_protected(&west, name).await?;
    }

    west.cut_power().await?;
    fs::remove_file(&note)?;
    let recovered = run(&east, &["--unplanned", "--yes"], "Unplanned").await?;
    let (found, said) = look(&east, &recovered, "db").await?;
    ensure!(found.root_last >= written.data_last, "{found:?} is less than {written:?}");
    ensure!(said.starts_with("Unplanned "), "{said}");
    let committed: PlanRunView = east.json(["plan", "commit", "shop", "--yes"]).await?;
    ensure!(committed.standing == "committed", "{committed:#?}");
    for name in VMS {
        let replica: ReplicaView = east.json(["replica", "show", name]).await?;
        ensure!(replica.stage == ReplicaStage::Committed, "{replica:?}");
    }

    west.start_server().await?;
    for name in VMS {
        until(&west, name, "fenced", |view| view.state == api::ReplicationState::Fenced).await?;
    }
    let reprotected: PlanRunView = east.json(["plan", "reprotect", "shop"]).await?;
    ensure!(reprotected.standing == "reprotected", "{reprotected:#?}");
    for name in VMS {
        until_protected(&east, name).await?;
    }
    Ok(())
}
