//! A row: a box, where it makes sense, and what has to come of it.

use crate::cell::{Cell, Dir, From, Outcome, Place, Traffic};
use anabranch_mptcp::Version::{V0, V1};
use anabranch_sim::{Middlebox, Scene, Way};

/// Boxes for a direction.
pub(crate) type Boxes = fn(Dir) -> Vec<(Way, Box<dyn Middlebox>)>;
/// Whether what was read, the second, is what the box made of what was sent.
pub(crate) type Made = fn(&[u8], &[u8]) -> bool;

/// A box and everything about it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) from: &'static [From],
    pub(crate) dirs: &'static [Dir],
    pub(crate) places: &'static [Place],
    pub(crate) boxes: Boxes,
    /// Only for a box that alters payload.
    pub(crate) made: Option<Made>,
    /// It acts upon signals on the initial subflow about the other.
    pub(crate) signals: bool,
    /// Nothing passes, and nobody says so: an end with nothing to send never learns of it.
    pub(crate) silent: bool,
    pub(crate) tune: fn(&mut Scene),
    /// By the rules of the RFCs.
    pub(crate) expect: fn(&Cell) -> Outcome,
    /// Seconds of virtual time after which both applications are through at the latest.
    pub(crate) within: u64,
}

impl Case {
    /// A box that makes sense everywhere and changes nothing.
    pub(crate) fn new(name: &'static str, boxes: Boxes) -> Case {
        Case {
            name,
            from: &[From::Start, From::Midway],
            dirs: &[Dir::Up, Dir::Down, Dir::Both],
            places: &[Place::Only, Place::First, Place::Second],
            boxes,
            made: None,
            signals: false,
            silent: false,
            tune: |_| {},
            expect: |_| Outcome::Stays,
            within: 5,
        }
    }

    /// It acts upon the handshake, so only from the start.
    pub(crate) fn start(self) -> Case {
        Case {
            from: &[From::Start],
            ..self
        }
    }

    /// It makes sense in the middle only.
    pub(crate) fn midway(self) -> Case {
        Case {
            from: &[From::Midway],
            ..self
        }
    }

    pub(crate) fn dirs(self, dirs: &'static [Dir]) -> Case {
        Case { dirs, ..self }
    }

    pub(crate) fn places(self, places: &'static [Place]) -> Case {
        Case { places, ..self }
    }

    pub(crate) fn made(self, made: Made) -> Case {
        Case {
            made: Some(made),
            ..self
        }
    }

    pub(crate) fn tune(self, tune: fn(&mut Scene)) -> Case {
        Case { tune, ..self }
    }

    pub(crate) fn expect(self, expect: fn(&Cell) -> Outcome) -> Case {
        Case { expect, ..self }
    }

    pub(crate) fn within(self, within: u64) -> Case {
        Case { within, ..self }
    }

    /// It stands before signals on the initial subflow that are about the other.
    pub(crate) fn signals(self) -> Case {
        Case {
            signals: true,
            ..self
        }
    }

    pub(crate) fn silent(self) -> Case {
        Case {
            silent: true,
            ..self
        }
    }

    /// Every run of it.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &place in self.places {
            for &from in self.from {
                for &dir in self.dirs {
                    for (version, checksum) in [(V1, false), (V1, true), (V0, false), (V0, true)] {
                        for traffic in [Traffic::Both, Traffic::Large, Traffic::Up, Traffic::Down] {
                            // How large mappings are, and what is in them, is the same there.
                            let same =
                                traffic == Traffic::Large || checksum && traffic != Traffic::Both;
                            if version == V0 && same {
                                continue;
                            }
                            cells.push(Cell {
                                from,
                                dir,
                                place,
                                version,
                                checksum,
                                traffic,
                            });
                        }
                    }
                }
            }
        }
        cells
    }
}
