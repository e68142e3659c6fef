use super::*;

#[test]
fn a_path_is_a_volume_and_names() {
    let path = FilePath::parse(b"//root-1/./etc/\xffname/").unwrap();
    assert_eq!(path.volume(), Some(&b"root-1"[..]));
    assert_eq!(path.inside(), b"etc/\xffname");
    assert_eq!(path.to_bytes(), b"/root-1/etc/\xffname");
    assert_eq!(path.to_string(), "/root-1/etc/\u{FFFD}name");
}

#[test]
fn the_root_has_no_volume() {
    assert_eq!(FilePath::parse(b"/").unwrap(), FilePath::default());
    assert_eq!(FilePath::default().volume(), None);
    assert_eq!(FilePath::default().to_bytes(), b"/");
}

#[test]
fn what_leads_elsewhere_is_refused() {
    for path in [&b"/a/../b"[..], b"..", b"/a/b\0c"] {
        assert_eq!(FilePath::parse(path).unwrap_err().kind(), ErrorKind::Invalid);
    }
    for name in [&b""[..], b".", b"..", b"a/b", b"/a", b"a\0", &[b'a'; 1000]] {
        assert!(!is_name(name), "{name:?}");
    }
}
