//! Plain tables: aligned columns, two spaces between them, as wide as the reader's lines at most.

use super::{Paint, View, text};

/// Between two columns.
const GAP: usize = 2;

/// A flexible column does not become narrower.
const FLEXIBLE_MIN: usize = 8;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
    /// Text that is cut where the line is full.
    Flexible,
}

/// A word in a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// Makes a cell of somebody else's text.
    pub(super) fn new(text: &str) -> Self {
        Self { text: text::clean_line(text), paint: Paint::Plain }
    }

    /// Makes a cell of a count; nothing where there is nothing.
    pub(super) fn count(count: u64) -> Self {
        if count == 0 { Self::default() } else { Self::new(&count.to_string()) }
    }

    /// Colours it.
    pub(super) fn paint(mut self, paint: Paint) -> Self {
        self.paint = paint;
        self
    }
}

/// Columns and rows.
#[derive(Debug, Default)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Begins a table.
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Takes away the columns in which nothing stands.
    pub(super) fn without_empty_columns(mut self) -> Self {
        let used: Vec<bool> =
            (0..self.columns.len()).map(|at| self.rows.iter().any(|row| !row[at].text.is_empty())).collect();
        let mut keep = used.iter();
        self.columns.retain(|_| *keep.next().unwrap_or(&true));
        for row in &mut self.rows {
            let mut keep = used.iter();
            row.retain(|_| *keep.next().unwrap_or(&true));
        }
        self
    }

    /// Renders the heading and the rows, each on a line.
    pub(super) fn lines(&self, view: &View) -> Vec<String> {
        let widths = self.widths(view.width);
        let heading: Vec<Cell> = self.columns.iter().map(|(head, _)| Cell::new(head).paint(Paint::Faint)).collect();
        let heading = if self.columns.iter().all(|(head, _)| head.is_empty()) { None } else { Some(&heading) };
        heading.into_iter().chain(&self.rows).map(|row| self.line(row, &widths, view)).collect()
    }

    /// Renders everything as one text.
    pub(super) fn render(&self, view: &View) -> String {
        self.lines(view).into_iter().map(|line| line + "\n").collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize], view: &View) -> String {
        let mut line = String::new();
        let mut owed = 0;
        for ((cell, &columns), (_, align)) in row.iter().zip(widths).zip(&self.columns) {
            let fitted = text::fit(&cell.text, columns);
            let room = columns - text::width(&fitted);
            let (before, after) = if *align == Align::Right { (room, 0) } else { (0, room) };
            if !fitted.is_empty() {
                line.push_str(&" ".repeat(owed + before));
                line.push_str(&view.paint(&fitted, cell.paint));
                owed = after + GAP;
            } else {
                owed += columns + GAP;
            }
        }
        line
    }

    fn widths(&self, width_max: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (head, _))| {
                self.rows.iter().map(|row| text::width(&row[at].text)).chain([text::width(head)]).max().unwrap_or(0)
            })
            .collect();
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width_max {
            let widest = (0..widths.len())
                .filter(|&at| self.columns[at].1 == Align::Flexible && widths[at] > FLEXIBLE_MIN)
                .max_by_key(|&at| widths[at]);
            match widest {
                Some(at) => widths[at] -= 1,
                None => break,
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::VIEW;

    #[test]
    fn columns_stand_under_each_other_and_fit() {
        let mut table = Table::new(&[("ID", Align::Right), ("NAME", Align::Flexible), ("N", Align::Left)]);
        table.row(vec![Cell::new("7"), Cell::new("a name that is long"), Cell::new("x")]);
        table.row(vec![Cell::new("123"), Cell::new("日本"), Cell::default()]);
        let view = View { width: 20, ..VIEW };
        assert_eq!(table.render(&view), " ID  NAME          N\n  7  a name that…  x\n123  日本\n");
        assert!(table.lines(&view).iter().all(|line| text::width(line) <= 20));
    }

    #[test]
    fn empty_columns_go() {
        let mut table = Table::new(&[("A", Align::Left), ("B", Align::Left)]);
        table.row(vec![Cell::new("1"), Cell::count(0)]);
        assert_eq!(table.without_empty_columns().render(&VIEW), "A\n1\n");
    }

    #[test]
    fn colour_takes_no_columns() {
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
        table.row(vec![Cell::new("ok").paint(Paint::Good), Cell::new("x")]);
        table.row(vec![Cell::new("long"), Cell::new("y")]);
        let view = View { color: true, ..VIEW };
        assert_eq!(table.render(&view), "\u{1b}[32mok\u{1b}[0m    x\nlong  y\n");
    }
}
