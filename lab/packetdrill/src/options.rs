//! Socket options.

use crate::sndbuf::SendBuffer;
use crate::socket::Role;
use crate::sysctl::{self, Sysctl};
use crate::world::World;
use anabranch_cabi::{Errno, Result};
use anabranch_stack::Config;
use anabranch_tcp::SocketOption;
use anabranch_tcp::config::Keepalive;
use libc::{
    IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SO_ERROR, SO_KEEPALIVE, SO_LINGER, SO_RCVBUF, SO_SNDBUF,
    SO_TYPE, SO_ZEROCOPY, SOL_SOCKET, TCP_CONGESTION, TCP_CORK, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT,
    TCP_INFO, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_LINGER2, TCP_MAXSEG, TCP_NODELAY,
    TCP_QUICKACK, TCP_SYNCNT, TCP_USER_TIMEOUT,
};
use std::os::fd::RawFd;
use std::time::Duration;

const SO_TIMESTAMPING: i32 = 37;
const SO_TIMESTAMPING_NEW: i32 = 65;
const SO_MEMINFO: i32 = 55;
const TCP_NOTSENT_LOWAT: i32 = 25;
const TCP_CC_INFO: i32 = 26;
const TCP_FASTOPEN_KEY: i32 = 33;
const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
const TCP_INQ: i32 = 36;

/// What is set on a socket; of a connection, from when it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) nodelay: bool,
    pub(crate) cork: bool,
    pub(crate) send_buffer: SendBuffer,
    pub(crate) recv_buffer: Option<u32>,
    pub(crate) max_segment: Option<u16>,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) keep: Keepalive,
    pub(crate) linger: Option<Duration>,
    pub(crate) syn_retries: Option<u8>,
    pub(crate) user_timeout: u32,
    pub(crate) notsent_lowat: Option<u32>,
    pub(crate) congestion: Option<String>,
    pub(crate) zero_copy: bool,
    pub(crate) timestamping: u32,
    /// Position from which `SOF_TIMESTAMPING_OPT_ID` counts.
    pub(crate) stamp_base: u64,
    pub(crate) inq: bool,
    /// Queue length of TCP Fast Open for listeners; 0 off.
    pub(crate) fast_open: i32,
    pub(crate) fast_open_connect: bool,
    pub(crate) fast_open_key: Vec<u8>,
    pub(crate) fast_open_without_cookie: bool,
    /// How long connecting and sending wait (`SO_SNDTIMEO`).
    pub(crate) send_timeout: Option<Duration>,
    /// Type of service, without ECN.
    pub(crate) tos: u8,
}

impl Options {
    pub(crate) fn new(sysctl: &Sysctl) -> Options {
        Options {
            nodelay: false,
            cork: false,
            send_buffer: SendBuffer::new(sysctl.wmem[1]),
            recv_buffer: None,
            max_segment: None,
            keepalive: None,
            keep: sysctl::keepalive(),
            linger: None,
            syn_retries: None,
            user_timeout: 0,
            notsent_lowat: None,
            congestion: None,
            zero_copy: false,
            timestamping: 0,
            stamp_base: 0,
            inq: false,
            fast_open: 0,
            fast_open_connect: false,
            fast_open_key: Vec::new(),
            fast_open_without_cookie: false,
            send_timeout: None,
            tos: 0,
        }
    }

    /// Carries them over into the settings of a connection to be opened.
    pub(crate) fn apply(&self, config: &mut Config) {
        // Counted by `SendBuffer`, as Linux does.
        config.limits.send_buffer = 1 << 26;
        config.tcp.buffers.send_initial = 1 << 26;
        config.max_segment = self.max_segment;
        config.fast_open_without_cookie |= self.fast_open_without_cookie;
        config.tcp.fast_open_without_cookie |= self.fast_open_without_cookie;
        if let Some(buffer) = self.recv_buffer {
            config.limits.recv_buffer = buffer as usize;
        }
        for option in self.all() {
            // Their ranges were checked when they were set.
            let _ = config.tcp.set(&option);
        }
    }

    /// What the engine has an option for.
    fn all(&self) -> Vec<SocketOption> {
        let mut all = vec![
            SocketOption::NoDelay(self.nodelay),
            SocketOption::Cork(self.cork),
            SocketOption::Keepalive(self.keepalive),
            SocketOption::UserTimeout(self.user_timeout()),
        ];
        let congestion = self.congestion.as_deref().map(sysctl::algorithm);
        all.extend(congestion.map(SocketOption::Congestion));
        all.extend(self.syn_retries.map(SocketOption::SynRetries));
        all
    }

    fn user_timeout(&self) -> Option<Duration> {
        let millis = u64::from(self.user_timeout);
        (millis > 0).then(|| Duration::from_millis(millis))
    }
}

fn int(value: &[u8]) -> Result<i32> {
    let bytes = value.first_chunk().ok_or(Errno(libc::EINVAL))?;
    Ok(i32::from_ne_bytes(*bytes))
}

fn seconds(value: i32, most: i32) -> Result<Duration> {
    if !(1..=most).contains(&value) {
        return Err(Errno(libc::EINVAL));
    }
    Ok(Duration::from_secs(value.unsigned_abs().into()))
}

/// A limit of time; zero is none.
fn timeval(value: &[u8]) -> Result<Option<Duration>> {
    let word = |at: usize| {
        let bytes = value.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map(|bytes| i64::from_ne_bytes(*bytes).unsigned_abs())
    };
    let (Some(seconds), Some(micros)) = (word(0), word(8)) else {
        return Err(Errno(libc::EINVAL));
    };
    let time = Duration::from_secs(seconds) + Duration::from_micros(micros);
    Ok(Some(time).filter(|time| !time.is_zero()))
}

impl World {
    pub(crate) fn set_option(
        &mut self,
        fd: RawFd,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<()> {
        match level {
            SOL_SOCKET => self.set_socket_option(fd, name, value),
            IPPROTO_TCP => self.set_tcp_option(fd, name, value),
            IPPROTO_IP if name == libc::IP_TOS => {
                // A byte will do. The lowest bits are those of ECN, which TCP sets.
                let tos = int(value).map(|tos| tos as u8);
                let tos = tos.or(value.first().copied().ok_or(Errno(libc::EINVAL)))? & !3;
                self.socket(fd)?.options.tos = tos;
                Ok(())
            }
            // Hop limit, path MTU discovery: of no consequence here.
            IPPROTO_IP | IPPROTO_IPV6 => self.socket(fd).map(drop),
            _ => Err(Errno(libc::ENOPROTOOPT)),
        }
    }

    fn set_socket_option(&mut self, fd: RawFd, name: i32, value: &[u8]) -> Result<()> {
        let position = self.written(fd);
        let options = &mut self.socket(fd)?.options;
        match name {
            SO_SNDBUF => options
                .send_buffer
                .fix(int(value)?.clamp(2304, 1 << 29) as u32),
            SO_RCVBUF => options.recv_buffer = Some(int(value)?.clamp(1152, 1 << 30) as u32),
            SO_KEEPALIVE => options.keepalive = (int(value)? != 0).then_some(options.keep),
            SO_LINGER => {
                let on = int(value)? != 0;
                let time = int(value.get(4..).unwrap_or(&[]))?;
                let time = Duration::from_secs(time.unsigned_abs().into());
                options.linger = on.then_some(time);
            }
            SO_ZEROCOPY => options.zero_copy = int(value)? != 0,
            libc::SO_SNDTIMEO => options.send_timeout = timeval(value)?,
            SO_TIMESTAMPING | SO_TIMESTAMPING_NEW => {
                let bits = int(value)? as u32;
                if bits & crate::errors::OPT_ID & !options.timestamping != 0 {
                    options.stamp_base = position;
                }
                options.timestamping = bits;
            }
            _ => {}
        }
        if name == SO_KEEPALIVE {
            self.apply_option(fd, name)?;
        }
        Ok(())
    }

    fn set_tcp_option(&mut self, fd: RawFd, name: i32, value: &[u8]) -> Result<()> {
        let client = self.sysctl_now().client();
        let socket = self.socket(fd)?;
        let fresh = matches!(socket.role, Role::Fresh);
        let options = &mut socket.options;
        match name {
            TCP_NODELAY => options.nodelay = int(value)? != 0,
            TCP_CORK => options.cork = int(value)? != 0,
            TCP_MAXSEG => {
                let mss = int(value)?;
                if !(88..=32_767).contains(&mss) {
                    return Err(Errno(libc::EINVAL));
                }
                options.max_segment = Some(mss as u16);
            }
            TCP_KEEPIDLE => options.keep.time = seconds(int(value)?, 32_767)?,
            TCP_KEEPINTVL => options.keep.interval = seconds(int(value)?, 32_767)?,
            TCP_KEEPCNT => options.keep.probes = int(value)?.clamp(1, 127) as u8,
            TCP_SYNCNT => options.syn_retries = Some(int(value)?.clamp(1, 127) as u8),
            TCP_USER_TIMEOUT => options.user_timeout = int(value)? as u32,
            TCP_NOTSENT_LOWAT => options.notsent_lowat = Some(int(value)? as u32),
            TCP_CONGESTION => {
                options.congestion = Some(String::from_utf8_lossy(value).into_owned());
            }
            TCP_INQ => options.inq = int(value)? != 0,
            TCP_FASTOPEN => options.fast_open = int(value)?,
            TCP_FASTOPEN_CONNECT if !client => return Err(Errno(libc::EOPNOTSUPP)),
            TCP_FASTOPEN_CONNECT if fresh => options.fast_open_connect = int(value)? != 0,
            TCP_FASTOPEN_CONNECT => return Err(Errno(libc::EINVAL)),
            TCP_FASTOPEN_NO_COOKIE if fresh => {
                options.fast_open_without_cookie = int(value)? != 0;
            }
            TCP_FASTOPEN_NO_COOKIE => return Err(Errno(libc::EINVAL)),
            TCP_FASTOPEN_KEY => match value.len() {
                16 | 32 => options.fast_open_key = value.to_vec(),
                _ => return Err(Errno(libc::EINVAL)),
            },
            TCP_QUICKACK | TCP_LINGER2 => {}
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        }
        if options.keepalive.is_some() {
            options.keepalive = Some(options.keep);
        }
        self.renew(fd)?;
        self.apply_option(fd, name)
    }

    /// Of the whole host: its listeners share their keys.
    pub(crate) fn set_fast_open_key(&mut self, value: &[u8]) -> Result<()> {
        let (first, rest) = value.split_first_chunk().ok_or(Errno(libc::EINVAL))?;
        let second = match rest {
            [] => None,
            rest => Some(<[u8; 16]>::try_from(rest).map_err(|_| Errno(libc::EINVAL))?),
        };
        self.stack.set_fast_open_keys(*first, second);
        Ok(())
    }

    /// Carries an option over to the connection there is.
    fn apply_option(&mut self, fd: RawFd, name: i32) -> Result<()> {
        let now = self.now;
        let socket = self.socket(fd)?;
        let options = &socket.options;
        let option = match name {
            TCP_NODELAY => SocketOption::NoDelay(options.nodelay),
            TCP_CORK => SocketOption::Cork(options.cork),
            TCP_USER_TIMEOUT => SocketOption::UserTimeout(options.user_timeout()),
            TCP_SYNCNT => SocketOption::SynRetries(options.syn_retries.unwrap_or(6)),
            TCP_KEEPIDLE | TCP_KEEPINTVL | TCP_KEEPCNT | SO_KEEPALIVE => {
                SocketOption::Keepalive(options.keepalive)
            }
            _ => return Ok(()),
        };
        if let Some(flow) = socket.flow() {
            // A connection that is over has no options any more.
            let _ = self.stack.set_option(now, flow, &option);
        }
        Ok(())
    }

    pub(crate) fn get_option(
        &mut self,
        fd: RawFd,
        level: i32,
        name: i32,
        room: usize,
    ) -> Result<Vec<u8>> {
        match (level, name) {
            (SOL_SOCKET, SO_MEMINFO) => {
                self.socket(fd)?;
                return Ok(vec![0; 36]);
            }
            (IPPROTO_TCP, TCP_INFO) => return self.tcp_info(fd),
            (IPPROTO_TCP, TCP_CC_INFO) => {
                self.socket(fd)?;
                return Ok(Vec::new());
            }
            (IPPROTO_TCP, TCP_FASTOPEN_KEY) => {
                return Ok(self.socket(fd)?.options.fast_open_key.clone());
            }
            (IPPROTO_TCP, TCP_CONGESTION) => {
                let otherwise = self.sysctl.congestion.clone();
                let mut name = self
                    .socket(fd)?
                    .options
                    .congestion
                    .clone()
                    .unwrap_or(otherwise)
                    .into_bytes();
                name.resize(room.min(16), 0);
                return Ok(name);
            }
            _ => {}
        }
        let value = match level {
            SOL_SOCKET => self.get_socket_option(fd, name)?,
            IPPROTO_TCP => self.get_tcp_option(fd, name)?,
            IPPROTO_IP | IPPROTO_IPV6 => 0,
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    fn get_socket_option(&mut self, fd: RawFd, name: i32) -> Result<i32> {
        let rmem = self.sysctl.rmem[1];
        let socket = self.socket(fd)?;
        let options = &socket.options;
        Ok(match name {
            SO_ERROR => socket.error.take().map_or(0, |Errno(number)| number),
            SO_TYPE => libc::SOCK_STREAM,
            SO_SNDBUF => options.send_buffer.limit() as i32,
            SO_RCVBUF => 2 * options.recv_buffer.unwrap_or(rmem / 2) as i32,
            SO_KEEPALIVE => options.keepalive.is_some().into(),
            SO_ZEROCOPY => options.zero_copy.into(),
            SO_TIMESTAMPING | SO_TIMESTAMPING_NEW => options.timestamping as i32,
            _ => 0,
        })
    }

    fn get_tcp_option(&mut self, fd: RawFd, name: i32) -> Result<i32> {
        let mss = self.segment_size(fd)?;
        let socket = self.socket(fd)?;
        let (mptcp, options) = (socket.mptcp, &socket.options);
        Ok(match name {
            TCP_NODELAY => options.nodelay.into(),
            TCP_CORK => options.cork.into(),
            TCP_MAXSEG => mss,
            TCP_KEEPIDLE => options.keep.time.as_secs() as i32,
            TCP_KEEPINTVL => options.keep.interval.as_secs() as i32,
            TCP_KEEPCNT => options.keep.probes.into(),
            TCP_SYNCNT => options.syn_retries.unwrap_or(6).into(),
            TCP_USER_TIMEOUT => options.user_timeout as i32,
            TCP_NOTSENT_LOWAT => options.notsent_lowat.unwrap_or(0) as i32,
            TCP_INQ => options.inq.into(),
            TCP_FASTOPEN => options.fast_open,
            TCP_FASTOPEN_CONNECT => options.fast_open_connect.into(),
            TCP_FASTOPEN_NO_COOKIE => options.fast_open_without_cookie.into(),
            TCP_QUICKACK | TCP_LINGER2 => 0,
            _ if mptcp => return Err(Errno(libc::EOPNOTSUPP)),
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        })
    }

    /// Payload of a full-sized segment; before there is a connection, what is set or 536.
    fn segment_size(&mut self, fd: RawFd) -> Result<i32> {
        let socket = self.socket(fd)?;
        let set = socket.options.max_segment;
        let tcb = socket.flow().and_then(|flow| self.stack.tcb(flow));
        Ok(match (tcb, set) {
            (Some(tcb), _) => tcb.mss() as i32,
            (None, Some(mss)) => mss.into(),
            (None, None) => 536,
        })
    }
}
