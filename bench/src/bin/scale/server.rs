//! The host whose heap is measured.

use anabranch_drivers::pipe::MeshEnd;
use anabranch_sockets::{Host, ListenConfig, Listener, StackConfig, Stream};
use anabranch_stack::Keepalive;
use bytes::Bytes;
use std::io;
use tokio::sync::{mpsc, oneshot};

pub(crate) const PORT: u16 = 80;
/// What a connection is used for before it is idle.
pub(crate) const REQUEST: usize = 100;
pub(crate) const ANSWER: usize = 20_000;

/// Serves until nobody asks any more how many connections have two subflows; everything it held is
/// given back then.
pub(crate) async fn serve(
    device: MeshEnd,
    mut asked: mpsc::UnboundedReceiver<oneshot::Sender<usize>>,
) -> io::Result<()> {
    let host = Host::start(device, config())?;
    let listener = host.listen(ListenConfig {
        backlog: 4096,
        ..ListenConfig::port(PORT)
    })?;
    tokio::spawn(accept(listener));
    while let Some(tell) = asked.recv().await {
        let all = host.connections();
        let joined = all.iter().filter(|it| it.subflows.len() == 2);
        // Who asked waits for the answer.
        let _ = tell.send(joined.count());
    }
    Ok(())
}

/// Connections have a timer each; limits are as high as need be.
pub(crate) fn config() -> StackConfig {
    let mut config = StackConfig {
        ephemeral: 1024..=65_535,
        ..StackConfig::default()
    };
    config.limits.flows = 1 << 20;
    config.limits.memory = 4 << 30;
    config.limits.half_open_joins = 4096;
    config.tcp.keepalive = Some(Keepalive::default());
    config
}

async fn accept(listener: Listener) {
    while let Ok(stream) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

/// Answers a request, and waits for the next.
async fn answer(mut stream: Stream) {
    let answer = Bytes::from_static(&[7; ANSWER]);
    let mut asked = 0;
    while let Ok(Some(chunk)) = stream.read_chunk().await {
        asked += chunk.len();
        while asked >= REQUEST {
            asked -= REQUEST;
            if stream.write_chunk(answer.clone()).await.is_err() {
                return;
            }
        }
    }
}
