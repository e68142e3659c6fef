use std::{path::Path, sync::atomic::Ordering};

use api::{AddVm, Code, StopVm, VmOriginView};
use model::DiskFormat;

use crate::site::{TestSite, code, into_vault, pattern};

fn managed(name: &str, disk: &Path) -> AddVm {
    let definition = serde_json::json!({
        "name": name, "memory": "1GiB", "disk": [{"name": "root", "path": disk}],
    });
    AddVm { definition: Some(serde_json::from_value(definition).unwrap()), ..AddVm::default() }
}

#[tokio::test]
async fn any_name_goes_all_the_way_round() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    let long = "한".repeat(300);
    for (place, name) in
        ["a b", "it's \"mine\"", "a/b\\c", "서울 데이터베이스", long.as_str(), "..", "%2F?x=1#y", "latest"]
            .into_iter()
            .enumerate()
    {
        let socket = format!("qmp{place}");
        site.hypervisor.add_guest(&site.path(&socket), "guest", pattern(1));
        let added = AddVm { name: Some(name.to_owned()), ..site.external(&socket) };
        assert_eq!(site.client.add_vm(&added).await.unwrap().name, name);
        site.client.protect(name, &into_vault("main")).await.unwrap();
        let point = site.backup(name).await;
        assert_eq!(point.vm_name, name);
        let points = site.client.points(Some(name), false).await.unwrap();
        assert_eq!(points.iter().map(|point| point.id).collect::<Vec<_>>(), [point.id]);
        let reference = format!("point:{}/latest", name.replace('%', "%25").replace('/', "%2F"));
        let found = site.client.point(&reference).await.unwrap();
        assert_eq!((found.id, found.definition.is_some()), (point.id, true), "{reference}");
        site.client.remove_vm(name).await.unwrap();
        assert_eq!(code(site.client.vm(name).await), Code::NotFound);
    }
    for name in ["", " a", "a\nb", &"한".repeat(400)] {
        let added = AddVm { name: Some(name.to_owned()), ..site.external("qmp") };
        assert_eq!(code(site.client.add_vm(&added).await), Code::Invalid, "{name:?}");
    }
}

#[tokio::test]
async fn a_vm_takes_its_name_from_what_it_says() {
    let site = TestSite::start().await;
    site.hypervisor.add_guest(&site.path("qmp"), "the guest's own", pattern(1));
    let vm = site.client.add_vm(&site.external("qmp")).await.unwrap();
    assert_eq!((vm.name.as_str(), vm.origin), ("the guest's own", VmOriginView::External));
    assert_eq!(site.client.vm(vm.id.as_str()).await.unwrap().name, vm.name);
}

#[tokio::test]
async fn names_sockets_and_disks_belong_to_one_vm() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    site.hypervisor.add_guest(&site.path("other"), "db", pattern(1));
    assert_eq!(code(site.client.add_vm(&site.external("other")).await), Code::Conflict, "the name");
    let same = AddVm { name: Some("db2".to_owned()), ..site.external("db") };
    assert_eq!(code(site.client.add_vm(&same).await), Code::Conflict, "the socket");

    let disk = site.path("disk.img");
    std::fs::write(&disk, pattern(1)).unwrap();
    let vm = site.client.add_vm(&managed("own", &disk)).await.unwrap();
    assert_eq!((vm.origin, vm.power.as_str()), (VmOriginView::Managed, "stopped"));
    assert_eq!(vm.disks[0].format, DiskFormat::Raw, "the format was discovered");
    let link = site.path("link");
    std::os::unix::fs::symlink(&disk, &link).unwrap();
    assert_eq!(code(site.client.add_vm(&managed("thief", &link)).await), Code::Conflict, "the disk");
    assert_eq!(site.client.vms().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_definition_that_cannot_work_is_refused() {
    let site = TestSite::start().await;
    let disk = site.path("disk.img");
    std::fs::write(&disk, pattern(1)).unwrap();
    assert_eq!(code(site.client.add_vm(&AddVm::default()).await), Code::Invalid);
    assert_eq!(code(site.client.add_vm(&managed("a", Path::new("disk.img"))).await), Code::Invalid);
    assert_eq!(code(site.client.add_vm(&managed("a", &site.path("absent"))).await), Code::NotFound);
    assert_eq!(code(site.client.add_vm(&managed("a", site.directory.path())).await), Code::Invalid);
    let mut twice = managed("a", &disk);
    let definition = twice.definition.as_mut().unwrap();
    definition
        .disks
        .push(model::DiskDefinition { name: "data".parse().unwrap(), ..definition.disks[0].clone() });
    assert_eq!(code(site.client.add_vm(&twice).await), Code::Invalid, "one file twice");
    let mut both = managed("a", &disk);
    both.qmp = Some("/run/qmp".to_owned());
    assert_eq!(code(site.client.add_vm(&both).await), Code::Invalid);
    assert_eq!(code(site.client.add_vm(&site.external("nobody")).await), Code::Unreachable);
    assert_eq!(site.client.vms().await.unwrap(), []);
}

#[tokio::test]
async fn a_vm_that_does_not_answer_is_shown_as_such() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    site.hypervisor.is_silent.store(true, Ordering::Relaxed);
    let vms = site.client.vms().await.unwrap();
    assert_eq!((vms.len(), vms[0].power.as_str()), (1, "unreachable"));
    assert!(vms[0].unreachable_because.is_some());
    assert_eq!(vms[0].cpus, 1, "what was seen last is remembered");
    assert!(vms[0].latest_point.is_some());
}

#[tokio::test]
async fn managed_vms_are_started_stopped_and_removed() {
    let site = TestSite::start().await;
    let disk = site.path("disk.img");
    std::fs::write(&disk, pattern(1)).unwrap();
    site.client.add_vm(&managed("own", &disk)).await.unwrap();
    assert_eq!(site.client.start_vm("own").await.unwrap().power, "running");
    assert_eq!(code(site.client.remove_vm("own").await), Code::Conflict);
    assert_eq!(site.client.stop_vm("own", StopVm { force: false }).await.unwrap().power, "stopped");
    site.client.remove_vm("own").await.unwrap();
    assert!(disk.exists());

    site.add_guest("db", pattern(1)).await;
    assert_eq!(code(site.client.start_vm("db").await), Code::Conflict, "somebody else starts it");
}

#[tokio::test]
async fn nothing_is_done_to_a_vm_under_a_job() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.hypervisor.held.close();
    let job = site.submit_backup("db").await;
    site.hypervisor.held.reached().await;
    for refused in [
        site.client.remove_vm("db").await.map(|()| None),
        site.client.stop_vm("db", StopVm { force: true }).await.map(Some),
    ] {
        let problem = crate::site::problem(refused);
        assert_eq!(problem.code, Code::Conflict);
        assert!(problem.detail.contains(job.id.as_str()), "{}", problem.detail);
    }
    assert_eq!(site.client.vm("db").await.unwrap().current_job, Some(job.id), "but it can be looked at");
    site.hypervisor.held.open();
    site.end(&job).await;
}

#[tokio::test]
async fn protection_is_checked_when_it_is_set() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    assert_eq!(code(site.client.protect("db", &into_vault("absent")).await), Code::NotFound);
    let mut request = into_vault("main");
    request.pre_script = Some("relative".to_owned());
    assert_eq!(code(site.client.protect("db", &request).await), Code::Invalid);
    let text = site.path("text");
    std::fs::write(&text, "not a program").unwrap();
    request.pre_script = Some(text.display().to_string());
    assert_eq!(code(site.client.protect("db", &request).await), Code::Invalid, "not a program");
    request.pre_script = None;
    request.freeze_limit_ms = Some(0);
    assert_eq!(code(site.client.protect("db", &request).await), Code::Invalid);
    request.freeze_limit_ms = Some(2000);
    request.strict = true;
    let protection = site.client.protect("db", &request).await.unwrap().protection.unwrap();
    assert_eq!((protection.freeze_limit_ms, protection.strict), (2000, true));
}
