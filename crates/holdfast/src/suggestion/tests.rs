use super::aimed_at;

#[test]
fn every_command_names_the_site_and_nothing_else_changes() {
    for (text, expected) in [
        (
            "see them with: holdfast vault list; make one: holdfast vault create NAME",
            "see them with: holdfast --data-dir /d vault list; make one: holdfast --data-dir /d vault create NAME",
        ),
        (
            "make it whole first: holdfast vm show tells how",
            "make it whole first: holdfast --data-dir /d vm show tells how",
        ),
        ("start it: holdfast serve --data-dir /other", "start it: holdfast serve --data-dir /other"),
        ("another holdfast is there already", "another holdfast is there already"),
        ("look into /var/lib/holdfast job by job", "look into /var/lib/holdfast job by job"),
    ] {
        assert_eq!(aimed_at(text, "/d"), expected);
    }
}
