use super::{
    checksum::base64,
    xml::{element, elements, escaped_path, unescaped},
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

#[test]
fn all_elements_of_a_listing_are_found() {
    let document = "<R><V><K>a</K></V><D><K>b</K></D><V><K>c &amp;amp; &lt;d</K></V><V>unfinished";
    let keys: Vec<_> = elements(document, "V").map(|version| element(version, "K").unwrap()).collect();
    assert_eq!(keys, ["a", "c &amp;amp; &lt;d"]);
    assert_eq!(unescaped(keys[1]), "c &amp; <d");
}
