//! Changing timestamps.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use bytes::Bytes;

/// Kind and length of the option (RFC 7323 §3).
const TIMESTAMPS: (u8, usize) = (8, 10);

/// Moves the timestamps of one direction, as firewalls that hide the uptime of hosts do. Its
/// counterpart in the other direction is [`Restamp::counterpart`].
#[derive(Clone, Copy, Debug)]
pub struct Restamp {
    value: u32,
    echo: u32,
}

impl Restamp {
    /// Adds `n` to TSval.
    pub fn new(n: u32) -> Restamp {
        Restamp { value: n, echo: 0 }
    }

    /// What undoes the change in TSecr of the other direction.
    #[must_use]
    pub fn counterpart(self) -> Restamp {
        Restamp {
            value: self.echo.wrapping_neg(),
            echo: self.value.wrapping_neg(),
        }
    }
}

impl Middlebox for Restamp {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let Some(view) = TcpView::sound(&packet) else {
            return vec![packet];
        };
        let mut bytes = packet.to_vec();
        for (kind, range) in view.tcp_options(&packet) {
            if (kind, range.len()) == TIMESTAMPS {
                let at = range.start - view.ip.payload.start;
                view.add(&mut bytes, at + 2, self.value);
                if packet[range.start + 6..range.end] != [0; 4] {
                    view.add(&mut bytes, at + 6, self.echo);
                }
            }
        }
        view.fix_checksum(&mut bytes);
        vec![bytes.into()]
    }
}
