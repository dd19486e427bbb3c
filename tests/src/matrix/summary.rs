//! A table by clients and upstreams, for a person: how many scenarios came out how, and what was refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Cell, Outcome, Table};

/// Outcomes of one client at one upstream.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    passed: usize,
    refused: usize,
    failed: usize,
}

impl Counts {
    fn words(self) -> String {
        let Self { passed, refused, failed } = self;
        let mut words = vec![format!("{passed} pass")];
        words.extend((refused > 0).then(|| format!("{refused} refused")));
        words.extend((failed > 0).then(|| format!("{failed} FAIL")));
        words.join(", ")
    }
}

impl Table {
    /// A row a client, a column an upstream, in the order in which they came; then a line for whatever is refused.
    pub fn summary(&self) -> String {
        let (mut clients, mut upstreams): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        let mut counts: BTreeMap<(&str, &str), Counts> = BTreeMap::new();
        // By upstream, scenario and field: who met the refusal.
        let mut refusals: BTreeMap<(usize, &str, &str), BTreeSet<&str>> = BTreeMap::new();
        for Outcome { client, upstream, scenario, streaming: _, cell } in &self.outcomes {
            place(&mut clients, client);
            let column = place(&mut upstreams, upstream);
            let counted = counts.entry((client, upstream)).or_default();
            match cell {
                Cell::Passed => counted.passed += 1,
                Cell::Failed(_) => counted.failed += 1,
                Cell::Refused(field) => {
                    counted.refused += 1;
                    refusals.entry((column, scenario, field)).or_default().insert(client);
                }
            }
        }
        let mut rows =
            vec![[vec!["client".to_owned()], upstreams.iter().map(ToString::to_string).collect()].concat()];
        rows.extend(clients.iter().map(|client| {
            let cell = |upstream: &&str| {
                counts.get(&(*client, *upstream)).map_or("-".to_owned(), |cell| cell.words())
            };
            [vec![(*client).to_owned()], upstreams.iter().map(cell).collect()].concat()
        }));
        let mut text = aligned(&rows);
        for ((column, scenario, field), met_by) in refusals {
            let upstream = upstreams.get(column).copied().unwrap_or_default();
            let met_by = met_by.into_iter().collect::<Vec<_>>().join(", ");
            // A `String` takes whatever is written.
            let _ = writeln!(text, "{upstream} refuses `{field}` ({scenario}): {met_by}");
        }
        text
    }
}

/// Where `name` is in `names`; it is put there where it is not.
fn place<'a>(names: &mut Vec<&'a str>, name: &'a str) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_counted_and_named_with_those_who_met_it() {
        let outcome = |client: &str, upstream: &str, streaming, cell| Outcome {
            client: client.to_owned(),
            upstream: upstream.to_owned(),
            scenario: "tools".to_owned(),
            streaming,
            cell,
        };
        let refused = || Cell::Refused("tools".to_owned());
        let mut table = Table::default();
        table.add(vec![
            outcome("b", "open", false, refused()),
            outcome("b", "open", true, refused()),
            outcome("b", "closed", false, Cell::Passed),
            outcome("a", "open", false, refused()),
            outcome("a", "open", true, Cell::Failed("why".to_owned())),
        ]);
        assert_eq!(
            table.summary(),
            "client  open                       closed\n\
             b       0 pass, 2 refused          1 pass\n\
             a       0 pass, 1 refused, 1 FAIL  -\n\
             open refuses `tools` (tools): a, b\n"
        );
    }
}
