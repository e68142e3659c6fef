//! Files restored into guests: what is refused before anything is started for it.

use api::{Code, RestoreFilesRequest};

use crate::site::{TestSite, code, problem};

fn request(reference: &str, vm: &str, to: Option<&str>) -> RestoreFilesRequest {
    RestoreFilesRequest {
        reference: reference.to_owned(),
        paths: vec!["/root/etc".to_owned()],
        vm: vm.to_owned(),
        to: to.map(str::to_owned),
        ..RestoreFilesRequest::default()
    }
}

#[tokio::test]
async fn what_cannot_get_into_a_guest_is_refused_with_what_can_be_done() {
    let site = TestSite::start().await;
    site.protected_guest("web-1").await;
    let point = site.backup("web-1").await;
    site.add_guest("other", vec![0; 4096]).await;
    let reference = format!("point:web-1/{}", point.id);
    let restore = |request| {
        let client = site.client.clone();
        async move { client.restore_files(&request).await }
    };

    let none = RestoreFilesRequest { paths: Vec::new(), ..request(&reference, "web-1", None) };
    assert_eq!(code(restore(none).await), Code::Invalid);
    let root = RestoreFilesRequest { paths: vec!["/".to_owned()], ..request(&reference, "web-1", None) };
    assert_eq!(code(restore(root).await), Code::Invalid);
    let up = RestoreFilesRequest { paths: vec!["/v/../x".to_owned()], ..request(&reference, "web-1", None) };
    assert_eq!(code(restore(up).await), Code::Invalid);
    assert_eq!(code(restore(request(&reference, "nobody", None)).await), Code::NotFound);
    let refused = problem(restore(request(&reference, "other", None)).await);
    assert_eq!(refused.code, Code::Invalid);
    assert!(refused.hint.unwrap().contains("--to"));

    // The guest of this fake has no agent.
    let job = restore(request(&reference, "web-1", Some("/tmp"))).await.unwrap();
    let failed = site.failure(&job).await;
    assert_eq!(failed.code, Code::Conflict);
    assert!(failed.detail.contains("has no guest agent"), "{failed:?}");

    site.hypervisor.edit(&site.path("web-1"), |vm| vm.power = hypervisor::Power::Stopped);
    let refused = problem(restore(request(&reference, "web-1", Some("/tmp"))).await);
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.detail.contains("does not run"), "{refused:?}");
}
