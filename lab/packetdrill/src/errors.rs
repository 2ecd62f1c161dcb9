//! The error queue: notices of completed zero-copy sends and of transmit timestamps.

use anabranch_cabi::{Control, Received};
use anabranch_tcp::Instant;
use std::collections::VecDeque;

/// Bits of `SO_TIMESTAMPING`.
pub(crate) const TX_SOFTWARE: u32 = 1 << 1;
pub(crate) const OPT_ID: u32 = 1 << 7;
pub(crate) const TX_SCHED: u32 = 1 << 8;
pub(crate) const TX_ACK: u32 = 1 << 9;
pub(crate) const OPT_TSONLY: u32 = 1 << 11;

/// `SCM_TSTAMP_*`.
const SND: u32 = 0;
const SCHED: u32 = 1;
const ACK: u32 = 2;

const ORIGIN_TIMESTAMPING: u8 = 4;
const ORIGIN_ZEROCOPY: u8 = 5;
/// The data was copied after all (`SO_EE_CODE_ZEROCOPY_COPIED`): we always do, once.
const COPIED: u8 = 1;

/// How far sending has come: positions count payload bytes from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
}

#[derive(Default)]
pub(crate) struct ErrorQueue {
    notices: Vec<Notice>,
    /// Writes of which something is still to be told.
    writes: VecDeque<Write>,
    /// Zero-copy sends are numbered.
    next_copy: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// Sends of these numbers are complete.
    Copied {
        first: u32,
        last: u32,
    },
    Stamp {
        kind: u32,
        key: u32,
        at: Instant,
    },
}

struct Write {
    /// Position of its last byte.
    last: u64,
    copy: Option<u32>,
    /// `SO_TIMESTAMPING` bits still to be served, and the key.
    stamps: u32,
    key: u32,
}

impl ErrorQueue {
    pub(crate) fn has_some(&self) -> bool {
        !self.notices.is_empty()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Bytes up to `end` were taken for sending; of how they fare the application wants to hear.
    pub(crate) fn wrote(&mut self, end: u64, zero_copy: bool, stamps: u32, key: u32) {
        if !zero_copy && stamps == 0 {
            return;
        }
        let copy = zero_copy.then(|| {
            self.next_copy += 1;
            self.next_copy - 1
        });
        self.writes.push_back(Write {
            last: end - 1,
            copy,
            stamps,
            key,
        });
    }

    /// Whether there is something new to be told.
    pub(crate) fn on_progress(&mut self, now: Instant, progress: Progress) -> bool {
        let before = self.notices.clone();
        for write in &mut self.writes {
            let mut stamp = |bit: u32, kind: u32| {
                if write.stamps & bit != 0 {
                    write.stamps &= !bit;
                    self.notices.push(Notice::Stamp {
                        kind,
                        key: write.key,
                        at: now,
                    });
                }
            };
            if progress.sent > write.last {
                stamp(TX_SCHED, SCHED);
                stamp(TX_SOFTWARE, SND);
            }
            if progress.acked > write.last {
                stamp(TX_ACK, ACK);
            }
        }
        while let Some(write) = self.writes.front()
            && progress.acked > write.last
        {
            if let Some(number) = write.copy {
                self.copied(number);
            }
            self.writes.pop_front();
        }
        self.notices != before
    }

    /// Notices of consecutive sends merge until they are read.
    fn copied(&mut self, number: u32) {
        if let Some(Notice::Copied { last, .. }) = self.notices.last_mut()
            && *last + 1 == number
        {
            *last = number;
            return;
        }
        self.notices.push(Notice::Copied {
            first: number,
            last: number,
        });
    }

    /// `recvmsg(MSG_ERRQUEUE)`.
    pub(crate) fn take(&mut self, ipv6: bool, only: bool) -> Option<Received> {
        if self.notices.is_empty() {
            return None;
        }
        let notice = self.notices.remove(0);
        let truncated = matches!(notice, Notice::Stamp { .. }) && !only;
        Some(Received {
            control: notice.control(ipv6),
            flags: libc::MSG_ERRQUEUE | if truncated { libc::MSG_TRUNC } else { 0 },
            ..Received::default()
        })
    }
}

impl Notice {
    fn control(self, ipv6: bool) -> Vec<Control> {
        let (level, kind) = if ipv6 {
            (libc::SOL_IPV6, libc::IPV6_RECVERR)
        } else {
            (libc::SOL_IP, libc::IP_RECVERR)
        };
        let error = |data| Control { level, kind, data };
        match self {
            Notice::Copied { first, last } => {
                vec![error(extended(
                    ipv6,
                    0,
                    ORIGIN_ZEROCOPY,
                    COPIED,
                    [first, last],
                ))]
            }
            Notice::Stamp { kind, key, at } => {
                let stamp = Control {
                    level: libc::SOL_SOCKET,
                    kind: libc::SCM_TIMESTAMPING,
                    data: stamps(at),
                };
                let errno = libc::ENOMSG as u32;
                let what = extended(ipv6, errno, ORIGIN_TIMESTAMPING, 0, [kind, key]);
                vec![stamp, error(what)]
            }
        }
    }
}

/// `struct sock_extended_err`, and an empty address behind it.
fn extended(ipv6: bool, errno: u32, origin: u8, code: u8, [info, data]: [u32; 2]) -> Vec<u8> {
    let mut bytes = errno.to_ne_bytes().to_vec();
    bytes.extend([origin, 0, code, 0]);
    bytes.extend(info.to_ne_bytes());
    bytes.extend(data.to_ne_bytes());
    let address = if ipv6 { 28 } else { 16 };
    bytes.resize(bytes.len() + address, 0);
    bytes
}

/// `struct scm_timestamping`: the first of three is the software's.
fn stamps(at: Instant) -> Vec<u8> {
    let mut bytes = ((at.0 / 1_000_000_000) as i64).to_ne_bytes().to_vec();
    bytes.extend(((at.0 % 1_000_000_000) as i64).to_ne_bytes());
    bytes.resize(48, 0);
    bytes
}
