//! A plot as SVG, small and the same each time.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;

/// Lines over time.
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// Seconds along the horizontal axis.
    pub(crate) seconds: u32,
    /// Greatest value of the vertical axis, and what it counts.
    pub(crate) most: u32,
    pub(crate) unit: &'static str,
    pub(crate) lines: Vec<Line>,
    /// A level worth a dashed line, and its name.
    pub(crate) level: (f64, &'static str),
}

/// Values at equal steps over the whole time.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) colour: &'static str,
    pub(crate) values: Vec<f64>,
}

impl Plot {
    fn y(&self, value: f64) -> f64 {
        TOP + HEIGHT - (value / f64::from(self.most)).min(1.0) * HEIGHT
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + second / f64::from(self.seconds) * WIDTH
    }

    pub(crate) fn svg(&self) -> String {
        let (width, height) = (LEFT + WIDTH + 20.0, TOP + HEIGHT + 50.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"18\" font-size=\"15\">{}</text>\n\
             <text x=\"{LEFT}\" y=\"36\" fill=\"#555\">{}</text>\n",
            self.title, self.subtitle
        );
        self.axes(&mut svg);
        let (level, name) = self.level;
        let (y, right) = (self.y(level), LEFT + WIDTH);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.0}H{right}\" stroke=\"#888\" stroke-dasharray=\"6 4\"/>\n\
             <text x=\"{right}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#555\">{name}</text>",
            y - 4.0
        );
        for (i, line) in self.lines.iter().enumerate() {
            self.line(&mut svg, i, line);
        }
        svg += "</svg>\n";
        svg
    }

    fn axes(&self, svg: &mut String) {
        let bottom = TOP + HEIGHT;
        for second in (0..=self.seconds).step_by(2) {
            let x = self.x(f64::from(second));
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.0} {TOP}V{bottom}\" stroke=\"#eee\"/>\n\
                 <text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{second}</text>",
                bottom + 16.0
            );
        }
        for value in (0..=self.most).step_by(self.most as usize / 6) {
            let y = self.y(f64::from(value));
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.0}h{WIDTH}\" stroke=\"#eee\"/>\n\
                 <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{value}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">seconds</text>\n\
             <text transform=\"translate(16 {:.0}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            LEFT + WIDTH / 2.0,
            bottom + 36.0,
            TOP + HEIGHT / 2.0,
            self.unit
        );
    }

    fn line(&self, svg: &mut String, i: usize, line: &Line) {
        let step = f64::from(self.seconds) / line.values.len() as f64;
        let points: Vec<_> = (1..)
            .zip(&line.values)
            .map(|(n, value)| format!("{:.0},{:.0}", self.x(f64::from(n) * step), self.y(*value)))
            .collect();
        let x = LEFT + WIDTH - 330.0 + 110.0 * i as f64;
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"{}\"/>\n\
             <path d=\"M{x:.0} 32h18\" stroke=\"{}\" stroke-width=\"3\"/>\n\
             <text x=\"{:.0}\" y=\"36\">{}</text>",
            line.colour,
            points.join(" "),
            line.colour,
            x + 24.0,
            line.name
        );
    }
}
