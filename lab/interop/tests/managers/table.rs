//! The table in `docs/path-managers.md`.

use std::fs;
use std::path::PathBuf;

use crate::manager::Manager;

const BEGIN: &str = "<!-- outcomes -->\n";
const END: &str = "<!-- end of outcomes -->";

pub(crate) struct Table {
    text: String,
    updates: bool,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/path-managers.md")
}

impl Table {
    pub(crate) fn read() -> Table {
        Table {
            text: fs::read_to_string(path()).expect("docs/path-managers.md"),
            updates: std::env::var_os("ANABRANCH_UPDATE").is_some(),
        }
    }

    /// What was found before; nothing where the table is written anew.
    pub(crate) fn expected(&self, scene: &str, manager: Manager) -> Option<&str> {
        if self.updates {
            return None;
        }
        let row = self.text.lines().find(|line| {
            let mut cells = line.split('|').map(str::trim);
            cells.nth(1) == Some(scene)
        });
        let column = 2 + Manager::ALL.iter().position(|it| *it == manager)?;
        row?.split('|').map(str::trim).nth(column)
    }

    pub(crate) fn compare(&self, found: &[(&str, Manager, String)]) {
        let (head, rest) = self.text.split_once(BEGIN).expect("the table's begin");
        let (_, tail) = rest.split_once(END).expect("the table's end");
        let text = format!("{head}{BEGIN}\n{}\n{END}{tail}", rows(found));
        if self.updates {
            fs::write(path(), text).expect("docs/path-managers.md");
        } else {
            let difference = self.text.lines().zip(text.lines()).find(|(a, b)| a != b);
            assert_eq!(difference, None, "(table, found)");
            assert_eq!(self.text, text);
        }
    }
}

fn rows(found: &[(&str, Manager, String)]) -> String {
    let mut text = String::from("| scene |");
    for manager in Manager::ALL {
        text += &format!(" {} |", manager.name());
    }
    text += "\n|---|";
    text += &"---|".repeat(Manager::ALL.len());
    for row in found.chunks(Manager::ALL.len()) {
        text += &format!("\n| {} |", row[0].0);
        for (_, _, outcome) in row {
            text += &format!(" {outcome} |");
        }
    }
    text + "\n"
}
