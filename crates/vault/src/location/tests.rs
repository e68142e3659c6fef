use std::net::TcpListener;

use super::StoreLocation;
use crate::ErrorKind;

#[test]
fn locations_are_read_or_refused_with_a_reason() {
    for text in [
        "/srv/v",
        "file:///srv/v",
        "s3://b/p?endpoint=http://127.0.0.1:9&region=r",
        "s3://b",
        "az://account/container/p",
        "gs://b/p",
        "gs://b?endpoint=http://127.0.0.1:9",
        "sftp://u@h/srv/v",
        "sftp://u@[::1]:2222/~/v",
    ] {
        assert!(StoreLocation::parse(text).is_ok(), "{text}");
    }
    for text in [
        "",
        "srv/v",
        "ftp://x/y",
        "s3://",
        "az://account",
        "s3://key:secret@b/p",
        "s3://b/p?acl=public",
        "gs://b/p?region=r",
        "file://host/x",
        "sftp://h/srv/v",
        "sftp://u@h",
        "sftp://u@h/",
        "sftp://u@h/srv?key=x",
        "sftp://u:secret@h/srv/v",
    ] {
        let error = StoreLocation::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn without_credentials_a_cloud_says_what_to_set() {
    // Where a machine of the cloud would answer, nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{closed}");
    let variables = [("AWS_METADATA_ENDPOINT", nobody.clone()), ("IDENTITY_ENDPOINT", nobody)];
    for (text, variable) in
        [("s3://b/p", "AWS_SECRET_ACCESS_KEY"), ("az://a/c/p", "AZURE_STORAGE_ACCOUNT_KEY")]
    {
        let location = StoreLocation::parse(text).unwrap().with_variables(variables.clone());
        let error = location.object_store().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{text}");
        assert!(error.guidance().unwrap().contains(variable), "{text}: {:?}", error.guidance());
    }
}

#[tokio::test]
async fn variables_are_used_and_never_shown() {
    let variables = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hush")];
    let location = StoreLocation::parse("s3://b/p").unwrap().with_variables(variables);
    assert!(location.object_store().await.is_ok());
    assert!(!format!("{location:?} {location}").contains("hush"));
}
