//! Packets of a namespace, judged as they pass; the last ones are kept for a pcap file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{setsockopt, sockopt};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Judge;

/// ETH_P_ALL, as packet sockets want it: in network order.
const ALL: i32 = (3u16).to_be() as i32;
/// What the kernel may queue while the judge is busy.
const QUEUE: usize = 256 << 20;
/// Bytes of the last packets that are kept.
const KEPT: usize = 64 << 20;
/// The largest packet a device hands over.
const PACKET_MAX: usize = 65_535 + 64;

/// A running capture of every interface of a namespace.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Recording>>,
}

/// What a capture saw.
#[derive(Debug)]
pub struct Recording {
    /// The judge of all packets.
    pub judge: Judge,
    last: VecDeque<(Duration, Vec<u8>)>,
    kept: usize,
}

impl Capture {
    /// Captures in the network namespace of the calling thread, for `judge`; needs `CAP_NET_RAW`.
    pub fn start(judge: Judge) -> io::Result<Self> {
        // Cooked: every packet begins with its network header, whatever the interface is.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ALL)))?;
        setsockopt(&socket, sockopt::RcvBufForce, &QUEUE)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("capture".into()).spawn({
            let stop = Arc::clone(&stop);
            move || record(socket, &stop, judge)
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the capture once the packets queued so far are read.
    pub fn stop(self) -> io::Result<Recording> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| io::Error::other("the capture panicked"))?
    }
}

fn record(mut socket: Socket, stop: &AtomicBool, judge: Judge) -> io::Result<Recording> {
    let mut recording = Recording {
        judge,
        last: VecDeque::new(),
        kept: 0,
    };
    let mut buffer = vec![0; PACKET_MAX];
    loop {
        match socket.read(&mut buffer) {
            Ok(n) => recording.packet(&buffer[..n]),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                if stop.load(Ordering::Relaxed) {
                    return Ok(recording);
                }
            }
            // An interface went down; the others go on.
            Err(e) if e.raw_os_error() == Some(nix::errno::Errno::ENETDOWN as i32) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

impl Recording {
    fn packet(&mut self, packet: &[u8]) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.judge.packet(now, packet);
        self.kept += packet.len();
        self.last.push_back((now, packet.to_vec()));
        while self.kept > KEPT
            && let Some((_, packet)) = self.last.pop_front()
        {
            self.kept -= packet.len();
        }
    }

    /// Writes the last packets to a pcap file.
    pub fn write_pcap(&self, path: &Path) -> io::Result<()> {
        let header = PcapHeader {
            datalink: DataLink::RAW,
            snaplen: PACKET_MAX as u32,
            ts_resolution: TsResolution::MicroSecond,
            endianness: Endianness::native(),
            ..PcapHeader::default()
        };
        let file = BufWriter::new(File::create(path)?);
        let mut writer = PcapWriter::with_header(file, header).map_err(io::Error::other)?;
        for (time, packet) in &self.last {
            let packet = PcapPacket::new(*time, packet.len() as u32, packet);
            writer.write_packet(&packet).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
