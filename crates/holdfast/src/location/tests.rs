use super::store_url;

#[test]
fn a_path_is_a_store_too() {
    let here = std::env::current_dir().unwrap();
    assert_eq!(store_url("/srv/my vault").unwrap(), "file:///srv/my%20vault");
    assert_eq!(store_url("v").unwrap(), format!("file://{}/v", here.display()));
    assert_eq!(store_url("./s3:b").unwrap(), format!("file://{}/s3:b", here.display()));
}

#[test]
fn urls_pass_unchanged() {
    let url = "s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=x";
    assert_eq!(store_url(url).unwrap(), url);
}

#[test]
fn what_is_neither_is_refused_with_the_forms_to_write() {
    for text in ["s3:bucket", "az:account/container", "://", "s3://[oops"] {
        let error = store_url(text).unwrap_err().to_string();
        assert!(error.contains("hint: write a path, file:///"), "{text}: {error}");
    }
}
