use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weighbridge_crds::{AccessKey, ModelAccessSpec};
use weighbridge_wire::canonical::FailureClass;

use super::*;

const KEY: &str = "wb-canary-0815";
const OTHER: &str = "wb-canary-4711";

fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::UNIX_EPOCH).expect("a time") + std::time::Duration::from_secs(1_000)
}

/// `namespace/name`, made that many seconds after 1970, with `keys` by name.
fn resource(name: &str, made: i64, keys: &[(&str, &str)], models: &[&str]) -> ModelAccess {
    let keys = keys.iter().map(|(name, key)| AccessKey {
        name: (*name).to_owned(),
        sha256: Digest::of(key.as_bytes()).to_string(),
        expires_at: None,
    });
    let spec = ModelAccessSpec {
        keys: keys.collect(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
    };
    let (namespace, name) = name.split_once('/').expect("both");
    let mut access = ModelAccess::new(name, spec);
    access.metadata.namespace = Some(namespace.to_owned());
    access.metadata.creation_timestamp = Some(Time(Timestamp::from_second(made).expect("a time")));
    access
}

fn team(models: &[&str]) -> Access {
    Access::from_resources(&[resource("team/apps", 1, &[("ci", KEY)], models)])
}

fn headers(headers: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    headers.iter().map(pair).collect()
}

fn bearer(key: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {key}"))])
}

fn refused(access: &Access, with: &HeaderMap) -> Failure {
    let failure = access.authenticate(with, now()).expect_err("refused");
    for key in [KEY, OTHER] {
        assert!(!format!("{failure:?}").contains(&key[3..]), "{failure:?}");
    }
    failure
}

#[test]
fn a_key_counts_in_the_header_of_every_dialect() {
    let access = team(&["*"]);
    for with in [
        headers(&[("authorization", &format!("Bearer {KEY}"))]),
        headers(&[("authorization", &format!("bearer   {KEY} "))]),
        headers(&[("x-api-key", KEY)]),
        headers(&[("x-goog-api-key", KEY)]),
        headers(&[("api-key", KEY)]),
        // One client sends both; a header without a key in it says nothing.
        headers(&[("x-api-key", KEY), ("authorization", &format!("Bearer {KEY}"))]),
        headers(&[("x-api-key", KEY), ("authorization", "Bearer ")]),
        headers(&[("x-api-key", KEY), ("authorization", "Basic dXNlcg==")]),
    ] {
        let caller = access.authenticate(&with, now()).expect("let in");
        assert_eq!(
            (caller.namespace(), caller.access(), caller.key_name()),
            ("team", Some("team/apps"), Some("ci"))
        );
    }
}

#[test]
fn without_its_key_nobody_passes_and_the_fix_is_told() {
    let access = team(&["*"]);
    for (with, words) in [
        (headers(&[]), "No API key"),
        (headers(&[("authorization", &format!("Basic {KEY}"))]), "No API key"),
        (headers(&[("authorization", &format!("Bearer{KEY}"))]), "No API key"),
        (headers(&[("authorization", KEY)]), "Authorization: Bearer KEY"),
        (headers(&[("x-api-key", " ")]), "No API key"),
        (bearer(OTHER), "not one of this server's"),
        (bearer(&KEY[..KEY.len() - 1]), "cut short"),
        (bearer(&format!("{KEY}x")), "weighbridge key create"),
        (bearer(&Digest::of(KEY.as_bytes()).to_string()), "not one of this server's"),
        (headers(&[("x-api-key", KEY), ("api-key", OTHER)]), "Two different"),
        (headers(&[("x-api-key", KEY), ("x-api-key", OTHER)]), "Two different"),
    ] {
        let failure = refused(&access, &with);
        assert_eq!(failure.class, FailureClass::Credential);
        assert!(failure.message.contains(words), "{words:?} is not in {}", failure.message);
    }
}

#[test]
fn a_cluster_without_a_model_access_lets_nobody_in_and_says_what_to_apply() {
    let access = Access::from_resources(&[]);
    for with in [headers(&[]), bearer(KEY)] {
        let failure = refused(&access, &with);
        assert_eq!(failure.class, FailureClass::Credential);
        for words in ["weighbridge key create --name me --namespace", "| kubectl apply -f -"] {
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }
}

#[test]
fn before_the_keys_are_listed_a_caller_is_told_to_come_back() {
    let access = Access::unsynced();
    assert!(!access.is_synced());
    let failure = refused(&access, &bearer(KEY));
    assert_eq!((failure.class, failure.retry_after_seconds), (FailureClass::Overloaded, Some(1)));
    access.replace(&[resource("team/apps", 1, &[("ci", KEY)], &["*"])]);
    assert!(access.is_synced() && access.authenticate(&bearer(KEY), now()).is_ok());
}

#[test]
fn a_key_ends_when_it_says() {
    let mut apps = resource("team/apps", 1, &[("ci", KEY)], &["*"]);
    for (seconds, holds) in [(1_001, true), (1_000, false), (0, false)] {
        apps.spec.keys[0].expires_at = Some(Time(Timestamp::from_second(seconds).expect("a time")));
        let access = Access::from_resources(std::slice::from_ref(&apps));
        assert_eq!(access.authenticate(&bearer(KEY), now()).is_ok(), holds, "{seconds}");
        if !holds {
            let failure = refused(&access, &bearer(KEY));
            assert!(
                failure.message.contains("`ci` of ModelAccess `team/apps` expired at 1970-01-01T"),
                "{failure}"
            );
        }
    }
}

#[test]
fn a_change_holds_from_the_next_request_on() {
    let access = team(&["*"]);
    let caller = access.authenticate(&bearer(KEY), now()).expect("let in");
    access.replace(&[resource("team/apps", 1, &[("ci", OTHER)], &["*"])]);
    refused(&access, &bearer(KEY));
    assert!(access.authenticate(&bearer(OTHER), now()).is_ok());
    // A request under way is not called back.
    assert!(access.permit(&caller, "m").is_ok());
}

#[test]
fn a_model_brings_its_adapters_an_adapter_not_its_model_and_nothing_crosses_a_namespace() {
    for (models, name, allowed) in [
        (&["*"][..], "m", true),
        (&["*"], "team/m", true),
        (&["*"], "m:tone", true),
        (&["*"], "other/m", false),
        (&["*"], "", true),
        (&["m"], "m", true),
        (&["m"], "team/m", true),
        (&["m"], "m:tone", true),
        (&["m"], "mm", false),
        (&["m"], "team/n", false),
        (&["m"], "other/m", false),
        (&["m"], "*", false),
        (&["m"], "", false),
        (&["m:tone"], "m:tone", true),
        (&["m:tone"], "team/m:tone", true),
        (&["m:tone"], "m", false),
        (&["m:tone"], "m:other", false),
        (&["m:tone"], "other/m:tone", false),
        (&["n", "m"], "m", true),
    ] {
        let access = team(models);
        let caller = access.authenticate(&bearer(KEY), now()).expect("let in");
        assert_eq!(caller.may_call(name), allowed, "{models:?} {name}");
        assert_eq!(access.permit(&caller, name).is_ok(), allowed, "{models:?} {name}");
    }
}

#[test]
fn what_is_forbidden_is_said_with_the_callers_own_words_alone() {
    let access = team(&["m"]);
    let caller = access.authenticate(&bearer(KEY), now()).expect("let in");
    let said = |name: &str| access.permit(&caller, name).expect_err("forbidden");
    let failure = said("n");
    assert_eq!(failure.class, FailureClass::Forbidden);
    assert_eq!(said("other/there").message, failure.message.replace("`n`", "`other/there`"));
}

#[test]
fn a_key_that_two_name_is_the_older_ones() {
    let (old, young) = (
        resource("team/apps", 1, &[("ci", KEY)], &["m"]),
        resource("aaa/thief", 2, &[("mine", KEY)], &["*"]),
    );
    for both in [[old.clone(), young.clone()], [young, old]] {
        let access = Access::from_resources(&both);
        let caller = access.authenticate(&bearer(KEY), now()).expect("let in");
        assert_eq!((caller.access(), caller.may_call("aaa/m")), (Some("team/apps"), false));
    }
}

#[test]
fn what_can_not_be_read_is_left_out_alone() {
    let mut apps = resource("team/apps", 1, &[("broken", OTHER), ("ci", KEY)], &["*"]);
    apps.spec.keys[0].sha256 = "md5:1".to_owned();
    let access = Access::from_resources(&[apps]);
    assert!(access.authenticate(&bearer(KEY), now()).is_ok());
    refused(&access, &bearer(OTHER));
}

#[test]
fn an_open_door_asks_nobody_and_looks_bare_names_up_where_it_was_told() {
    let access = Access::open("team");
    for with in [headers(&[]), bearer(OTHER)] {
        let caller = access.authenticate(&with, now()).expect("let in");
        assert_eq!((caller.namespace(), caller.access(), caller.key_name()), ("team", None, None));
        assert!(access.permit(&caller, "anywhere/m").is_ok());
    }
    access.replace(&[]);
    assert!(!access.is_enforced() && access.is_synced() && access.authenticate(&headers(&[]), now()).is_ok());
}

#[test]
fn refusals_are_counted_by_reason_and_by_nothing_else() {
    let access = team(&["m"]);
    let mut registry = Registry::default();
    access.register_metrics(&mut registry);
    refused(&access, &headers(&[]));
    refused(&access, &bearer(OTHER));
    refused(&access, &bearer(OTHER));
    let caller = access.authenticate(&bearer(KEY), now()).expect("let in");
    access.permit(&caller, "n").expect_err("forbidden");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    for line in ["no_key\"} 1", "unknown_key\"} 2", "forbidden_model\"} 1"] {
        assert!(text.contains(&format!("weighbridge_access_refusals_total{{reason=\"{line}")), "{text}");
    }
    assert!(!text.contains("canary") && !text.contains("ci"), "{text}");
}
