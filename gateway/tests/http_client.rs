//! The HTTP edge against doors that misbehave: what matters is whether a request can have arrived.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::time::Duration;

use stockwire_gateway::exchange::{
    Answer, Connector, Effect, Failure, Limits, Loss, Method, Outbound, Request, Secret,
};
use stockwire_gateway::io::http_client::HttpClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

struct Door(String);

impl Connector for Door {
    fn base_url(&self) -> &str {
        &self.0
    }
    fn authorize(&self, _session: Option<&Secret>) -> Vec<(&'static str, Secret)> {
        Vec::new()
    }
    fn judge(&self, _request: &Request, answer: &Answer) -> Option<Failure> {
        Failure::of_status(answer)
    }
    fn limits(&self) -> Limits {
        Limits {
            requests_per_s: 100,
            burst: 100,
            connect_wait: Duration::from_secs(2),
            answer_wait: Duration::from_millis(500),
            request_bytes_max: 1_000,
            answer_bytes_max: 1_000,
        }
    }
}

fn request() -> Outbound {
    let request = Request {
        name: "create",
        method: Method::Post,
        path: "/thing".into(),
        query: vec![("d", "W1tdXQ==".into()), ("f", "a b".into())],
        headers: vec![("x-context", "c".into())],
        body: Some(serde_json::json!({"quantity": 1.25})),
        effect: Effect::Once,
    };
    Outbound { request, credentials: vec![("authorization", Secret::new("Bearer k"))] }
}

/// A door that hands its one connection to `serve` after it has read a whole request.
async fn door<F, Fut>(serve: F) -> (Door, tokio::task::JoinHandle<String>)
where
    F: FnOnce(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}/base", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        while !text.ends_with("{\"quantity\":1.25}") {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "closed after {text:?}");
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        serve(stream).await;
        text
    });
    (Door(base), served)
}

async fn write(mut stream: TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_request_goes_out_as_it_was_built() {
    let (door, served) = door(|stream| async {
        let head = "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        write(stream, head).await;
    })
    .await;
    let answer = HttpClient::new(&door).unwrap().send(&request()).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (429, b"{}".as_slice()));
    assert_eq!(answer.retry_after(), Some(Duration::from_secs(7)));
    let text = served.await.unwrap();
    assert!(text.starts_with("POST /base/thing?d=W1tdXQ%3D%3D&f=a+b HTTP/1.1\r\n"), "{text}");
    for header in ["x-context: c", "authorization: Bearer k", "content-type: application/json"] {
        assert!(text.contains(&format!("\r\n{header}\r\n")), "{text}");
    }
}

#[tokio::test]
async fn what_can_have_arrived_is_an_unknown_outcome() {
    // Closed without a word, cut off in the middle, never answered, and far too long.
    let check = async |serve: fn(TcpStream) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let (door, served) = door(serve).await;
        let outcome = HttpClient::new(&door).unwrap().send(&request()).await;
        assert!(matches!(outcome, Err(Loss::NoAnswer { .. })), "{outcome:?}");
        served.abort();
    };
    check(|stream| Box::pin(async move { drop(stream) })).await;
    check(|stream| Box::pin(write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":"))).await;
    check(|stream| {
        Box::pin(async move {
            let _open = stream;
            std::future::pending::<()>().await;
        })
    })
    .await;
    check(|stream| {
        Box::pin(async move {
            let mut stream = stream;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{}", "x".repeat(2_000));
            // The client hangs up before all of it is written.
            let _ = stream.write_all(head.as_bytes()).await;
            std::future::pending::<()>().await;
        })
    })
    .await;
}

#[tokio::test]
async fn what_certainly_has_not_arrived_is_told_apart() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let closed = Door(format!("http://{}", listener.local_addr().unwrap()));
    drop(listener);
    let outcome = HttpClient::new(&closed).unwrap().send(&request()).await;
    assert!(matches!(outcome, Err(Loss::NotSent { .. })), "{outcome:?}");

    let mut vast = request();
    vast.request.body = Some(serde_json::json!("x".repeat(1_000)));
    let outcome = HttpClient::new(&closed).unwrap().send(&vast).await;
    assert!(matches!(outcome, Err(Loss::Unsendable { .. })), "{outcome:?}");

    let mut forged = request();
    forged.credentials[0].1 = Secret::new("k\r\nhost: elsewhere");
    let outcome = HttpClient::new(&closed).unwrap().send(&forged).await;
    assert!(matches!(outcome, Err(Loss::Unsendable { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (door, served) = door(|stream| async {
        write(stream, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let answer = HttpClient::new(&door).unwrap().send(&request()).await.unwrap();
    assert_eq!(answer.status, 302);
    served.await.unwrap();
}

#[test]
fn an_address_that_is_none_is_refused_at_the_start() {
    for url in ["", "erp", "ftp://erp", "http://"] {
        assert!(HttpClient::new(&Door(url.into())).is_err(), "{url}");
    }
    assert!(HttpClient::new(&Door("https://erp.example/db".into())).is_ok());
}
