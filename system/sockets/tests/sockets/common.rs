//! Two hosts in one process, joined by a pipe.

use std::future::Future;
use std::net::SocketAddr;

use anabranch_drivers::pipe::{PipeConfig, pipe};
use anabranch_sockets::{ConnectConfig, Host, ListenConfig, Listener, StackConfig, Stream};
use bytes::Bytes;

pub(crate) const CLIENT: &str = "10.0.0.1:0";
pub(crate) const SERVER: &str = "10.0.0.2:80";

pub(crate) struct Pair {
    pub(crate) client: Host,
    pub(crate) server: Host,
}

impl Pair {
    pub(crate) fn new() -> Pair {
        // What a test writes before it reads has to fit.
        let mut config = StackConfig::default();
        config.tcp.buffers.send_initial = 8 << 20;
        Pair::with(PipeConfig::default(), config)
    }

    pub(crate) fn with(link: PipeConfig, config: StackConfig) -> Pair {
        let (a, b) = pipe(link).unwrap();
        let client = Host::start(a, config.clone()).unwrap();
        let server = Host::start(b, config).unwrap();
        Pair { client, server }
    }

    pub(crate) fn listen(&self) -> Listener {
        self.server.listen(ListenConfig::at(addr(SERVER))).unwrap()
    }

    pub(crate) async fn connect(&self) -> std::io::Result<Stream> {
        self.client
            .connect(addr(CLIENT), addr(SERVER), ConnectConfig::default())
            .await
    }

    /// Both ends of one connection, client first.
    pub(crate) async fn connected(&self) -> (Stream, Stream) {
        let listener = self.listen();
        let (client, server) = tokio::join!(self.connect(), listener.accept());
        (client.unwrap(), server.unwrap())
    }
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Runs `test` on one thread, in time that passes only while everybody waits.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// `len` bytes that no other `seed` gives.
pub(crate) fn bytes(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(len);
    data.into()
}

/// Everything until the peer has finished.
pub(crate) async fn read_all(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.read_chunk().await? {
        assert!(!chunk.is_empty(), "an empty chunk says nothing");
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}
