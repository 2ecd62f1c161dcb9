//! What the engine does on the wire, one topic in each file.

mod harness;

mod lossy;
