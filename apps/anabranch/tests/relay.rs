//! What one side of a served connection does reaches the other side.
//!
//! The client is a host of ours at the other end of a pipe; the service is a TCP socket of the
//! system on 127.0.0.1.

use std::future::{pending, ready};
use std::io::ErrorKind;
use std::net::SocketAddr;

use anabranch::serve::Server;
use anabranch::serve::args::{Listen, Target};
use anabranch::serve::backend::Backend;
use anabranch_drivers::pipe;
use anabranch_sockets::{Host, Limits, StackConfig, Stream};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BUFFER: usize = 128 * 1024;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// A server in front of `service`, and the host of its clients.
struct Scene {
    clients: Host,
    host: Host,
    server: Server,
}

impl Scene {
    async fn new(service: SocketAddr) -> Scene {
        let (near, far) = pipe(Default::default()).unwrap();
        let limits = Limits {
            recv_buffer: BUFFER,
            send_buffer: BUFFER,
            ..Limits::default()
        };
        let config = StackConfig {
            limits,
            ..StackConfig::default()
        };
        let host = Host::start(far, config.clone()).unwrap();
        let server = Server::new(host.clone());
        let target = Target {
            host: service.ip().to_string(),
            port: service.port(),
        };
        let backend = Backend::resolve(target).await.unwrap();
        server
            .serve(
                Listen {
                    addr: None,
                    port: 80,
                },
                backend,
            )
            .unwrap();
        Scene {
            clients: Host::start(near, config).unwrap(),
            host,
            server,
        }
    }

    async fn connect(&self) -> Stream {
        let from = "10.0.0.1:0".parse().unwrap();
        let to = "10.0.0.2:80".parse().unwrap();
        self.clients
            .connect(from, to, Default::default())
            .await
            .unwrap()
    }
}

/// A scene with one connection through it: client, service.
async fn connected() -> (Scene, Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scene = Scene::new(listener.local_addr().unwrap()).await;
    let client = scene.connect().await;
    let (service, _) = listener.accept().await.unwrap();
    (scene, client, service)
}

fn bytes(len: usize) -> Bytes {
    (0..len as u32)
        .map(|i| (i ^ i >> 8 ^ i >> 16) as u8)
        .collect()
}

async fn read_all(client: &mut Stream) -> Vec<u8> {
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    all
}

#[test]
fn bytes_both_ways_at_once() {
    run(async {
        let (_scene, client, service) = connected().await;
        let (mut client_read, mut client_write) = client.into_split();
        let (mut service_read, mut service_write) = service.into_split();
        let (up, down) = (bytes(5 << 20), bytes(4 << 20).slice(1..));
        let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
        tokio::join!(
            async {
                client_write.write_chunk(up.clone()).await.unwrap();
                client_write.finish().unwrap();
            },
            async {
                service_write.write_all(&down).await.unwrap();
                service_write.shutdown().await.unwrap();
            },
            async { client_read.read_to_end(&mut got_down).await.unwrap() },
            async { service_read.read_to_end(&mut got_up).await.unwrap() },
        );
        assert!(got_up == up && got_down == down);
    });
}

#[test]
fn the_clients_end_is_the_services_end() {
    run(async {
        let (_scene, mut client, mut service) = connected().await;
        client.write_all(b"question").await.unwrap();
        client.finish().unwrap();
        let mut question = String::new();
        service.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        service.write_all(b"answer").await.unwrap();
        drop(service);
        assert_eq!(read_all(&mut client).await, b"answer");
    });
}

#[test]
fn the_services_end_is_the_clients_end() {
    run(async {
        let (_scene, mut client, mut service) = connected().await;
        service.write_all(b"greeting").await.unwrap();
        service.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, b"greeting");
        client.write_all(b"still talking").await.unwrap();
        drop(client);
        let mut rest = String::new();
        service.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "still talking");
    });
}

#[test]
fn a_service_that_is_down_is_a_reset_until_it_is_up() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let scene = Scene::new(address).await;
        let mut client = scene.connect().await;
        let reset = client.read_chunk().await.unwrap_err();
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
        let listener = TcpListener::bind(address).await.unwrap();
        let mut client = scene.connect().await;
        let (mut service, _) = listener.accept().await.unwrap();
        service.write_all(b"up again").await.unwrap();
        drop(service);
        assert_eq!(read_all(&mut client).await, b"up again");
    });
}

#[test]
fn the_clients_reset_is_a_reset_to_the_service() {
    run(async {
        let (_scene, client, mut service) = connected().await;
        client.abort();
        let reset = service.read_u8().await.unwrap_err();
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_services_reset_is_a_reset_to_the_client() {
    run(async {
        let (_scene, mut client, service) = connected().await;
        service.set_zero_linger().unwrap();
        drop(service);
        let reset = client.read_chunk().await.unwrap_err();
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_client_that_has_finished_can_still_reset() {
    run(async {
        let (_scene, mut client, mut service) = connected().await;
        client.finish().unwrap();
        assert_eq!(service.read(&mut [0]).await.unwrap(), 0);
        client.abort();
        let error = service.ready(tokio::io::Interest::ERROR).await.unwrap();
        assert!(error.is_error());
        let reset = service.take_error().unwrap().unwrap();
        // Linux says EPIPE instead where the end had been read (tcp_reset).
        assert!(matches!(
            reset.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ));
    });
}

#[test]
fn a_service_that_has_finished_can_still_reset() {
    run(async {
        let (_scene, mut client, mut service) = connected().await;
        service.shutdown().await.unwrap();
        assert_eq!(client.read_chunk().await.unwrap(), None);
        service.set_zero_linger().unwrap();
        drop(service);
        let (_, mut write) = client.split();
        assert_eq!(
            write.closed().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn a_client_that_does_not_read_stops_the_service() {
    run(async {
        let (scene, mut client, mut service) = connected().await;
        let sent = bytes(64 << 20);
        let data = sent.clone();
        let writer = tokio::spawn(async move {
            service.write_all(&data).await.unwrap();
        });
        // Until nothing moves: both our buffers and the system's are full.
        let mut waiting = (0, 0);
        loop {
            let held = (scene.clients.memory(), scene.host.memory());
            if held == waiting && held.0 >= BUFFER / 2 && held.1 >= BUFFER / 2 {
                break;
            }
            waiting = held;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(!writer.is_finished());
        assert!(
            waiting.0 < 4 * BUFFER && waiting.1 < 4 * BUFFER,
            "{waiting:?} bytes held"
        );
        assert!(read_all(&mut client).await == sent);
        writer.await.unwrap();
    });
}

#[test]
fn a_service_that_does_not_read_stops_the_client() {
    run(async {
        let (_scene, mut client, mut service) = connected().await;
        let sent = bytes(64 << 20);
        let data = sent.clone();
        let (mut moved, mut waiting) = (0, usize::MAX);
        let mut rest = data.clone();
        // Until the client can hand over nothing for a while.
        while moved != waiting {
            waiting = moved;
            for _ in 0..20 {
                while let Ok(n) = client.try_write_chunk(&mut rest) {
                    moved += n;
                    assert!(!rest.is_empty(), "64 MiB fit where nobody reads");
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        let writer = tokio::spawn(async move {
            client.write_chunk(rest).await.unwrap();
            client.finish().unwrap();
            client
        });
        let mut received = Vec::new();
        service.read_to_end(&mut received).await.unwrap();
        assert!(received == sent);
        drop(service);
        assert_eq!(read_all(&mut writer.await.unwrap()).await, b"");
    });
}

#[test]
fn stopping_lets_connections_finish() {
    run(async {
        let (scene, mut client, mut service) = connected().await;
        let Scene {
            clients, server, ..
        } = scene;
        let stopping = tokio::spawn(server.stop(pending()));
        tokio::task::yield_now().await;
        let from = "10.0.0.1:0".parse().unwrap();
        let to = "10.0.0.2:80".parse().unwrap();
        let refused = clients
            .connect(from, to, Default::default())
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        client.write_chunk(bytes(1 << 20)).await.unwrap();
        client.finish().unwrap();
        let mut received = Vec::new();
        service.read_to_end(&mut received).await.unwrap();
        assert!(received == bytes(1 << 20));
        service.write_all(b"all").await.unwrap();
        drop(service);
        assert_eq!(read_all(&mut client).await, b"all");
        drop(client);
        assert!(stopping.await.unwrap());
    });
}

#[test]
fn stopping_at_once_resets_both_sides() {
    run(async {
        let (scene, mut client, mut service) = connected().await;
        let Scene {
            clients: _clients,
            host: _host,
            server,
        } = scene;
        assert!(!server.stop(ready(())).await);
        assert_eq!(
            client.read_chunk().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(
            service.read_u8().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    });
}
