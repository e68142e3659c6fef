use super::*;

#[test]
fn a_link_leads_where_it_led_inside_its_volume() {
    for (path, target, expected) in [
        ("/vda/etc/link", "secret", "secret"),
        ("/vda/etc/link", "../usr/./x", "../usr/./x"),
        ("/vda/etc/link", "/usr/x", "../usr/x"),
        ("/vda/link", "/usr/x", "usr/x"),
        ("/vda/a/b/link", "/", "../.."),
        ("/vda/link", "/", "."),
        ("/vda/link", "../../etc/passwd", "etc/passwd"),
        ("/vda/a/link", "../..", ".."),
        ("/vda/a/link", "/../../etc", "../etc"),
        ("/vda/a/link", "b/../../../c", "b/../../c"),
    ] {
        let found = confined(path.as_bytes(), target.as_bytes());
        assert_eq!(String::from_utf8_lossy(&found), expected, "{path} -> {target}");
    }
}
