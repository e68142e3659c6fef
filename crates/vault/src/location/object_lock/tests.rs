use super::{
    checksum::base64,
    xml::{element, escaped_path},
};

/// RFC 4648, section 10.
#[test]
fn base64_is_that_of_the_standard() {
    for (text, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
    {
        assert_eq!(base64(text.as_bytes()), expected);
    }
}

#[test]
fn elements_are_found_by_name_and_only_when_they_hold_text() {
    let document = "<?xml?><A xmlns=\"x\"><B><Mode> COMPLIANCE\n</Mode></B><Mode>later</Mode></A>";
    assert_eq!(element(document, "Mode"), Some("COMPLIANCE"));
    assert_eq!(element(document, "B"), None);
    assert_eq!(element(document, "Days"), None);
    assert_eq!(element("<Mode>unfinished", "Mode"), None);
}

#[test]
fn paths_are_escaped_as_s3_signs_them() {
    assert_eq!(escaped_path("a b/c+d/é~"), "a%20b/c%2Bd/%C3%A9~");
}
