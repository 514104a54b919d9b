//! A small HTTP server on loopback, which answers as the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a path is answered with.
#[derive(Clone)]
pub(super) enum Answer {
    /// 200 with this body.
    Body(Vec<u8>),
    /// These bytes, whatever they are; then the end.
    Raw(Vec<u8>),
    /// Nothing, with the connection kept open.
    Silence,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, Answer>,
    asked: Vec<String>,
}

/// Runs until it is dropped.
pub(super) struct Server {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Server { url, state, task }
    }

    pub(super) fn answer(&self, path: &str, answer: Answer) {
        let mut state = self.state.lock().unwrap();
        state.answers.insert(path.to_owned(), answer);
    }

    /// With TLS, under the name `localhost`.
    pub(super) async fn start_tls(acceptor: TlsAcceptor) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that refuses the certificate is the test's business.
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, shared.clone()).await;
                }
            }
        });
        let url = format!("https://localhost:{port}");
        Server { url, state, task }
    }

    /// Describes itself as an issuer with these keys.
    pub(super) fn publish(&self, keys: &[serde_json::Value]) {
        let description = serde_json::json!({
            "issuer": self.url, "jwks_uri": format!("{}/keys", self.url),
        });
        let description = description.to_string().into_bytes();
        self.answer(
            "/.well-known/openid-configuration",
            Answer::Body(description),
        );
        self.answer("/keys", Answer::Body(crate::testkit::jwks(keys)));
    }

    /// How often a path was asked for.
    pub(super) fn asked(&self, path: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| *asked == path).count()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
    let text = String::from_utf8(request).unwrap();
    let path = text.split(' ').nth(1).unwrap().to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        state.asked.push(path.clone());
        state.answers.get(&path).cloned()
    };
    let bytes = match answer {
        Some(Answer::Body(body)) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        }
        Some(Answer::Raw(bytes)) => bytes,
        Some(Answer::Silence) => {
            // Until the client goes away.
            drop(stream.read(&mut [0; 1]).await);
            return;
        }
        None => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
    };
    // A client that has read enough may be gone.
    drop(stream.write_all(&bytes).await);
    drop(stream.shutdown().await);
}
