//! Figures as a drawing: a bar for each median, a dot for each sample.

use super::Measured;
use crate::work::Figure;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

const LEFT: f64 = 240.0;
const WIDTH: f64 = 460.0;
const RIGHT: f64 = 60.0;
const BAR: f64 = 13.0;
const GAP: f64 = 14.0;
const HEAD: f64 = 46.0;
/// Told apart also without colours, by lightness.
const COLOURS: [&str; 6] = [
    "#08519c", "#3182bd", "#d95f0e", "#969696", "#c7c7c7", "#756bb1",
];

/// Writes the plot into the folder beside `document` that is called as it is; the Markdown that
/// shows it there.
pub(super) fn write(measured: &Measured, document: &Path) -> io::Result<String> {
    let folder = document.with_extension("");
    std::fs::create_dir_all(&folder)?;
    let file = format!("{}.svg", measured.work.name);
    std::fs::write(folder.join(&file), draw(measured))?;
    let folder = folder.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!(
        "\n![{}, {}]({folder}/{file})\n",
        measured.work.name, measured.work.unit.name
    ))
}

fn draw(measured: &Measured) -> String {
    let everyone = measured.everyone();
    let rows = measured.rows();
    let values = measured.cells.iter().flat_map(|cell| &cell.samples);
    let top = axis_end(values.map(|sample| sample.value).fold(0.0, f64::max));
    let x = |value: f64| LEFT + value / top * WIDTH;
    let bars: usize = measured.cells.len();
    let height = HEAD + bars as f64 * BAR + rows.len() as f64 * GAP + 36.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {height}\" width=\"{0}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + RIGHT
    );
    axis(&mut svg, top, height, measured.work.unit.name);
    legend(&mut svg, &everyone);
    let mut y = HEAD;
    for row in rows {
        let of_row: Vec<_> = measured
            .cells
            .iter()
            .filter(|it| it.cell.row == row)
            .collect();
        let middle = y + of_row.len() as f64 * BAR / 2.0 + 4.0;
        text(&mut svg, LEFT - 8.0, middle, "end", row);
        for cell in of_row {
            let who = everyone.iter().position(|it| *it == cell.cell.who);
            let colour = COLOURS[who.unwrap_or(0) % COLOURS.len()];
            if let Some(median) = measured.median(row, cell.cell.who, Figure::Value) {
                bar(&mut svg, (y, x(median)), colour);
                let label = format!("{median:.*}", measured.work.unit.decimals);
                let far = cell
                    .samples
                    .iter()
                    .map(|it| it.value)
                    .fold(median, f64::max);
                text(&mut svg, x(far) + 6.0, y + BAR - 3.0, "start", &label);
            }
            for sample in &cell.samples {
                dot(&mut svg, x(sample.value), y + BAR / 2.0);
            }
            y += BAR;
        }
        y += GAP;
    }
    svg + "</svg>\n"
}

/// A round number that is not less.
fn axis_end(largest: f64) -> f64 {
    if largest <= 0.0 {
        return 1.0;
    }
    let step = 10f64.powf(largest.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fits = steps.iter().find(|it| *it * step >= largest);
    fits.copied().unwrap_or(10.0) * step
}

fn axis(svg: &mut String, top: f64, height: f64, unit: &str) {
    for quarter in 0..=4 {
        let value = top * f64::from(quarter) / 4.0;
        let x = LEFT + WIDTH * f64::from(quarter) / 4.0;
        let bottom = height - 30.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#e0e0e0\"/>",
            HEAD - 8.0
        );
        let unit = if quarter == 4 { unit } else { "" };
        let label = format!("{value} {unit}");
        text(svg, x, bottom + 14.0, "middle", label.trim_end());
    }
}

fn legend(svg: &mut String, everyone: &[&str]) {
    let mut x = 12.0;
    for (n, who) in everyone.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"12\" width=\"11\" height=\"11\" fill=\"{colour}\"/>"
        );
        text(svg, x + 16.0, 22.0, "start", who);
        x += 36.0 + 6.4 * who.len() as f64;
    }
}

fn bar(svg: &mut String, (y, end): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
        y + 1.0,
        end - LEFT,
        BAR - 2.0
    );
}

fn dot(svg: &mut String, x: f64, y: f64) {
    let _ = writeln!(
        svg,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"white\" stroke=\"black\" stroke-width=\"0.7\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}
