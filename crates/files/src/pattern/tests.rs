use super::*;

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::parse(pattern.as_bytes()).unwrap().matches(name.as_bytes())
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, name) in [
        ("a", "a"),
        ("*", ""),
        ("*.conf", "x.conf"),
        ("a*b*c", "a-b-b-c"),
        ("??", "ab"),
        (r"\*", "*"),
        ("*a", "aaa"),
    ] {
        assert!(matches(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in
        [("a", "ab"), ("", "a"), ("?", ""), ("*.conf", "x.conf~"), (r"\*", "a"), ("a*b", "a-c")]
    {
        assert!(!matches(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn many_stars_end() {
    assert!(!matches(&"*a".repeat(500), &"a".repeat(499)));
}
