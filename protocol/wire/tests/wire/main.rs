//! The crate as its users see it: bytes in, headers out, and back. One topic in each module.

mod captures;
mod checksums;
mod etherparse;
mod hostile;
mod icmp;
mod ip;
mod layout;
mod mappings;
mod options;
mod round_trip;
mod segmentation;
mod support;
mod vnet;
