//! Schedulers as an application meets them: where one allows no path, nothing hangs in silence.

use std::io::ErrorKind;

use crate::common::{Pair, bytes, read_all, run};
use anabranch_sockets::{MptcpInfo, Protocol, Scheduler, Stream};
use bytes::Bytes;

fn scheduler(text: &str) -> Scheduler {
    text.parse().unwrap()
}

fn mptcp(stream: &Stream) -> MptcpInfo {
    match stream.info().unwrap().protocol {
        Protocol::Mptcp(info) => info,
        Protocol::Tcp => panic!("plain TCP"),
    }
}

/// Writes until no path is allowed any more; what was taken.
async fn write_until_stuck(stream: &mut Stream, data: &Bytes) -> usize {
    let mut taken = 0;
    while taken < data.len() {
        let mut chunk = data.slice(taken..data.len().min(taken + 10_000));
        match stream.try_write_chunk(&mut chunk) {
            Ok(n) => taken += n,
            Err(error) if error.kind() == ErrorKind::QuotaExceeded => return taken,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("all {taken} bytes were taken");
}

#[test]
fn where_no_path_is_allowed_writing_fails_and_the_connection_says_why_until_one_is() {
    for settings in [
        "weighted:* quota=0",
        "weighted:* weight=0",
        "weighted:* quota=100K",
    ] {
        run(async {
            let pair = Pair::new();
            let (mut client, mut server) = pair.connected().await;
            client.set_scheduler(&scheduler(settings)).unwrap();
            let data = bytes(1, 1 << 20);
            let taken = write_until_stuck(&mut client, &data).await;
            assert!(
                taken > 0,
                "{settings}: it is known only once something waits"
            );
            assert!(mptcp(&client).stuck.is_some(), "{settings}");
            let again = client.write_chunk(data.slice(taken..)).await.unwrap_err();
            assert_eq!(again.kind(), ErrorKind::QuotaExceeded, "{settings}");
            // Another scheduler: on it goes, with what was taken before.
            client.set_scheduler(&scheduler("minrtt")).unwrap();
            assert_eq!(mptcp(&client).stuck, None, "{settings}");
            let rest = async {
                client.write_chunk(data.slice(taken..)).await.unwrap();
                client.finish().unwrap();
            };
            let (received, ()) = tokio::join!(read_all(&mut server), rest);
            assert!(received.unwrap() == data, "{settings}: other bytes");
        });
    }
}
