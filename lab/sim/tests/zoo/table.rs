//! `docs/middleboxes.md`.

use crate::case::Case;
use crate::cell::{Cell, Dir, From, Outcome, Place, Result};
use std::fmt::Write;
use std::path::PathBuf;

const PREFACE: &str = "# Middleboxes

Written by a test, `cargo test -p anabranch-sim --test zoo`, which fails when a connection behind a
box does not end as the RFCs ask for, and when this table is not what it found. To write it anew:

```sh
ANABRANCH_UPDATE=1 cargo test -p anabranch-sim --test zoo
```

`ANABRANCH_BOX=merged` runs the rows with this word in their name only.
";

type Row<'a> = (&'a Case, Vec<(Cell, Result)>);

/// Fails if the table is not as reviewed.
pub(crate) fn compare(rows: &[Row<'_>]) {
    let runs: usize = rows.iter().map(|(_, runs)| runs.len()).sum();
    let document = format!(
        "{PREFACE}\n{}\n{}",
        RULES.replace("RUNS", &runs.to_string()),
        table(rows)
    );
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/middleboxes.md");
    if std::env::var_os("ANABRANCH_UPDATE").is_some() {
        std::fs::write(&file, &document).expect("docs/middleboxes.md can be written");
        return;
    }
    let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
    let changed = document
        .lines()
        .filter(|line| !reviewed.lines().any(|it| it == *line));
    let changed: Vec<_> = changed.collect();
    assert!(
        reviewed == document,
        "docs/middleboxes.md is to be written anew with ANABRANCH_UPDATE=1; now:\n{}",
        changed.join("\n")
    );
}

const COLUMNS: [(Place, From); 6] = [
    (Place::Only, From::Start),
    (Place::Only, From::Midway),
    (Place::First, From::Start),
    (Place::First, From::Midway),
    (Place::Second, From::Start),
    (Place::Second, From::Midway),
];

fn table(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "| box | one subflow, from the SYN on | from midway | first of two, from the SYN on \
         | from midway | second of two, from the SYN on | from midway | within |\n\
         |---|---|---|---|---|---|---|--:|\n",
    );
    for (case, runs) in rows {
        let texts = COLUMNS.map(|(place, from)| {
            let here = runs
                .iter()
                .filter(|(c, _)| (c.place, c.from) == (place, from));
            column(case, &here.collect::<Vec<_>>())
        });
        writeln!(
            out,
            "| {} | {} | {} s |",
            case.name,
            texts.join(" | "),
            case.within
        )
        .expect("a string takes anything");
    }
    out
}

/// What happened at one place: once if it is the same in all directions.
fn column(case: &Case, runs: &[&(Cell, Result)]) -> String {
    let mut texts: Vec<(Vec<&str>, String)> = Vec::new();
    for dir in case.dirs {
        let here = runs.iter().filter(|(c, r)| c.dir == *dir && r.acted);
        let text = words(&here.map(|(c, r)| (*c, r.outcome)).collect::<Vec<_>>());
        let arrow = match dir {
            Dir::Up => "→",
            Dir::Down => "←",
            Dir::Both => "↔",
        };
        assert!(
            runs.is_empty() || !text.is_empty(),
            "{} never acts {dir:?}",
            case.name
        );
        match texts.iter_mut().find(|(_, known)| *known == text) {
            Some((arrows, _)) => arrows.push(arrow),
            None => texts.push((vec![arrow], text)),
        }
    }
    match &texts[..] {
        [(_, text)] if text.is_empty() => "–".to_owned(),
        [(_, text)] => text.clone(),
        _ => {
            let each = texts
                .iter()
                .map(|(arrows, text)| format!("{} {text}", arrows.join("")));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// Outcomes in words: what happens with checksums apart if that is another thing, likewise in
/// version 0; what else they depend on is which end sends.
fn words(runs: &[(Cell, Outcome)]) -> String {
    let set = |which: &dyn Fn(&Cell) -> bool| {
        let mut names: Vec<_> = runs
            .iter()
            .filter(|(c, _)| which(c))
            .map(|(_, o)| name(*o))
            .collect();
        names.sort_unstable();
        names.dedup();
        names.join(" or ")
    };
    let all = set(&|_| true);
    let (without, with) = (set(&|c| !c.checksum), set(&|c| c.checksum));
    let (old, new) = (
        set(&|c| c.version.number() == 0),
        set(&|c| c.version.number() == 1),
    );
    if without != with {
        format!("{without}, with checksums {with}")
    } else if old != new && !old.is_empty() && !new.is_empty() {
        format!("{new}, in version 0 {old}")
    } else {
        all
    }
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Stays => "stays",
        Outcome::Other => "other",
        Outcome::Plain => "plain",
        Outcome::PlainAltered => "plain, altered",
        Outcome::StaysAltered => "**altered**",
        Outcome::Ends => "ends",
        Outcome::Refused => "refused",
    }
}

const RULES: &str = "## How to read it

Each of RUNS runs is a client, a server (our stack at both ends) and one or two paths of 8 Mbit/s and
10 ms each way. The box stands on the path of the only subflow, of the first of two, or of the
second, which joined. It acts from the first SYN on, or from the middle of the transfer on; upon what
the client sends (→), upon what the server sends (←), or upon both (↔). Where a row gives no arrow,
it is the same in all directions that make sense. Each is run in version 1 and in version 0, with and
without DSS checksums, with data both ways (a mapping for each segment; mappings of many segments),
from the client only, and from the server only: 200 KB for each subflow. What was read is compared
byte by byte with what was sent, everything is released and forgotten by both stacks at the end, and
no run may take longer than the last column says.

| word | meaning |
|---|---|
| stays | Multipath TCP to the end, and no subflow ended before; every byte right |
| other | Multipath TCP over the other subflow: the one behind the box was reset or refused, and what it did not deliver went over the other; every byte right |
| plain | plain TCP from some point on; every byte right |
| plain, altered | plain TCP from some point on, and the application reads what the box made, as it would over TCP |
| **altered** | Multipath TCP to the end, and the application reads exactly what the box made: nobody can notice |
| ends | the connection ends with an error; what was read until then is right |
| refused | it is refused while it opens |
| this or that | it depends on which end sends: a box that no data passes breaks no mapping |

## The rules behind it

- No MP_CAPABLE in the SYN+ACK, or none with the right keys after it: plain TCP, without a reset (RFC
  8684 §3.1, §3.7). SYNs that vanish are sent without the option in the end, and answered without it.
  A reset that answers a SYN is believed: the box's is no other than that of a closed port.
- MP_JOIN is all or nothing: without it at any step the subflow is reset and the connection goes on
  (§3.2).
- Data without mappings, or data that nobody acknowledges at data level, shows that options vanish.
  The only subflow there ever was goes on as plain TCP: what was mapped so far and what follows are
  one stream. Midway this is so by a setting (`plain_midway`), as here where both ends are ours;
  without it the connection ends, as with Linux: a peer that hears nothing more may send again, as
  new bytes, what it takes for lost, and the stream would have them twice. With two subflows the
  bytes of one can not be placed any more, so it is reset and they are sent again on the other
  (§3.7).
- A wrong checksum on the only subflow: MP_FAIL both ways and an infinite mapping, from which on the
  box may do what it likes, as with TCP. On one of several: reset, and the bytes go over another
  (§3.7). Without checksums nothing tells: that is what they are for (§3.3).
- Mappings belong to bytes, not to segments: cut, merged, repeated or reordered, each byte finds its
  place as long as one mapping for it arrives. Bytes of which none did are sent again.
- DATA_ACKs are cumulative and on every segment, so losing some costs nothing.
- A reset ends its subflow; if it was the only one, nothing is left to go on with, and the connection
  waits for a join (60 s) before it ends. A path that falls silent is not used any more while another
  is there, and its subflow given up after many minutes only, as TCP does. An end of the only subflow
  that has nothing to send never learns of it, as with TCP.

What boxes do is known from Honda et al., *Is it still possible to extend TCP?* (IMC 2011), Hesmans et
al., *Are TCP extensions middlebox-proof?* (HotMiddlebox 2013), and Detal et al., *Revealing middlebox
interference with tracebox* (IMC 2013).

## Outcomes
";
