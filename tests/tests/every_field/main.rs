//! Every field of every kind: set, changed, taken away again, at its extremes, and wrong.
//!
//! A field that no row of the table speaks of fails the first test, so that none is accepted and not enforced: each changes
//! what the operator makes, or what a test shows that is named beside it.

mod apiserver;
mod schema;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use weighbridge_tests::faults::{Act, Scenario, Sweep, installed, merge_patch};

use schema::leaves;
use table::{Effect, Row, rows};

const OURS: &str = "serving.weighbridge.dev/v1alpha1";
/// What the object of a row is called.
const NAME: &str = "m";

/// `base` with `patch` merged into it.
fn with(base: &Value, patch: &Value) -> Value {
    let mut spec = base.clone();
    merge_patch(&mut spec, patch);
    spec
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": OURS, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[test]
fn the_table_speaks_of_each_field_and_of_no_other() {
    let known: BTreeSet<String> =
        leaves().unwrap().into_iter().map(|leaf| format!("{} {}", leaf.kind, leaf.path)).collect();
    let told: Vec<String> = rows().iter().map(|row| format!("{} {}", row.kind, row.path)).collect();
    let once: BTreeSet<String> = told.iter().cloned().collect();
    assert_eq!(once.len(), told.len(), "a field is in the table twice");
    let (new, gone) = (known.difference(&once), once.difference(&known));
    assert_eq!(
        known,
        once,
        "not in the table: {:#?}; no field: {:#?}",
        new.collect::<Vec<_>>(),
        gone.collect::<Vec<_>>()
    );
}

#[test]
fn the_tests_that_are_named_beside_fields_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = String::new();
    for folder in ["operator", "gateway", "inference-server/src", "tests/tests", "cli"] {
        read(&root.join(folder), &mut sources).unwrap();
    }
    for row in rows() {
        if let Effect::Shown(test) = row.effect {
            assert!(sources.contains(&format!("fn {test}(")), "{}: no test is called {test}", row.path);
        }
    }
}

fn read(folder: &Path, into: &mut String) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Set, changed and taken away, in process: each state is the one that the spec gives by itself, so that a field which was
/// taken away leaves nothing, and what was wrong in between leaves nothing either.
#[test]
fn each_field_moves_something_and_leaves_nothing() {
    let (start, _) = installed(None).unwrap();
    let scenarios: Vec<Scenario> = rows().iter().map(scenario).collect();
    let mut swept = Sweep::default();
    for scenario in &scenarios {
        swept.course(scenario, &start, None);
    }
    let words: String = swept.divergences.iter().map(ToString::to_string).collect();
    assert!(words.is_empty(), "{words}");
}

fn scenario(row: &Row) -> Scenario {
    let apply = |patch: &Value| vec![Act::Apply(object(row.kind, NAME, &with(&row.base, patch)))];
    let beside = row.beside.iter().cloned().map(Act::Apply);
    let first = beside.chain(apply(&json!({}))).collect::<Vec<_>>();
    let scenario = Scenario::new(row.path).on("before", first);
    let states = [Some(("set", &row.set)), row.changed.as_ref().map(|patch| ("changed", patch))];
    let mut scenario =
        states.into_iter().flatten().fold(scenario, |scenario, (name, patch)| match row.effect {
            _ if row.remembers => scenario.on(name, apply(patch)),
            Effect::Made => scenario.edit(name, apply(patch)),
            Effect::Shown(_) => scenario.to(name, apply(patch)),
        });
    if let Some(wrong) = &row.wrong {
        scenario = scenario.on("wrong", apply(wrong)).to("right again", apply(&row.set));
    }
    if row.remembers {
        scenario.on("taken away", apply(&json!({})))
    } else {
        scenario.to("taken away", apply(&json!({})))
    }
}
