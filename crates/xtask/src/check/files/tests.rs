use super::*;

fn errors_and_warnings(path: &str, text: &str) -> (usize, usize) {
    let findings = check_file(path, text);
    let errors = findings.iter().filter(|finding| finding.is_error).count();
    (errors, findings.len() - errors)
}

#[test]
fn long_files_are_warned_about_and_longer_ones_refused() {
    assert_eq!(errors_and_warnings("crates/vault/src/pack.rs", &"\n".repeat(600)), (0, 0));
    assert_eq!(errors_and_warnings("crates/vault/src/pack.rs", &"\n".repeat(601)), (0, 1));
    assert_eq!(errors_and_warnings("crates/vault/src/pack.rs", &"\n".repeat(1001)), (1, 0));
    assert_eq!(errors_and_warnings("crates/vault/src/pack/tests.rs", &"\n".repeat(601)), (0, 0));
}

#[test]
fn names_that_say_nothing_are_refused() {
    assert_eq!(errors_and_warnings("crates/vault/src/pack_utils.rs", ""), (1, 0));
    assert_eq!(errors_and_warnings("crates/vault/src/pack/mod.rs", ""), (1, 0));
    assert_eq!(errors_and_warnings("crates/vault/src/commonplace.rs", ""), (0, 0));
}

#[test]
fn only_tests_take_everything_from_above() {
    let text = "use super::*;\n";
    assert_eq!(errors_and_warnings("crates/vault/src/pack.rs", text), (1, 0));
    assert_eq!(errors_and_warnings("crates/vault/src/pack/tests.rs", text), (0, 0));
}
