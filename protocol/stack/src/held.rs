//! Where a Multipath TCP connection is kept: in a box. A build that measures what plain TCP would
//! cost without Multipath TCP (`--cfg anabranch_tcp_only`, `bench/counts/without-mptcp`) has no such
//! place, so that the compiler leaves out all that leads to one.

#[cfg(not(anabranch_tcp_only))]
pub(crate) type Held<T> = Box<T>;

#[cfg(not(anabranch_tcp_only))]
pub(crate) fn hold<T>(value: T) -> Held<T> {
    Box::new(value)
}

/// Of this there is none.
#[cfg(anabranch_tcp_only)]
pub(crate) struct Held<T>(std::convert::Infallible, std::marker::PhantomData<T>);

#[cfg(anabranch_tcp_only)]
pub(crate) fn hold<T>(_: T) -> Held<T> {
    unreachable!("`Wish::of` takes no SYN for Multipath TCP in this build, and none is offered")
}

#[cfg(anabranch_tcp_only)]
impl<T> std::ops::Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self.0 {}
    }
}

#[cfg(anabranch_tcp_only)]
impl<T> std::ops::DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        match self.0 {}
    }
}
