//! Every official client through the gateway: to a model of open weights, and to a provider of each dialect behind its
//! proxy. The table of what came of it is part of `make test`'s output.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod bed;
mod column;
mod expected;
mod signs_of_life;

use std::io::Write as _;

use bed::Bed;
use column::Column;
use futures::StreamExt;
use weighbridge_tests::matrix::{CLIENTS, Clients, Table};

/// Clients at once: each is a process of its own, and the gateway with all that is behind it is another thread.
const AT_ONCE: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_reaches_every_upstream_through_the_gateway() {
    let clients = Clients::install().await.expect("the clients");
    let bed = Bed::new().await;
    let (bed, clients) = (&bed, &clients);
    let runs = CLIENTS.iter().map(|client| async move {
        let providers = bed.providers(client).await;
        let upstreams: Vec<_> = Column::ALL.iter().map(|column| bed.upstream(client, *column)).collect();
        let outcomes = clients.run(client, &bed.server(), &upstreams).await.expect("it runs");
        (outcomes, bed.unequal_counts(client, &providers).await, bed.lost_thoughts(client, &providers))
    });
    let done: Vec<_> = futures::stream::iter(runs).buffered(AT_ONCE).collect().await;
    let (mut table, mut unequal, mut lost) = (Table::default(), String::new(), String::new());
    for (outcomes, counts, thoughts) in done {
        table.add(outcomes);
        unequal.push_str(&counts);
        lost.push_str(&thoughts);
    }
    // Past what the test harness holds back: the table is what `make test` shows.
    writeln!(std::io::stderr(), "\n{table}\n{}{}", table.summary(), expected::NOT_ASKED).expect("written");
    let failures = table.failures();
    assert!(failures.is_empty(), "\n{failures}");
    assert!(unequal.is_empty(), "what the gateway metered is not what the provider counted:\n{unequal}");
    assert!(lost.is_empty(), "thoughts that did not come back, or should not have:\n{lost}");
    assert_eq!(table.cells(), CELLS, "a scenario more or less than this test knows of");
}

/// The page that callers read promises what is tested, and no more is refused.
#[test]
fn what_is_refused_is_what_the_documents_say() {
    let page = include_str!("../../../docs/gateway.md");
    let (_, section) = page.split_once("## What an upstream can't be asked").expect("the section");
    let table: Vec<Vec<&str>> = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for column in Column::ALL {
        let index = table[0].iter().position(|name| *name == column.name()).expect("a column of the page");
        for client in &CLIENTS {
            for (scenario, field) in expected::refused(client, column) {
                let named = format!("`{field}`");
                let found = table.iter().any(|row| row[index].contains(&named));
                assert!(found, "{named} of {} ({scenario}) is not on the page", column.name());
            }
        }
    }
}

/// Scenarios in all, whole and streamed.
const CELLS: usize = 2828;
