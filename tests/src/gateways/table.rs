//! Values of rounds, a row a gateway.

use std::io::Write;

use anyhow::Result;

use crate::figures::quantile;

/// Values by row and column, one a round.
pub struct Table {
    columns: &'static [&'static str],
    rows: Vec<(&'static str, Vec<Vec<f64>>)>,
}

impl Table {
    /// One with these columns and no row.
    pub fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a round's value.
    pub fn add(&mut self, row: &'static str, column: &str, value: f64) {
        let Some(at) = self.columns.iter().position(|name| *name == column) else { return };
        let known = self.rows.iter().position(|(name, _)| *name == row);
        let index = known.unwrap_or_else(|| {
            self.rows.push((row, vec![Vec::new(); self.columns.len()]));
            self.rows.len() - 1
        });
        if let Some(values) = self.rows.get_mut(index).and_then(|(_, columns)| columns.get_mut(at)) {
            values.push(value);
        }
    }

    /// The median of a row's column; 0 where there is none.
    pub fn median(&self, row: &str, column: &str) -> f64 {
        let at = self.columns.iter().position(|name| *name == column);
        let values = self.rows.iter().find(|(name, _)| *name == row).zip(at);
        let values = values.and_then(|((_, columns), at)| columns.get(at));
        quantile(&mut values.cloned().unwrap_or_default(), 0.5)
    }

    /// The rows' names, in the order of their first values.
    pub fn rows(&self) -> impl Iterator<Item = &'static str> {
        self.rows.iter().map(|(name, _)| *name)
    }

    /// Prints medians, each with the quartiles around it.
    ///
    /// # Errors
    /// Where standard output is closed.
    pub fn print(&self) -> Result<()> {
        let mut out = std::io::stdout();
        write!(out, "\n{:28}", "median [quartiles]")?;
        for column in self.columns {
            write!(out, " {column:>26}")?;
        }
        writeln!(out)?;
        for (name, columns) in &self.rows {
            write!(out, "{name:28}")?;
            for values in columns {
                let mut values = values.clone();
                let mut at = |share| quantile(&mut values, share);
                let text = match (at(0.5), at(0.25), at(0.75)) {
                    _ if values.is_empty() => "-".to_owned(),
                    (median, low, high) => format!("{} [{}, {}]", short(median), short(low), short(high)),
                };
                write!(out, " {text:>26}")?;
            }
            writeln!(out)?;
        }
        writeln!(out)?;
        Ok(())
    }
}

/// As many digits as mean something.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_found_by_row_and_column() {
        let mut table = Table::new(&["a", "b"]);
        for value in [3.0, 1.0, 2.0] {
            table.add("x", "b", value);
        }
        assert_eq!((table.median("x", "b"), table.median("x", "a"), table.median("y", "b")), (2.0, 0.0, 0.0));
        assert_eq!(table.rows().collect::<Vec<_>>(), ["x"]);
    }
}
