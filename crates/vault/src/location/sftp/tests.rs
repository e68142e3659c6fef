use url::Url;

use super::SftpAddress;

fn address(url: &str) -> SftpAddress {
    SftpAddress::of_url(&Url::parse(url).unwrap()).unwrap()
}

#[test]
fn an_address_is_what_its_url_says() {
    let plain = address("sftp://backup@host.example/srv/a%20vault");
    assert_eq!((plain.user(), plain.host(), plain.port()), ("backup", "host.example", 22));
    assert_eq!(plain.directory(), "/srv/a vault");
    assert_eq!(plain.known_as(), "host.example");
    let other = address("sftp://a%40b@[::1]:2222/~/vault");
    assert_eq!((other.user(), other.host(), other.port()), ("a@b", "::1", 2222));
    assert_eq!(other.directory(), "vault");
    assert_eq!(other.known_as(), "[::1]:2222");
}
