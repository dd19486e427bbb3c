//! What came of it, a row a client and scenario, a column an upstream.

use std::collections::BTreeMap;
use std::fmt;

/// What came of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The client.
    pub client: String,
    /// What it was pointed at.
    pub upstream: String,
    /// What it did.
    pub scenario: String,
    /// Whether answers were streamed.
    pub streaming: bool,
    /// Whether it came out well.
    pub cell: Cell,
}

/// How a scenario came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// As it should.
    Passed,
    /// Refused by the name of this field, as it should.
    Refused(String),
    /// Otherwise, and how.
    Failed(String),
}

/// Outcomes in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(super) outcomes: Vec<Outcome>,
}

impl Table {
    /// Adds what one client said.
    pub fn add(&mut self, outcomes: Vec<Outcome>) {
        self.outcomes.extend(outcomes);
    }

    /// How many cells it has.
    pub fn cells(&self) -> usize {
        self.outcomes.len()
    }

    /// Every failed cell, in words; empty where all is well.
    pub fn failures(&self) -> String {
        let failed = self.outcomes.iter().filter_map(|outcome| {
            let Outcome { client, upstream, scenario, streaming, cell } = outcome;
            let form = form(*streaming);
            match cell {
                Cell::Passed | Cell::Refused(_) => None,
                Cell::Failed(why) => Some(format!("{client} × {upstream} × {scenario} ({form}): {why}\n")),
            }
        });
        failed.collect()
    }
}

fn form(streaming: bool) -> &'static str {
    if streaming { "stream" } else { "whole" }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut upstreams: Vec<&str> = Vec::new();
        let mut rows: Vec<[&str; 3]> = Vec::new();
        let mut cells = BTreeMap::new();
        for Outcome { client, upstream, scenario, streaming, cell } in &self.outcomes {
            if !upstreams.contains(&upstream.as_str()) {
                upstreams.push(upstream);
            }
            let row = [client.as_str(), scenario.as_str(), form(*streaming)];
            if !rows.contains(&row) {
                rows.push(row);
            }
            let word = match cell {
                Cell::Passed => "ok",
                Cell::Refused(_) => "no",
                Cell::Failed(_) => "FAIL",
            };
            cells.insert((row, upstream.as_str()), word);
        }
        let widest = |of: usize, least: usize| {
            rows.iter().map(|row| row[of].chars().count()).chain([least]).max().unwrap_or(least)
        };
        let (first, second, third) = (widest(0, "client".len()), widest(1, "scenario".len()), "stream".len());
        write!(formatter, "{:first$}  {:second$}  {:third$}", "client", "scenario", "")?;
        for upstream in &upstreams {
            write!(formatter, "  {upstream:4}")?;
        }
        writeln!(formatter)?;
        for row in rows {
            let [client, scenario, form] = row;
            write!(formatter, "{client:first$}  {scenario:second$}  {form:third$}")?;
            for upstream in &upstreams {
                let cell = cells.get(&(row, *upstream)).unwrap_or(&"-");
                write!(formatter, "  {cell:width$}", width = upstream.chars().count().max(4))?;
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_was_not_tried_is_told_from_one_that_failed() {
        let outcome = |upstream: &str, streaming, cell| Outcome {
            client: "c".to_owned(),
            upstream: upstream.to_owned(),
            scenario: "text".to_owned(),
            streaming,
            cell,
        };
        let mut table = Table::default();
        table.add(vec![
            outcome("open", false, Cell::Passed),
            outcome("closed", true, Cell::Failed("why".to_owned())),
        ]);
        assert_eq!(
            table.to_string(),
            "client  scenario          open  closed\n\
             c       text      whole   ok    -     \n\
             c       text      stream  -     FAIL  \n"
        );
        assert_eq!(table.failures(), "c × closed × text (stream): why\n");
    }
}
