use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weighbridge_crds::{KeyState, ListedModel, ResidencyMismatch, UpstreamError};

use super::super::conditions::Truth;
use super::*;

const NOW: Timestamp = Timestamp::constant(1_772_712_000, 0);
const DAY: i64 = 86_400;

fn asked() -> Asked {
    let key = |key: &str| SecretKey { name: "account".to_owned(), key: key.to_owned() };
    Asked { keys: vec![key("first"), key("second")], region: Some("us".to_owned()), models: Vec::new() }
}

fn state(keys: &[KeyCondition]) -> ProviderState {
    let until = Some(Time(NOW));
    let limited = |state| matches!(state, KeyCondition::RateLimited | KeyCondition::QuotaExhausted);
    let keys =
        keys.iter().map(|state| KeyState { state: *state, until: until.clone().filter(|_| limited(*state)) });
    ProviderState {
        probed: true,
        keys: keys.collect(),
        upstream: UpstreamHealth::Answering,
        ..ProviderState::default()
    }
}

fn of(upstream: &Upstream, type_: &str) -> (Truth, String, String) {
    let says = upstream.says.iter().find(|says| says.type_ == type_).unwrap();
    (says.truth, says.reason.clone(), says.message.clone())
}

#[test]
fn keys_make_credentials_quota_and_whether_anything_can_be_answered() {
    use KeyCondition as K;
    type Case<'a> = (&'a [K], (Truth, &'a str), (Truth, &'a str), Option<Reason>);
    let cases: [Case<'_>; 10] = [
        (&[K::Usable, K::Usable], (Truth::True, "CredentialsAccepted"), (Truth::True, "QuotaLeft"), None),
        (&[K::Usable, K::Unproven], (Truth::True, "CredentialsAccepted"), (Truth::True, "QuotaLeft"), None),
        (&[K::Unproven, K::Unproven], (Truth::Unknown, "NotProven"), (Truth::True, "QuotaLeft"), None),
        (&[K::Usable, K::Refused], (Truth::False, "CredentialsInvalid"), (Truth::True, "QuotaLeft"), None),
        (&[K::Usable, K::Missing], (Truth::False, "CredentialsInvalid"), (Truth::True, "QuotaLeft"), None),
        (
            &[K::Forbidden, K::Refused],
            (Truth::False, "CredentialsInvalid"),
            (Truth::Unknown, "CredentialsInvalid"),
            Some(Reason::CredentialsInvalid),
        ),
        (
            &[K::Usable, K::RateLimited],
            (Truth::True, "CredentialsAccepted"),
            (Truth::True, "QuotaLeft"),
            None,
        ),
        (
            &[K::QuotaExhausted, K::RateLimited],
            (Truth::True, "CredentialsAccepted"),
            (Truth::False, "RateLimited"),
            None,
        ),
        (
            &[K::QuotaExhausted, K::QuotaExhausted],
            (Truth::True, "CredentialsAccepted"),
            (Truth::False, "QuotaExhausted"),
            Some(Reason::QuotaExhausted),
        ),
        (
            &[K::QuotaExhausted, K::Refused],
            (Truth::False, "CredentialsInvalid"),
            (Truth::False, "QuotaExhausted"),
            Some(Reason::QuotaExhausted),
        ),
    ];
    for (keys, credentials, quota, dead) in cases {
        let upstream = upstream(&asked(), Some(&state(keys)), NOW);
        let (truth, reason, message) = of(&upstream, "CredentialsValid");
        assert_eq!((truth, reason.as_str()), credentials, "{keys:?}: {message}");
        let (truth, reason, message) = of(&upstream, "QuotaAvailable");
        assert_eq!((truth, reason.as_str()), quota, "{keys:?}: {message}");
        assert_eq!(upstream.dead.as_ref().map(|(reason, _)| *reason), dead, "{keys:?}");
        assert_eq!(upstream.keys.len(), 2);
    }
}

#[test]
fn a_refused_key_is_named_by_its_secret_and_a_limit_by_its_end() {
    use KeyCondition as K;
    let refused = upstream(&asked(), Some(&state(&[K::Usable, K::Refused])), NOW);
    let message = of(&refused, "CredentialsValid").2;
    for word in ["apiKeys[1]", "\"second\"", "\"account\"", "1 other key is used"] {
        assert!(message.contains(word), "{message}");
    }
    let limited = upstream(&asked(), Some(&state(&[K::RateLimited, K::RateLimited])), NOW);
    assert!(of(&limited, "QuotaAvailable").2.contains("until 2026-03-05T12:00:00Z"));
    assert_eq!(limited.keys[0].until, Some(Time(NOW)));
}

#[test]
fn before_the_first_answers_nothing_is_promised_and_an_outage_is_told() {
    let mut state = state(&[KeyCondition::Unproven, KeyCondition::Unproven]);
    state.probed = false;
    let begun = upstream(&asked(), Some(&state), NOW);
    assert_eq!(of(&begun, "CredentialsValid").1, "NotProven");
    assert_eq!(begun.dead.map(|(reason, _)| reason), Some(Reason::Progressing));
    (state.probed, state.upstream) = (true, UpstreamHealth::Failing);
    state.last_upstream_error = Some(UpstreamError {
        time: Time(NOW),
        status: Some(500),
        class: "upstream".to_owned(),
        message: "the provider said: boom".to_owned(),
    });
    let (reason, message) = upstream(&asked(), Some(&state), NOW).dead.unwrap();
    assert_eq!(reason, Reason::ProviderUnreachable);
    assert!(message.contains("the provider said: boom"), "{message}");
    let unknown = upstream(&asked(), None, NOW);
    assert!(unknown.says.iter().all(|says| says.truth == Truth::Unknown && says.reason == "StateUnknown"));
    assert_eq!((unknown.says.len(), unknown.dead), (4, None));
}

#[test]
fn a_model_that_is_gone_or_ends_soon_is_named() {
    let model = |name: &str, retires: Option<i64>| ListedModel {
        name: name.to_owned(),
        aliases: Vec::new(),
        retires: retires.map(|days| NOW.as_second() + days * DAY),
    };
    let list = |complete| ModelList {
        complete,
        models: vec![
            model("here", None),
            model("later", Some(31)),
            model("soon", Some(29)),
            model("over", Some(-1)),
        ],
    };
    let says = |complete: bool, models: &[&str]| {
        let named: Vec<_> = models
            .iter()
            .map(|model| NamedModel { deployment: format!("of-{model}"), model: (*model).to_owned() })
            .collect();
        listed(Some(&list(complete)), &named, NOW)
    };
    for (complete, models, truth, reason, words) in [
        (true, vec![], Truth::True, "ModelsListed", "no ModelDeployment"),
        (true, vec!["here", "later"], Truth::True, "ModelsListed", "2 of 2"),
        (true, vec!["here", "gone"], Truth::False, "ModelNotFound", "gone of ModelDeployment of-gone"),
        (
            true,
            vec!["here", "soon"],
            Truth::False,
            "ModelRetiring",
            "soon of ModelDeployment of-soon ends at",
        ),
        (true, vec!["over"], Truth::False, "ModelRetiring", "over of ModelDeployment of-over ended at"),
        (true, vec!["tunedModels/mine"], Truth::Unknown, "ModelsNotListed", "1 of 1"),
        (false, vec!["here", "gone"], Truth::Unknown, "ModelsNotListed", "1 of 2"),
        (false, vec!["gone", "soon"], Truth::False, "ModelRetiring", "soon"),
    ] {
        let says = says(complete, &models);
        assert_eq!((says.truth, says.reason.as_str()), (truth, reason), "{models:?}");
        assert!(says.message.contains(words), "{}", says.message);
    }
    let many: Vec<String> = (0..9).map(|number| format!("gone-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(says(true, &many).message.ends_with("and 4 more"));
    assert_eq!(listed(None, &[], NOW).truth, Truth::Unknown);
}

#[test]
fn residency_is_told_only_where_it_is_demanded() {
    let mut seen = state(&[KeyCondition::Usable, KeyCondition::Usable]);
    assert_eq!(of(&upstream(&asked(), Some(&seen), NOW), "ResidencyKept").0, Truth::True);
    let stated = Some("global".to_owned());
    seen.residency_mismatch = Some(ResidencyMismatch { time: Time(NOW), required: "us".to_owned(), stated });
    let (truth, reason, message) = of(&upstream(&asked(), Some(&seen), NOW), "ResidencyKept");
    assert_eq!((truth, reason.as_str()), (Truth::False, "RegionMismatch"));
    assert!(message.contains("\"us\"") && message.contains("\"global\""), "{message}");
    let free = Asked { region: None, ..asked() };
    assert_eq!(upstream(&free, Some(&seen), NOW).says.len(), 3);
}
