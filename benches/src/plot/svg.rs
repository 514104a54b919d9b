//! The picture: times on a logarithmic axis, one row a peer.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Row;
use crate::error::BenchError;

const WIDTH: u32 = 960;
const ROW: u32 = 34;
const TOP: u32 = 36;
const BOTTOM: u32 = 40;
/// Of peers' names, and of what is said of each.
const LEFT: u32 = 190;
const RIGHT: u32 = 250;

/// Half of a box's and a strip's height, in rows.
const BOX: f64 = 0.28;
const STRIP: f64 = 0.2;

/// Of many samples, as many stand for all.
const POINTS: usize = 200;

/// Middle tones, and no background: they are as readable on white as on black.
const TEXT: RGBColor = RGBColor(0x78, 0x78, 0x78);
const OURS: RGBColor = RGBColor(0x2b, 0x7f, 0xc4);
const THEIRS: RGBColor = RGBColor(0xb5, 0x6f, 0x1c);

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, RangedCoordf64>>;
type Failed<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// Draws the rows, the first at the top.
pub fn draw(rows: &[Row], caption: &str) -> Result<String, BenchError> {
    let mut text = String::new();
    draw_into(&mut text, rows, caption).map_err(|error| BenchError::Draw(error.to_string()))?;
    Ok(text)
}

fn draw_into<'a>(text: &'a mut String, rows: &[Row], caption: &str) -> Result<(), Failed<'a>> {
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX / ROW);
    let height = TOP + BOTTOM + ROW * count;
    let area = SVGBackend::with_string(text, (WIDTH, height)).into_drawing_area();
    let all = || rows.iter().flat_map(|row| &row.walls).copied();
    let least = float(all().min().unwrap_or(1)) * 0.8;
    let most = float(all().max().unwrap_or(1)) * 1.25;
    let mut chart = ChartBuilder::on(&area)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .x_label_area_size(BOTTOM)
        .y_label_area_size(LEFT)
        .build_cartesian_2d((least..most).log_scale(), 0.0..f64::from(count))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .bold_line_style(TEXT.mix(0.35))
        .light_line_style(TEXT.mix(0.12))
        .axis_style(TEXT)
        .x_label_style(style(TEXT, HPos::Center))
        .x_label_formatter(&|micros| time(*micros))
        .draw()?;
    let head =
        format!("time, logarithmic; box: half of the runs, line: median, tick: 99 % · {caption}");
    let head = head.trim_end_matches([' ', '·']).to_owned();
    area.draw(&Text::new(head, (8, 18), style(TEXT, HPos::Left)))?;
    for (row, below) in rows.iter().zip((0..count).rev()) {
        draw_row(&mut chart, row, f64::from(below) + 0.5)?;
        label(&area, &chart, row, f64::from(below) + 0.5)?;
    }
    area.present()
}

/// A strip of samples, the box of their middle half, median and 99th percentile.
fn draw_row<'b>(chart: &mut Chart<'_, 'b>, row: &Row, middle: f64) -> Result<(), Failed<'b>> {
    let colour = colour(row);
    let at = |percent| float(row.percentile(percent));
    let step = row.walls.len().div_ceil(POINTS).max(1);
    let points = row
        .walls
        .iter()
        .step_by(step)
        .zip(0u32..)
        .map(|(wall, index)| {
            // The golden ratio spreads neighbours evenly over the strip.
            let spread = (f64::from(index) * 0.618_034).fract() * 2.0 - 1.0;
            let place = (float(*wall), middle + spread * STRIP);
            Circle::new(place, 2, colour.mix(0.3).filled())
        });
    chart.draw_series(points)?;
    let corners = [(at(25), middle - BOX), (at(75), middle + BOX)];
    chart.draw_series([Rectangle::new(corners, colour.stroke_width(1))])?;
    let upright = |time: f64, half: f64, width| {
        let ends = vec![(time, middle - half), (time, middle + half)];
        PathElement::new(ends, colour.stroke_width(width))
    };
    chart.draw_series([upright(at(50), BOX + 0.08, 3), upright(at(99), STRIP, 1)])?;
    Ok(())
}

/// The peer's name on the left; median, 99th percentile and ratio on the right.
fn label<'b>(
    area: &DrawingArea<SVGBackend<'b>, plotters::coord::Shift>,
    chart: &Chart<'_, 'b>,
    row: &Row,
    middle: f64,
) -> Result<(), Failed<'b>> {
    let (_, y) = chart.backend_coord(&(float(row.percentile(50)), middle));
    let pixels = |pixels: u32| i32::try_from(pixels).unwrap_or(0);
    let name = match row.concurrency {
        1 => row.peer.clone(),
        many => format!("{} × {many}", row.peer),
    };
    let place = (pixels(LEFT) - 10, y);
    area.draw(&Text::new(name, place, style(colour(row), HPos::Right)))?;
    let (median, p99) = (float(row.percentile(50)), float(row.percentile(99)));
    let ratio = row
        .ratio
        .map_or_else(String::new, |ratio| format!(" · {ratio:?}×"));
    let figures = format!("{} · p99 {}{ratio}", time(median), time(p99));
    let place = (pixels(WIDTH - RIGHT) + 10, y);
    area.draw(&Text::new(figures, place, style(TEXT, HPos::Left)))
}

fn colour(row: &Row) -> RGBColor {
    match row.name() {
        _ if row.is_measure() => TEXT,
        peer if peer.starts_with("lakekeep") => OURS,
        _ => THEIRS,
    }
}

fn style(colour: RGBColor, to: HPos) -> TextStyle<'static> {
    let font = ("sans-serif", 13).into_font().color(&colour);
    font.pos(Pos::new(to, VPos::Center))
}

/// `850 µs`, `12.3 ms`, `1.2 s`
fn time(micros: f64) -> String {
    match micros {
        few if few < 1e3 => format!("{few:.0} µs"),
        some if some < 1e6 => with_three_digits(some / 1e3, "ms"),
        many => with_three_digits(many / 1e6, "s"),
    }
}

fn with_three_digits(value: f64, unit: &str) -> String {
    match value {
        whole if whole.fract() == 0.0 || whole >= 100.0 => format!("{whole:.0} {unit}"),
        tens if tens >= 10.0 => format!("{tens:.1} {unit}"),
        ones => format!("{ones:.2} {unit}"),
    }
}

/// No run takes an hour; the logarithm takes no zero.
fn float(micros: u64) -> f64 {
    f64::from(u32::try_from(micros.max(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_xml_with_one_row_a_peer() {
        let row = |peer: &str, concurrency, from: u64| Row {
            peer: peer.to_owned(),
            concurrency,
            walls: (from..from + 500).collect(),
            ratio: Some(1.5),
        };
        let rows = [
            row("fork+exec", 1, 0),
            row("<crun>", 1, 20_000),
            row("lakekeep", 8, 9_000),
        ];
        let text = draw(&rows, "a & b").unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let texts: Vec<&str> = document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .filter_map(|node| node.text())
            .map(str::trim)
            .collect();
        for name in ["fork+exec", "<crun>", "lakekeep × 8"] {
            assert_eq!(
                texts.iter().filter(|text| **text == name).count(),
                1,
                "{texts:?}"
            );
        }
        assert_eq!(
            texts.iter().filter(|text| text.ends_with("1.5×")).count(),
            3,
            "{texts:?}"
        );
        let tagged = |name| {
            document
                .descendants()
                .filter(move |node| node.has_tag_name(name))
        };
        assert_eq!(tagged("rect").count(), rows.len());
        assert!(tagged("circle").count() <= rows.len() * POINTS);
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let texts = [850.0, 1_000.0, 1_234.0, 45_678.0, 456_789.0, 1_200_000.0].map(time);
        assert_eq!(
            texts,
            ["850 µs", "1 ms", "1.23 ms", "45.7 ms", "457 ms", "1.20 s"]
        );
    }
}
