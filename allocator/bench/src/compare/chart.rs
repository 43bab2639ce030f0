//! The results as a picture: bars of every allocator's time in parts of the best peer's, on a logarithmic axis.

use std::fmt::Write as _;

use super::results::Results;

const LEFT: f64 = 190.0;
const WIDTH: f64 = 640.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 64.0;
const BAR: f64 = 7.0;
const GAP: f64 = 10.0;
/// lfalloc's, then those of the peers: told apart by those who do not see all colours, too (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#d55e00", "#000000", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#999999"];

/// An SVG of the whole comparison.
pub(crate) fn chart(results: &Results) -> String {
    let axis = Axis::of(results);
    let group = results.contenders.len() as f64 * BAR + GAP;
    let height = TOP + results.rows.len() as f64 * group + 20.0;
    let width = LEFT + WIDTH + RIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"18\" font-size=\"13\">Time per operation, in parts of the best peer's (logarithmic; \
         less is better)</text>\n"
    );
    for (column, contender) in results.contenders.iter().enumerate() {
        let x = 10.0 + column as f64 * 105.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"28\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"37\">{}</text>",
            colour(column),
            x + 14.0,
            escaped(&contender.name)
        );
    }
    for tick in axis.ticks() {
        let x = axis.x(tick);
        let stroke = if (tick - 1.0).abs() < 1e-9 { "#666666" } else { "#dddddd" };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{stroke}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            height - 20.0,
            TOP - 6.0
        );
    }
    for (number, row) in results.rows.iter().enumerate() {
        let y = TOP + number as f64 * group + GAP / 2.0;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + group / 2.0 - 1.0,
            escaped(&row.workload)
        );
        for column in 0..results.contenders.len() {
            let Some(standing) = results.standing(row, column) else { continue };
            let (one, end) = (axis.x(1.0), axis.x(standing.ratio));
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\">\
                 <title>{}, {}: {:.2}</title></rect>",
                one.min(end),
                y + column as f64 * BAR,
                // The best one is seen, too.
                (end - one).abs().max(1.5),
                BAR - 1.0,
                colour(column),
                escaped(&results.contenders[column].name),
                escaped(&row.workload),
                standing.ratio
            );
        }
    }
    svg + "</svg>\n"
}

fn colour(column: usize) -> &'static str {
    COLOURS[column % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// From one power of two to another.
struct Axis {
    from: i32,
    to: i32,
}

impl Axis {
    fn of(results: &Results) -> Self {
        let ratios = results.rows.iter().flat_map(|row| {
            (0..results.contenders.len())
                .filter_map(|column| Some(results.standing(row, column)?.ratio))
        });
        let (least, most) = ratios
            .fold((1.0_f64, 2.0_f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
        Self { from: least.log2().floor() as i32, to: most.log2().ceil() as i32 }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.from..=self.to).map(|power| 2.0_f64.powi(power))
    }

    fn x(&self, ratio: f64) -> f64 {
        let part = (ratio.log2() - f64::from(self.from)) / f64::from(self.to - self.from);
        LEFT + WIDTH * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::made_up;

    /// Aim: every ratio has its bar, in its place. Method: a snapshot of made-up measurements.
    #[test]
    fn the_chart_is_complete() {
        let chart = chart(&made_up());
        assert_eq!(chart.matches("<title>").count(), 8);
        insta::assert_snapshot!(chart);
    }
}
