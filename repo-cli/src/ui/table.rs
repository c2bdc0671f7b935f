//! Rows → an aligned table, as restic prints it: two blanks between columns, none at the end of a line.

/// A table: headings, rows of cells, closing lines. A cell may hold several lines.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    footer: Vec<String>,
    /// Whether an empty line stands between rows.
    pub spaced: bool,
}

impl Table {
    /// Adds a column.
    pub fn column(&mut self, heading: &str) -> &mut Self {
        self.columns.push(heading.to_owned());
        self
    }

    /// Adds a row, one cell per column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds a line below the table.
    pub fn footer(&mut self, line: impl Into<String>) {
        self.footer.push(line.into());
    }

    /// The lines: headings, a rule, the rows, a rule, the footer.
    pub fn lines(&self) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let head = line(&widths, |column| &self.columns[column]);
        let mut body = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            if self.spaced && at > 0 {
                body.push(String::new());
            }
            let height = row.iter().map(|cell| cell.split('\n').count()).max().unwrap_or(0);
            for at in 0..height {
                let part = |column: usize| {
                    row.get(column).and_then(|cell| cell.split('\n').nth(at)).unwrap_or_default()
                };
                body.push(line(&widths, part));
            }
        }
        let gaps = widths.len().saturating_sub(1) * GAP.len();
        let rule = "-".repeat(widths.iter().sum::<usize>() + gaps);
        let mut lines = vec![head, rule.clone()];
        lines.extend(body);
        lines.push(rule);
        lines.extend(self.footer.iter().cloned());
        lines
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let parts = cells.flat_map(|cell| cell.split('\n'));
        let heading = std::iter::once(self.columns[column].as_str());
        heading.chain(parts).map(width).max().unwrap_or(0)
    }
}

/// The cells of one line, each filled up to its column's width; no blanks at the end.
fn line<'a>(widths: &[usize], cell: impl Fn(usize) -> &'a str) -> String {
    let mut line = String::new();
    for (column, width_max) in widths.iter().enumerate() {
        let text = cell(column);
        let blanks = " ".repeat(width_max.saturating_sub(width(text)));
        line.extend([if column == 0 { "" } else { GAP }, text, &blanks]);
    }
    line.truncate(line.trim_end().len());
    line
}

const GAP: &str = "  ";

/// How many columns of a terminal a text takes: wide letters of East Asia and emoji take two, marks none.
pub fn width(text: &str) -> usize {
    text.chars().map(symbol_width).sum()
}

/// Shortens a text to so many columns, with an ellipsis where something is missing.
pub fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let mut short: String = text
        .chars()
        .take_while(|symbol| {
            let fits = symbol_width(*symbol) <= left;
            left = left.saturating_sub(symbol_width(*symbol));
            fits
        })
        .collect();
    if columns > 0 {
        short.push('…');
    }
    short
}

fn symbol_width(symbol: char) -> usize {
    match u32::from(symbol) {
        0..=0x1f | 0x7f..=0x9f | 0x300..=0x36f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0x4dbf
        | 0x4e00..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let mut table = Table::default();
        table.column("ID").column("Tags").column("Size");
        table.row(["1a".into(), "a\nbcd".into(), "12".into()]);
        table.row(["2b".into(), String::new(), "3".into()]);
        table.footer("2 snapshots");
        let expected = [
            "ID  Tags  Size",
            "--------------",
            "1a  a     12",
            "    bcd",
            "2b        3",
            "--------------",
            "2 snapshots",
        ];
        assert_eq!(table.lines(), expected);
        table.spaced = true;
        assert_eq!(table.lines()[3..5], [expected[3], ""]);
    }

    #[test]
    fn wide_letters_take_two_columns() {
        assert_eq!(width("ab"), 2);
        assert_eq!(width("日本"), 4);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("😀"), 2);
    }

    #[test]
    fn long_texts_are_shortened_to_the_column() {
        let check = |text: &str, columns, expected: &str| assert_eq!(shorten(text, columns), expected);
        check("short", 5, "short");
        check("longer", 5, "long…");
        check("日本語", 5, "日本…");
        check("x", 0, "");
    }
}
