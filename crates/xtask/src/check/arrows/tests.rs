use serde_json::json;

use super::*;

fn metadata() -> Value {
    json!({ "packages": [
        { "name": "model", "dependencies": [{ "name": "serde", "kind": null }] },
        { "name": "vault", "dependencies": [
            { "name": "model", "kind": null, "path": "/model" },
            { "name": "testkit", "kind": "dev", "path": "/testkit" },
        ] },
        { "name": "testkit", "dependencies": [] },
    ] })
}

fn findings(page: &str) -> Vec<String> {
    compare(&listed(page).unwrap(), &declared(&metadata())).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn a_list_that_fits_has_no_findings() {
    let page = "text\n```arrows\nmodel ->\nvault -> model\n\ntestkit ->\n```\nother -> text\n";
    assert_eq!(findings(page), [""; 0]);
    let with_a_test_dependency = page.replace("vault -> model", "vault -> model testkit");
    assert_eq!(findings(&with_a_test_dependency), [""; 0]);
}

#[test]
fn every_difference_is_found() {
    let page = "```arrows\nmodel -> vault\nvault ->\nmuseum ->\n```\n";
    assert_eq!(
        findings(page),
        [
            "model -> vault is in ARCHITECTURE.md, but not in the manifest",
            "ARCHITECTURE.md does not know the crate testkit",
            "vault -> model is no arrow of ARCHITECTURE.md",
            "ARCHITECTURE.md has the crate museum, but there is none",
        ]
    );
}

#[test]
fn a_line_without_an_arrow_is_refused() {
    assert!(listed("```arrows\nmodel vault\n```\n").is_err());
}
