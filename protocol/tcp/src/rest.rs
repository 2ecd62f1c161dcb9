//! Connections at rest: an idle one as a few hundred bytes, and back as it was.
//!
//! A connection that sends and receives nothing needs none of the room that its windows, timers
//! and scoreboards take when it works. What they hold then are mostly zeros, times and positions
//! close to each other, and settings that all share. So it is written down, field by field, and the
//! rest given back. Nothing is lost: what is written is all there is, and where that is not
//! possible (bytes are held, something is under way) the connection stays as it is.
//!
//! Each type lists its fields with [`packed!`](crate::packed) right below it. One that is forgotten
//! does not compile.

use crate::{Config, Instant};
use anabranch_wire::Seq;
use anabranch_wire::tcp::FastOpen;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What can be written down and be as it was again.
pub trait Pack {
    /// Writes `self` into a parcel that is being filled, or takes it from one that is being
    /// emptied: there `self` is a value as new, made of the same settings.
    fn pack(&mut self, parcel: &mut Parcel<'_>);
}

/// What is empty in all that rests: it is not written down, and nothing that has it full rests.
pub trait Vacant {
    /// Whether there is nothing in it. Room it has for more is given back.
    fn is_vacant(&self) -> bool;
}

/// The bytes of something at rest: numbers in the order they are told, small ones in one byte, and
/// any run of zeros in two.
#[derive(Debug)]
pub struct Parcel<'a> {
    way: Way<'a>,
    /// Zeros that are due to be written, or are left of those read.
    zeros: u8,
    /// The last time told: the next is likely to be near it.
    time: u64,
    /// What is written of settings is how they differ from these.
    settings: &'a Config,
    refused: bool,
}

#[derive(Debug)]
enum Way<'a> {
    Fill(Vec<u8>),
    Empty(&'a [u8]),
}

impl<'a> Parcel<'a> {
    /// Writes something down; `None` if it cannot rest. It is not changed. The same `settings` are
    /// given to make it whole again: of its own only those that differ are written.
    pub fn fill(what: &mut impl Pack, settings: &Config) -> Option<Box<[u8]>> {
        let way = Way::Fill(Vec::with_capacity(512));
        let mut parcel = Parcel::new(way, settings);
        what.pack(&mut parcel);
        parcel.write_zeros();
        match parcel.way {
            Way::Fill(bytes) if !parcel.refused => Some(bytes.into()),
            _ => None,
        }
    }

    /// Makes `fresh` what was written down.
    pub fn empty(bytes: &'a [u8], settings: &'a Config, fresh: &mut impl Pack) {
        let mut parcel = Parcel::new(Way::Empty(bytes), settings);
        fresh.pack(&mut parcel);
        debug_assert!(
            matches!(parcel.way, Way::Empty([])) && parcel.zeros == 0,
            "something is left of {} bytes",
            bytes.len()
        );
    }

    fn new(way: Way<'a>, settings: &'a Config) -> Parcel<'a> {
        Parcel {
            way,
            zeros: 0,
            time: 0,
            settings,
            refused: false,
        }
    }

    /// Whether it is being filled.
    pub fn is_filled(&self) -> bool {
        matches!(self.way, Way::Fill(_))
    }

    /// What is being written cannot rest.
    pub fn refuse(&mut self) {
        self.refused = true;
    }

    /// One of the settings: written if it is not `usual`.
    pub(crate) fn setting<T: Pack + PartialEq + Clone>(&mut self, value: &mut T, usual: &T) {
        let mut own = *value != *usual;
        own.pack(self);
        if own {
            value.pack(self);
        } else if !self.is_filled() {
            value.clone_from(usual);
        }
    }

    /// What connections are usually set to.
    pub fn settings(&self) -> &'a Config {
        self.settings
    }

    /// Something that is not written down, being empty.
    pub fn vacant(&mut self, what: &impl Vacant) {
        self.refused |= !what.is_vacant();
    }

    /// A number. Those near 0 and near `u64::MAX`, which stand for nothing and never, are short.
    pub fn number(&mut self, n: &mut u64) {
        match &mut self.way {
            Way::Fill(_) => {
                let sign = (*n as i64 >> 63) as u64;
                self.write(*n << 1 ^ sign);
            }
            Way::Empty(_) => {
                let folded = self.read();
                *n = folded >> 1 ^ (folded & 1).wrapping_neg();
            }
        }
    }

    /// A number of whatever width.
    fn narrow<T: Copy + Into<u64> + TryFrom<u64>>(&mut self, n: &mut T) {
        let mut wide = (*n).into();
        self.number(&mut wide);
        // What was written fits.
        *n = T::try_from(wide).unwrap_or(*n);
    }

    fn write(&mut self, mut n: u64) {
        if n == 0 {
            self.zeros += 1;
            if self.zeros == u8::MAX {
                self.write_zeros();
            }
            return;
        }
        self.write_zeros();
        let Way::Fill(bytes) = &mut self.way else {
            return;
        };
        while n >= 0x80 {
            bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
    }

    fn write_zeros(&mut self) {
        if let Way::Fill(bytes) = &mut self.way
            && self.zeros > 0
        {
            bytes.extend([0, self.zeros]);
            self.zeros = 0;
        }
    }

    fn read(&mut self) -> u64 {
        if self.zeros > 0 {
            self.zeros -= 1;
            return 0;
        }
        let (mut n, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            if byte == 0 && shift == 0 {
                self.zeros = self.byte().saturating_sub(1);
                return 0;
            }
            n |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 || shift > 63 {
                return n;
            }
        }
    }

    fn byte(&mut self) -> u8 {
        match &mut self.way {
            Way::Empty([first, rest @ ..]) => {
                let first = *first;
                self.way = Way::Empty(rest);
                first
            }
            _ => 0,
        }
    }
}

/// Lists all fields of a type: those written down, those that are `empty` in what rests, and those
/// `kept` by who holds the parcel, or the same in a value as new.
#[macro_export]
macro_rules! packed {
    ($type:ty { $($field:ident),* $(,)? }
        $(empty { $($empty:ident),* $(,)? })?
        $(kept { $($kept:ident),* $(,)? })?
    ) => {
        impl $crate::rest::Pack for $type {
            fn pack(&mut self, parcel: &mut $crate::rest::Parcel<'_>) {
                let Self { $($field,)* $($($empty,)*)? $($($kept: _,)*)? } = self;
                $($crate::rest::Pack::pack($field, parcel);)*
                $($(parcel.vacant($empty);)*)?
            }
        }
    };
    // An enum without fields.
    (enum $type:ty { $($variant:ident),* $(,)? }) => {
        impl $crate::rest::Pack for $type {
            fn pack(&mut self, parcel: &mut $crate::rest::Parcel<'_>) {
                const ALL: &[$type] = &[$(<$type>::$variant),*];
                match self {
                    $(Self::$variant => {})*
                }
                let mut at = ALL.iter().position(|v| v == self).unwrap_or(0) as u64;
                parcel.number(&mut at);
                *self = ALL.get(at as usize).copied().unwrap_or(*self);
            }
        }
    };
}

macro_rules! numbers {
    ($($type:ty)*) => {
        $(impl Pack for $type {
            fn pack(&mut self, parcel: &mut Parcel<'_>) {
                parcel.narrow(self);
            }
        })*
    };
}

numbers! { u8 u16 u32 u64 }

impl Pack for usize {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut n = *self as u64;
        parcel.number(&mut n);
        *self = n as usize;
    }
}

impl Pack for bool {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut n = u64::from(*self);
        parcel.number(&mut n);
        *self = n != 0;
    }
}

/// Whole numbers and simple fractions end in zeros, which come first so.
impl Pack for f64 {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut bits = self.to_bits().swap_bytes();
        parcel.number(&mut bits);
        *self = f64::from_bits(bits.swap_bytes());
    }
}

impl Pack for Seq {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        self.0.pack(parcel);
    }
}

/// Told as what it is later than the last one told.
impl Pack for Instant {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut later = self.0.wrapping_sub(parcel.time);
        parcel.number(&mut later);
        self.0 = parcel.time.wrapping_add(later);
        parcel.time = self.0;
    }
}

impl Pack for Duration {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let (mut secs, mut nanos) = (self.as_secs(), u64::from(self.subsec_nanos()));
        parcel.number(&mut secs);
        parcel.number(&mut nanos);
        *self = Duration::new(secs, nanos as u32);
    }
}

impl Pack for IpAddr {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut v6 = self.is_ipv6();
        v6.pack(parcel);
        let bits = match self {
            IpAddr::V4(v4) => u128::from(u32::from(*v4)),
            IpAddr::V6(v6) => u128::from(*v6),
        };
        let (mut high, mut low) = ((bits >> 64) as u64, bits as u64);
        parcel.number(&mut high);
        parcel.number(&mut low);
        *self = if v6 {
            Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into()
        } else {
            Ipv4Addr::from(low as u32).into()
        };
    }
}

/// Without flow information and scope: nothing here has any.
impl Pack for SocketAddr {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let (mut ip, mut port) = (self.ip(), self.port());
        ip.pack(parcel);
        port.pack(parcel);
        *self = SocketAddr::new(ip, port);
    }
}

impl<T: Pack + Default> Pack for Option<T> {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut some = self.is_some();
        some.pack(parcel);
        if some {
            self.get_or_insert_default().pack(parcel);
        } else {
            *self = None;
        }
    }
}

impl<T: Pack> Pack for Box<T> {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        (**self).pack(parcel);
    }
}

impl<A: Pack, B: Pack> Pack for (A, B) {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        self.0.pack(parcel);
        self.1.pack(parcel);
    }
}

impl<A: Pack, B: Pack, C: Pack> Pack for (A, B, C) {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        self.0.pack(parcel);
        self.1.pack(parcel);
        self.2.pack(parcel);
    }
}

impl<T: Pack, const N: usize> Pack for [T; N] {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        for item in self {
            item.pack(parcel);
        }
    }
}

impl<T: Pack + Default> Pack for Vec<T> {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut len = self.len();
        len.pack(parcel);
        self.resize_with(len, T::default);
        for item in self {
            item.pack(parcel);
        }
    }
}

impl<T: Pack + Default> Pack for VecDeque<T> {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut len = self.len();
        len.pack(parcel);
        self.resize_with(len, T::default);
        for item in self {
            item.pack(parcel);
        }
    }
}

impl<A: smallvec::Array<Item: Pack + Default>> Pack for SmallVec<A> {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut len = self.len();
        len.pack(parcel);
        self.resize_with(len, Default::default);
        for item in self {
            item.pack(parcel);
        }
    }
}

crate::packed!(FastOpen {
    cookie,
    experimental
});

impl<T> Vacant for Option<T> {
    fn is_vacant(&self) -> bool {
        self.is_none()
    }
}

impl<T> Vacant for Vec<T> {
    fn is_vacant(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Vacant for VecDeque<T> {
    fn is_vacant(&self) -> bool {
        self.is_empty()
    }
}

impl<A: smallvec::Array> Vacant for SmallVec<A> {
    fn is_vacant(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Vacant for BTreeMap<K, V> {
    fn is_vacant(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Vacant for BTreeSet<T> {
    fn is_vacant(&self) -> bool {
        self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, PartialEq, Default, Debug)]
    struct Thing {
        numbers: Vec<u64>,
        times: Vec<Instant>,
        lasts: Vec<Duration>,
        share: f64,
        maybe: Option<(u16, bool)>,
        queue: VecDeque<u8>,
    }

    packed!(Thing { numbers, times, lasts, share, maybe } empty { queue });

    fn thing() -> impl Strategy<Value = Thing> {
        let number = prop_oneof![Just(0), Just(u64::MAX), 0..200u64, any::<u64>()];
        let numbers = prop::collection::vec(number.clone(), 0..600);
        let times = prop::collection::vec(number.prop_map(Instant), 0..20);
        let last = (any::<u64>(), 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n));
        let lasts = prop::collection::vec(last, 0..4);
        let maybe = prop::option::of((any::<u16>(), any::<bool>()));
        (numbers, times, lasts, any::<f64>(), maybe).prop_map(
            |(numbers, times, lasts, share, maybe)| Thing {
                numbers,
                times,
                lasts,
                share: if share.is_nan() { 0.5 } else { share },
                maybe,
                queue: VecDeque::new(),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_down_is_as_it_was(mut thing in thing()) {
            let bytes = Parcel::fill(&mut thing, &Config::default()).expect("nothing is held");
            let mut again = Thing::default();
            Parcel::empty(&bytes, &Config::default(), &mut again);
            prop_assert_eq!(thing, again);
        }
    }

    #[test]
    fn zeros_and_what_stands_for_never_take_next_to_nothing() {
        let mut idle = Thing {
            numbers: vec![0; 200],
            times: vec![Instant(u64::MAX); 10],
            ..Thing::default()
        };
        let bytes = Parcel::fill(&mut idle, &Config::default()).expect("nothing is held");
        assert!(bytes.len() < 12, "{} bytes", bytes.len());
    }

    #[test]
    fn what_holds_something_does_not_rest() {
        let mut busy = Thing {
            queue: [1].into(),
            ..Thing::default()
        };
        assert_eq!(Parcel::fill(&mut busy, &Config::default()), None);
    }
}
