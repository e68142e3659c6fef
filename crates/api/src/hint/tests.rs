use super::shell_word;

#[test]
fn words_survive_a_shell() {
    assert_eq!(shell_word("/srv/hold-fast_1"), "/srv/hold-fast_1");
    assert_eq!(shell_word("a b"), "'a b'");
    assert_eq!(shell_word("it's"), r"'it'\''s'");
    assert_eq!(shell_word(""), "''");
    assert_eq!(shell_word("$(reboot)"), "'$(reboot)'");
}
