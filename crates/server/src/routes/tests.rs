use std::path::Path;

#[test]
fn the_committed_description_is_that_of_the_code() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::create_dir_all(committed.parent().unwrap()).unwrap();
        std::fs::write(&committed, super::openapi()).unwrap();
    }
    assert!(
        std::fs::read_to_string(&committed).unwrap_or_default() == super::openapi(),
        "docs/openapi.json is outdated: run UPDATE_OPENAPI=1 cargo test -p server description"
    );
}
