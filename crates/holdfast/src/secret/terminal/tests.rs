use super::read_secret;

fn typed(keys: &str) -> Option<String> {
    read_secret(&mut keys.as_bytes()).unwrap()
}

#[test]
fn a_line_can_be_edited_blindly() {
    assert_eq!(typed("open sesame\nrest").as_deref(), Some("open sesame"));
    assert_eq!(typed("aß한\u{7f}\u{7f}b\r").as_deref(), Some("ab"));
    assert_eq!(typed("\u{8}wrong\u{15}right\n").as_deref(), Some("right"));
    assert_eq!(typed("no line end").as_deref(), Some("no line end"));
    assert_eq!(typed("end\u{4}").as_deref(), Some("end"));
}

#[test]
fn giving_up_is_not_an_empty_passphrase() {
    assert_eq!(typed("abc\u{3}\n"), None);
    assert_eq!(typed("\u{4}"), None);
    assert_eq!(typed("\n").as_deref(), Some(""));
}

#[test]
fn a_passphrase_that_is_not_text_is_refused() {
    assert!(read_secret(&mut &b"\xff\n"[..]).is_err());
}
