//! For people: tables, ages, sizes. What comes from a sandbox or a stranger never
//! steers the reader's terminal.

use std::time::SystemTime;

use lakekeep_policy::Bytes;

pub use super::clean::{clean, clean_lines};

/// Colours of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// As it is.
    Plain,
    /// All is well.
    Green,
    /// It stands still.
    Yellow,
    /// It is over.
    Dim,
}

impl Colour {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Green => Some("32"),
            Self::Yellow => Some("33"),
            Self::Dim => Some("2"),
        }
    }
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    colour: Colour,
    right: bool,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: clean(&text.into()),
            colour: Colour::Plain,
            right: false,
        }
    }
}

impl Cell {
    /// A figure, set to the right.
    pub fn figure(text: impl Into<String>) -> Self {
        Self {
            right: true,
            ..Self::from(text.into())
        }
    }

    /// In a colour.
    pub fn coloured(self, colour: Colour) -> Self {
        Self { colour, ..self }
    }

    fn padded(&self, width: usize, last: bool, colours: bool) -> String {
        let gap = width.saturating_sub(self.text.chars().count());
        let text = match self.colour.code().filter(|_| colours) {
            Some(code) => format!("\x1b[{code}m{}\x1b[0m", self.text),
            None => self.text.clone(),
        };
        match (self.right, last) {
            (true, _) => format!("{}{text}", " ".repeat(gap)),
            (false, true) => text,
            (false, false) => format!("{text}{}", " ".repeat(gap)),
        }
    }
}

/// Whether colours are wanted: a terminal, and nobody said no (no-color.org).
pub fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && rustix::termios::isatty(rustix::stdio::stdout())
}

/// Lines with aligned columns under a heading.
pub fn table(heading: &[&str], rows: &[Vec<Cell>], colours: bool) -> String {
    let mut lines = vec![Vec::new()];
    for (column, name) in heading.iter().enumerate() {
        // A heading stands over its figures.
        let right = rows
            .first()
            .and_then(|row| row.get(column))
            .is_some_and(|cell| cell.right);
        lines[0].push(Cell {
            right,
            ..Cell::from(*name)
        });
    }
    lines.extend(rows.iter().cloned());
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells
            .map(|cell| cell.text.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells
            .map(|(column, (cell, width))| cell.padded(*width, column + 1 == line.len(), colours));
        let cells: Vec<String> = cells.collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// `name  value` lines; empty values are left out.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<_> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = pairs
        .iter()
        .map(|(name, value)| format!("{name:width$}  {}\n", clean(value)));
    lines.collect()
}

/// A span of time in its largest unit: `3m`.
pub fn age(from: Option<SystemTime>, to: SystemTime) -> String {
    let Some(from) = from else {
        return "-".to_owned();
    };
    let seconds = to.duration_since(from).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A size with two or three figures: `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, rounded down.
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths {
        0..1000 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{} {}", tenths / 10, UNITS[unit]),
    }
}

/// A limit; 0 is none.
pub fn limit(bytes: u64) -> String {
    match bytes {
        0 => "-".to_owned(),
        bytes => Bytes(bytes).to_string(),
    }
}

/// Thousandths, as a number with at most three places: `1.5`.
pub fn thousandths(count: u64) -> String {
    let text = format!("{}.{:03}", count / 1000, count % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn columns_are_aligned_and_figures_stand_right() {
        let rows = vec![
            vec!["a".into(), Cell::figure("7"), "short".into()],
            vec!["longer".into(), Cell::figure("1234"), "x".into()],
        ];
        assert_eq!(
            table(&["NAME", "PIDS", "WHAT"], &rows, false),
            "NAME    PIDS  WHAT\na          7  short\nlonger  1234  x\n"
        );
        assert_eq!(table(&["NAME"], &[], false), "NAME\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = vec![vec![Cell::from("on").coloured(Colour::Green), "x".into()]];
        assert_eq!(
            table(&["STATE", "B"], &rows, true),
            "STATE  B\n\x1b[32mon\x1b[0m     x\n"
        );
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            clean("a\x1b[2Jb\r\n\u{9b}\u{202e}é"),
            "a\\u{1b}[2Jb\\r\\n\\u{9b}\\u{202e}é"
        );
        assert_eq!(clean_lines("a\nb\x07"), "a\nb\\u{7}");
    }

    #[test]
    fn sizes_and_ages_are_short() {
        let sizes: Vec<String> = [0, 1023, 1024, 1536, 200 << 20, 3 << 40, u64::MAX]
            .into_iter()
            .map(size)
            .collect();
        assert_eq!(
            sizes,
            [
                "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "200 MiB", "3.0 TiB", "15.9 EiB"
            ]
        );
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        let ages = [59, 60, 7199, 86_400].map(|seconds| age(ago(seconds), now));
        assert_eq!(ages, ["59s", "1m", "1h", "1d"]);
        assert_eq!(age(None, now), "-");
        assert_eq!(thousandths(1500), "1.5");
        assert_eq!(thousandths(2000), "2");
    }

    #[test]
    fn pairs_leave_out_what_is_empty() {
        assert_eq!(
            pairs(&[
                ("id", "x".to_owned()),
                ("image", String::new()),
                ("owner", "ann".to_owned())
            ]),
            "id     x\nowner  ann\n"
        );
    }
}
