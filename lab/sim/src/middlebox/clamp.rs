//! Lowering what a header promises.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;

/// Lowers the maximum segment size of SYNs (as routers before tunnels do), or the window of
/// everything else (as traffic shapers do).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clamp {
    /// To so many bytes at most.
    Mss(u16),
    /// To so much, unscaled, at most.
    Window(u16),
}

impl Middlebox for Clamp {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let Some(view) = TcpView::sound(&packet) else {
            return vec![packet];
        };
        let mut bytes = packet.to_vec();
        match *self {
            Clamp::Mss(most) => {
                const MSS: u8 = 2;
                let mut options = view.tcp_options(&packet).into_iter();
                if let Some((_, at)) = options.find(|(k, at)| *k == MSS && at.len() == 4) {
                    lower(&mut bytes, at.start + 2, most);
                }
            }
            Clamp::Window(most) if !view.flags.has(Flags::SYN) => {
                lower(&mut bytes, view.ip.payload.start + 14, most);
            }
            Clamp::Window(_) => {}
        }
        view.fix_checksum(&mut bytes);
        vec![bytes.into()]
    }
}

/// The 16-bit number at `at` becomes `most` if it is more.
fn lower(bytes: &mut [u8], at: usize, most: u16) {
    if let Some(field) = bytes.get_mut(at..).and_then(|b| b.first_chunk_mut::<2>()) {
        *field = u16::from_be_bytes(*field).min(most).to_be_bytes();
    }
}
