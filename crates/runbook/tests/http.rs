//! HTTP calls, to a server on this host.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not know as such

use std::{collections::BTreeMap, time::Duration};

use runbook::{ErrorKind, HttpCall, Log};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn call(url: String) -> HttpCall {
    HttpCall {
        method: "POST".to_owned(),
        url,
        headers: BTreeMap::from([("x-site".to_owned(), "west".to_owned())]),
        body: "{\"plan\": \"shop\"}".to_owned(),
        time_limit: Duration::from_secs(30),
    }
}

/// Answers one call; what was asked comes back.
async fn answer(listener: TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0, "the call ends early");
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(asked).unwrap()
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn a_call_says_what_it_should_and_keeps_the_answer() {
    let (listener, url) = listen().await;
    let (log, call) = (Log::default(), call(url));
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\nfirst\nsecond";
    let (asked, answered) = tokio::join!(answer(listener, reply), call.make(&log));
    let answered = answered.unwrap();
    assert!(answered.is_success() && answered.last_line == "second", "{answered:?}");
    assert!(asked.starts_with("POST /hook HTTP/1.1\r\n") && asked.contains("x-site: west"), "{asked}");
    assert_eq!(log.text(), "HTTP 200\nfirst\nsecond");
}

#[tokio::test]
async fn a_redirection_is_an_answer_and_no_success() {
    let (listener, url) = listen().await;
    let (log, call) = (Log::default(), call(url));
    let reply = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let (_, answered) = tokio::join!(answer(listener, reply), call.make(&log));
    assert_eq!((answered.as_ref().unwrap().status, answered.unwrap().is_success()), (302, false));
}

#[tokio::test]
async fn no_answer_and_a_late_one_are_told_apart() {
    let (listener, url) = listen().await;
    let mut late = call(url.clone());
    late.time_limit = Duration::from_millis(300);
    assert_eq!(late.make(&Log::default()).await.unwrap_err().kind(), ErrorKind::TimedOut);
    drop(listener);
    let error = call(url).make(&Log::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn what_is_no_call_is_refused() {
    let good = call("http://127.0.0.1:1/".to_owned());
    let header = BTreeMap::from([("a b".to_owned(), "x\ny".to_owned())]);
    for bad in [
        HttpCall { url: "no url".to_owned(), ..good.clone() },
        HttpCall { method: "GE T".to_owned(), ..good.clone() },
        HttpCall { headers: header, ..good },
    ] {
        assert_eq!(bad.make(&Log::default()).await.unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
}
