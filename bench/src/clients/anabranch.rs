//! anabranch's client, through its sockets.

use anabranch_drivers::Tun;
use anabranch_sockets::{ConnectConfig, Host, PathConfig, StackConfig, Stream};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;

use super::OURS;
use crate::cpu::Meter;
use crate::lab::Direction;
use crate::work::{Length, Sample};

const CHUNK: usize = 256 << 10;

/// Moves bytes over two subflows.
pub(super) fn transfer(
    tun: Tun,
    to: SocketAddr,
    direction: Direction,
    length: Length,
) -> io::Result<Sample> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let host = Host::start(tun, StackConfig::default())?;
        let paths = PathConfig::from_addresses(OURS.map(Into::into));
        let config = ConnectConfig::default();
        let mut stream = host.connect_from(paths, to, config, Bytes::new()).await?;
        move_for(&mut stream, direction, length.warm_up()).await?;
        let sample = move_for(&mut stream, direction, length.seconds).await?;
        stream.abort();
        Ok(sample)
    })
}

async fn move_for(stream: &mut Stream, direction: Direction, seconds: f64) -> io::Result<Sample> {
    let zeroes = Bytes::from(vec![0; CHUNK]);
    let mut meter = Meter::start()?;
    while meter.seconds() < seconds {
        match direction {
            Direction::Upload => {
                stream.write_chunk(zeroes.clone()).await?;
                meter.moved(CHUNK);
            }
            Direction::Download => {
                let chunk = stream.read_chunk().await?;
                meter.moved(chunk.ok_or(io::ErrorKind::UnexpectedEof)?.len());
            }
        }
    }
    meter.finish()
}
