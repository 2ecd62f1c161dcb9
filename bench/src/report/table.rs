//! Figures as Markdown.

use super::Measured;
use crate::work::{Figure, Length};
use std::fmt::Write as _;

/// A caption, a table of medians beside goals, and one of processor time.
pub(super) fn of(measured: &Measured, length: Length) -> String {
    let work = measured.work;
    let samples = measured.cells.iter().map(|cell| cell.samples.len()).max();
    let mut text = format!(
        "{}\n\nMedians of {} samples{}, {}.\n\n",
        work.about,
        samples.unwrap_or(0),
        match length.quick {
            true => " as short as can be".to_owned(),
            false => format!(" of {} s", length.seconds),
        },
        work.unit.name,
    );
    let values = values(measured);
    let times = processor_time(measured);
    for lines in [values, times].into_iter().filter(|lines| lines.len() > 1) {
        write(&mut text, &lines);
    }
    for cell in &measured.cells {
        if let Some(error) = &cell.error {
            let _ = writeln!(
                text,
                "{}, {}: {} samples; one that failed: {error}.\n",
                cell.cell.row,
                cell.cell.who,
                cell.samples.len()
            );
        }
    }
    text.trim_end().to_owned() + "\n"
}

/// Heads and rows: medians, then what each goal speaks of.
fn values(measured: &Measured) -> Vec<Vec<String>> {
    let everyone = measured.everyone();
    let goals = measured.work.goals.iter();
    let goals: Vec<_> = goals.filter(|goal| goal.figure == Figure::Value).collect();
    let mut head = vec![String::new()];
    head.extend(everyone.iter().map(|&who| who.to_owned()));
    head.extend(goals.iter().map(|goal| {
        let of = goal.of.map_or(String::new(), |of| format!(" / {of}"));
        let rows = match goal.rows {
            "" => String::new(),
            rows => format!(", {rows}"),
        };
        format!("{}{of} ({}{rows})", goal.who, goal.bound)
    }));
    let mut lines = vec![head];
    for row in measured.rows() {
        let mut line = vec![row.to_owned()];
        line.extend(everyone.iter().map(|who| {
            let value = measured.median(row, who, Figure::Value);
            number(value, measured.work.unit.decimals)
        }));
        line.extend(goals.iter().map(|goal| {
            if !row.contains(goal.rows) {
                return String::new();
            }
            let reached = measured.reached(row, goal);
            mark(
                number(reached, 2),
                reached.is_some_and(|it| goal.bound.is_met(it)),
            )
        }));
        lines.push(line);
    }
    lines
}

/// Heads and rows of processor time; only a head where none is counted.
fn processor_time(measured: &Measured) -> Vec<Vec<String>> {
    let Some(name) = measured.work.unit.cpu else {
        return Vec::new();
    };
    let everyone = measured.everyone();
    let goal_of = |who: &str| {
        let mut goals = measured.work.goals.iter();
        goals.find(|goal| goal.figure == Figure::Cpu && goal.of.is_none() && goal.who == who)
    };
    let mut head = vec![name.to_owned()];
    head.extend(everyone.iter().map(|who| match goal_of(who) {
        Some(goal) => format!("{who} ({})", goal.bound),
        None => (*who).to_owned(),
    }));
    let mut lines = vec![head];
    for row in measured.rows() {
        let mut line = vec![row.to_owned()];
        line.extend(everyone.iter().map(|who| {
            let cpu = measured.median(row, who, Figure::Cpu);
            let met = goal_of(who).is_some_and(|goal| cpu.is_some_and(|it| goal.bound.is_met(it)));
            mark(number(cpu, 2), met)
        }));
        lines.push(line);
    }
    lines
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Bold where a goal is reached.
fn mark(figure: String, met: bool) -> String {
    if met { format!("**{figure}**") } else { figure }
}

fn write(text: &mut String, lines: &[Vec<String>]) {
    for (n, line) in lines.iter().enumerate() {
        let _ = writeln!(text, "| {} |", line.join(" | "));
        if n == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(line.len()));
        }
    }
    text.push('\n');
}
