//! A small HTTP server of one file, made as it is read and kept nowhere, and a client for it.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anabranch_interop::pattern::{Digest, Pattern, Tally};
use anabranch_interop::socket;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::meter::Meter;

/// Where the file is.
const PATH: &str = "/file";
/// Bytes made at a time.
const CHUNK: u64 = 64 << 10;

/// One transfer as both ends see it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The bytes that should go over.
    pub(crate) pattern: Pattern,
    /// How many.
    pub(crate) size: u64,
    /// At the receiver.
    pub(crate) meter: Meter,
    sent: Mutex<Option<Digest>>,
    received: Mutex<Option<Digest>>,
}

impl Exchange {
    /// `size` bytes of `pattern`.
    pub(crate) fn new(pattern: Pattern, size: u64) -> Arc<Exchange> {
        Arc::new(Exchange {
            pattern,
            size,
            meter: Meter::default(),
            sent: Mutex::new(None),
            received: Mutex::new(None),
        })
    }

    /// What the sender has sent, once it is through.
    pub(crate) fn sent(&self) -> Option<Digest> {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the receiver has read, once it is through.
    pub(crate) fn received(&self) -> Option<Digest> {
        *self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn body(self: &Arc<Exchange>) -> Sending {
        Sending {
            tally: Tally::new(self.pattern),
            exchange: Arc::clone(self),
        }
    }

    /// Reads a body to its end.
    async fn take(&self, mut body: Incoming) -> hyper::Result<()> {
        let mut tally = Tally::new(self.pattern);
        while let Some(frame) = next(&mut body).await {
            if let Ok(data) = frame?.into_data() {
                self.meter.arrived(Instant::now(), data.len());
                tally.update(&data);
            }
        }
        *self.received.lock().unwrap_or_else(PoisonError::into_inner) = Some(tally.digest());
        Ok(())
    }
}

async fn next(body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// The file on its way out.
#[derive(Debug)]
struct Sending {
    exchange: Arc<Exchange>,
    tally: Tally,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (at, size) = (self.tally.bytes(), self.exchange.size);
        if at == size {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; (size - at).min(CHUNK) as usize];
        self.exchange.pattern.fill(at, &mut chunk);
        self.tally.update(&chunk);
        if self.is_end_stream() {
            let digest = self.tally.digest();
            *self
                .exchange
                .sent
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(digest);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.tally.bytes() == self.exchange.size
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.exchange.size - self.tally.bytes())
    }
}

/// Serves the file until dropped.
#[derive(Debug)]
pub(crate) struct FileServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FileServer {
    /// Serves `down` to GET and takes `up` from PUT, on `addr` in the network namespace of the
    /// calling thread.
    pub(crate) fn start(
        protocol: socket::Protocol,
        addr: SocketAddr,
        down: Arc<Exchange>,
        up: Arc<Exchange>,
    ) -> io::Result<FileServer> {
        let listener = socket::listen(protocol, addr)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("files".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, down, up) => {}
                }
            });
        })?;
        Ok(FileServer {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it did, the transfer has failed and said so.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, down: Arc<Exchange>, up: Arc<Exchange>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let (down, up) = (Arc::clone(&down), Arc::clone(&up));
        let answer = service_fn(move |request| answer(request, Arc::clone(&down), Arc::clone(&up)));
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that goes away is noticed by the client's side of the transfer.
            let _ = connection
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    down: Arc<Exchange>,
    up: Arc<Exchange>,
) -> hyper::Result<Response<Sending>> {
    let empty = Exchange::new(up.pattern, 0);
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, PATH) => (StatusCode::OK, down.body()),
        (&Method::PUT, PATH) => {
            up.take(request.into_body()).await?;
            (StatusCode::NO_CONTENT, empty.body())
        }
        (_, PATH) => (StatusCode::METHOD_NOT_ALLOWED, empty.body()),
        _ => (StatusCode::NOT_FOUND, empty.body()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}

/// Fetches the file over `stream`.
pub(crate) async fn get(stream: TcpStream, exchange: &Arc<Exchange>) -> Result<(), String> {
    let response = request(stream, Method::GET, Exchange::new(exchange.pattern, 0)).await?;
    let told = response.body().size_hint().exact();
    if told != Some(exchange.size) {
        return Err(format!(
            "the server told of {told:?} bytes, not {}",
            exchange.size
        ));
    }
    exchange.take(response.into_body()).await.map_err(because)
}

/// Sends the file over `stream`, and waits until the server has all of it.
pub(crate) async fn put(stream: TcpStream, exchange: &Arc<Exchange>) -> Result<(), String> {
    request(stream, Method::PUT, Arc::clone(exchange))
        .await
        .map(drop)
}

async fn request(
    stream: TcpStream,
    method: Method,
    body: Arc<Exchange>,
) -> Result<Response<Incoming>, String> {
    let host = stream.peer_addr().map_err(|e| e.to_string())?.to_string();
    stream.set_nonblocking(true).map_err(|e| e.to_string())?;
    let stream = tokio::net::TcpStream::from_std(stream).map_err(|e| e.to_string())?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(because)?;
    // It ends with the response's body; errors come by the response.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(PATH)
        .header(hyper::header::HOST, host)
        .body(body.body())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(because)?;
    if !response.status().is_success() {
        return Err(format!("the server answered {}", response.status()));
    }
    Ok(response)
}

/// hyper's errors name their cause only when asked.
fn because(error: hyper::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_file_goes_down_and_up() {
        let size = 300_000;
        let (down, up) = (
            Exchange::new(Pattern::new(1), size),
            Exchange::new(Pattern::new(2), size),
        );
        let listener = socket::listen(socket::Protocol::Tcp, ([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::clone(&down), Arc::clone(&up)));
        let connect =
            || socket::connect(socket::Protocol::Tcp, None, addr, Duration::from_secs(10)).unwrap();
        get(connect(), &down).await.unwrap();
        put(connect(), &up).await.unwrap();
        for (exchange, seed) in [(&down, 1), (&up, 2)] {
            let right = Digest {
                bytes: size,
                sha256: Pattern::new(seed).sha256(size),
            };
            assert_eq!(exchange.sent(), Some(right));
            assert_eq!(exchange.received(), Some(right));
            assert_eq!(exchange.meter.read().bytes, size);
        }
    }
}
