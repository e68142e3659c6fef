use api::{Code, Problem};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::site::TestSite;

/// Sends a request as it is, and returns the answer's head and body.
async fn send(site: &TestSite, method: &str, path: &str, head: &str, body: &str) -> (String, String) {
    let mut stream = UnixStream::connect(api::socket_path(site.directory.path())).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let site = TestSite::start().await;
    let json = "content-type: application/json\r\n";
    for (method, path, head, body, code) in [
        ("GET", "/v2/nothing", "", "", Code::NotFound),
        ("PATCH", "/v1/vms", "", "", Code::Invalid),
        ("POST", "/v1/vms", json, "{", Code::Invalid),
        ("POST", "/v1/vms", json, r#"{"nam": "x"}"#, Code::Invalid),
        ("POST", "/v1/vms", json, "[1]", Code::Invalid),
        ("POST", "/v1/vms", "", "{}", Code::Invalid),
        ("GET", "/v1/vms/%ff", "", "", Code::Invalid),
        ("GET", "/v1/vms/nobody", "", "", Code::NotFound),
        ("GET", "/v1/jobs?limit=many", "", "", Code::Invalid),
        ("GET", "/v1/point", "", "", Code::Invalid),
        ("GET", "/v1/jobs/nothing/events", "", "", Code::NotFound),
    ] {
        let (answer, document) = send(&site, method, path, head, body).await;
        let problem: Problem =
            serde_json::from_str(&document).unwrap_or_else(|_| panic!("{method} {path}: {document}"));
        assert_eq!(problem.code, code, "{method} {path}: {problem:?}");
        assert!(answer.starts_with(&format!("http/1.1 {}", problem.status)), "{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        assert!(!problem.detail.is_empty());
    }
}

#[tokio::test]
async fn the_description_is_served() {
    let site = TestSite::start().await;
    let (head, body) = send(&site, "GET", "/v1/openapi.json", "", "").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(body == server::openapi());
}
