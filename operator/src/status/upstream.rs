//! What a proxy says of its provider, as conditions. Pure: `weighbridge up` says the same of a proxy in its process.

use jiff::{SignedDuration, Timestamp};
use weighbridge_crds::condition::{self, Reason};
use weighbridge_crds::{
    KeyCondition, ModelList, ProviderKeyStatus, ProviderState, SecretKey, UpstreamHealth,
};

use super::conditions::Says;

/// A model that ends within this is told: time enough to move to another.
const RETIRES_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Models that one message names.
const NAMED: usize = 5;

/// Reasons for which nothing can be answered though the proxy runs: the fault is beyond it.
pub(super) const BEYOND_THE_PROXY: [Reason; 3] =
    [Reason::CredentialsInvalid, Reason::QuotaExhausted, Reason::ProviderUnreachable];

/// A model that a ModelDeployment names at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedModel {
    /// The ModelDeployment.
    pub deployment: String,
    /// The provider's name of the model.
    pub model: String,
}

/// What a proxy says, in a status' terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// CredentialsValid, QuotaAvailable, ModelsCurrent, and ResidencyKept where a region is demanded.
    pub says: Vec<Says>,
    /// Why no call can be answered, where none can.
    pub dead: Option<(Reason, String)>,
    /// The keys.
    pub keys: Vec<ProviderKeyStatus>,
}

/// What of a provider's spec its proxy's words are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `apiKeys`, in their order.
    pub keys: Vec<SecretKey>,
    /// `dataPolicy.region`.
    pub region: Option<String>,
    /// The models that are named at the provider.
    pub models: Vec<NamedModel>,
}

/// What `state` comes to for what is `asked` of the provider. Without a state nothing is known.
pub fn upstream(asked: &Asked, state: Option<&ProviderState>, now: Timestamp) -> Upstream {
    let Asked { keys, region, models } = asked;
    let region = region.as_deref();
    let Some(state) = state else {
        let types = [condition::CREDENTIALS_VALID, condition::QUOTA_AVAILABLE, condition::MODELS_CURRENT];
        let residency = region.map(|_| condition::RESIDENCY_KEPT);
        let unknown = |type_| {
            let message = "the proxy does not say how it stands with the provider";
            Says::unknown(type_, Reason::StateUnknown, message)
        };
        return Upstream {
            says: types.into_iter().chain(residency).map(unknown).collect(),
            dead: None,
            keys: Vec::new(),
        };
    };
    let keys = Keys { named: keys, state };
    let mut says = vec![keys.credentials(), keys.quota(), listed(state.models.as_ref(), models, now)];
    says.extend(region.map(|region| residency(state, region)));
    Upstream { dead: dead(&keys, state), says, keys: keys.status() }
}

/// The named keys beside what the proxy says of each. A proxy with other keys than these speaks of another spec.
struct Keys<'a> {
    named: &'a [SecretKey],
    state: &'a ProviderState,
}

impl Keys<'_> {
    fn are(&self, conditions: &[KeyCondition]) -> Vec<usize> {
        let states = self.state.keys.iter().enumerate();
        states.filter(|(_, key)| conditions.contains(&key.state)).map(|(index, _)| index).collect()
    }

    /// Keys that can be sent, now or later.
    fn alive(&self) -> usize {
        self.state.keys.len() - self.are(&DEAD).len()
    }

    fn name(&self, indexes: &[usize]) -> String {
        let name = |index: &usize| match self.named.get(*index) {
            Some(SecretKey { name, key }) => {
                format!("apiKeys[{index}] (key {key:?} of Secret {name:?})")
            }
            None => format!("apiKeys[{index}]"),
        };
        indexes.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn credentials(&self) -> Says {
        let type_ = condition::CREDENTIALS_VALID;
        let dead = self.are(&DEAD);
        let left = match self.alive() {
            0 => "no other key is left, and no call can be answered".to_owned(),
            1 => "1 other key is used".to_owned(),
            alive => format!("{alive} other keys are used"),
        };
        if !dead.is_empty() {
            let problem = if self.are(&[KeyCondition::Missing]) == dead {
                "the proxy finds no key in"
            } else {
                "the provider refuses"
            };
            let message =
                format!("{problem} {}: put a working key into the Secret; {left}", self.name(&dead));
            return Says::no(type_, Reason::CredentialsInvalid, message);
        }
        let (all, unproven) = (self.state.keys.len(), self.are(&[KeyCondition::Unproven]).len());
        match unproven {
            0 => {
                let message = format!("the provider takes every key, {all} of {all}");
                Says::yes(type_, Reason::CredentialsAccepted, message)
            }
            _ if !self.state.probed => {
                let message = "the provider is asked whether it takes the keys";
                Says::unknown(type_, Reason::NotProven, message)
            }
            unproven if unproven == all => {
                let message = "no call has shown yet whether the provider takes the keys, and its list of models does \
                               not tell";
                Says::unknown(type_, Reason::NotProven, message)
            }
            unproven => {
                let message = format!(
                    "the provider takes {} of {all} keys; no call has shown yet whether it takes the others",
                    all - unproven
                );
                Says::yes(type_, Reason::CredentialsAccepted, message)
            }
        }
    }

    fn quota(&self) -> Says {
        let type_ = condition::QUOTA_AVAILABLE;
        let usable = self.are(&[KeyCondition::Usable, KeyCondition::Unproven]).len();
        let (limited, used_up) =
            (self.are(&[KeyCondition::RateLimited]), self.are(&[KeyCondition::QuotaExhausted]));
        if usable > 0 {
            let message = format!("{usable} of {} keys can be used now", self.state.keys.len());
            return Says::yes(type_, Reason::QuotaLeft, message);
        }
        if !limited.is_empty() {
            let message = format!("the provider limits every key that it takes, {}", self.until(&limited));
            return Says::no(type_, Reason::RateLimited, message);
        }
        if !used_up.is_empty() {
            let message = format!(
                "the provider says that money or quota of the account is used up: see the account; it is tried again, {}",
                self.until(&used_up)
            );
            return Says::no(type_, Reason::QuotaExhausted, message);
        }
        Says::unknown(type_, Reason::CredentialsInvalid, "the provider takes no key")
    }

    /// When the first of these keys can be used again.
    fn until(&self, indexes: &[usize]) -> String {
        let keys = indexes.iter().filter_map(|index| self.state.keys.get(*index)?.until.as_ref());
        keys.min().map_or_else(|| "until it says otherwise".to_owned(), |until| format!("until {}", until.0))
    }

    fn status(&self) -> Vec<ProviderKeyStatus> {
        let keys = self.named.iter().zip(&self.state.keys);
        keys.map(|(SecretKey { name, key }, state)| ProviderKeyStatus {
            name: name.clone(),
            key: key.clone(),
            state: state.state,
            until: state.until.clone(),
        })
        .collect()
    }
}

/// How a key stands that no call should be sent with.
const DEAD: [KeyCondition; 3] = [KeyCondition::Refused, KeyCondition::Forbidden, KeyCondition::Missing];

fn dead(keys: &Keys<'_>, state: &ProviderState) -> Option<(Reason, String)> {
    if keys.alive() == 0 {
        let says = keys.credentials();
        return Some((Reason::CredentialsInvalid, says.message));
    }
    if !state.probed {
        return Some((Reason::Progressing, "the provider is asked whether it takes the keys".to_owned()));
    }
    if keys.are(&[KeyCondition::QuotaExhausted]).len() == keys.alive() {
        return Some((Reason::QuotaExhausted, keys.quota().message));
    }
    if state.upstream == UpstreamHealth::Failing {
        let said = state.last_upstream_error.as_ref();
        let said = said.map(|error| format!(": {}", error.message)).unwrap_or_default();
        return Some((Reason::ProviderUnreachable, format!("the provider does not answer{said}")));
    }
    None
}

fn listed(list: Option<&ModelList>, models: &[NamedModel], now: Timestamp) -> Says {
    let type_ = condition::MODELS_CURRENT;
    let Some(list) = list else {
        return Says::unknown(
            type_,
            Reason::ModelsNotListed,
            "the provider's list of models could not be read",
        );
    };
    let (mut missing, mut ending, mut unlisted) = (Vec::new(), Vec::new(), 0);
    for NamedModel { deployment, model } in models {
        match standing(list, model, now) {
            Listed::Current => {}
            Listed::Unlisted => unlisted += 1,
            Listed::Missing => missing.push(format!("{model} of ModelDeployment {deployment}")),
            Listed::Ending(end) => ending.push(format!("{model} of ModelDeployment {deployment} {end}")),
        }
    }
    if !missing.is_empty() {
        let message = format!("not in the provider's list of models: {}", some(&missing));
        return Says::no(type_, Reason::ModelNotFound, message);
    }
    if !ending.is_empty() {
        let message = format!("by the provider's list of models, {}", some(&ending));
        return Says::no(type_, Reason::ModelRetiring, message);
    }
    match (models.len(), unlisted) {
        (0, _) => Says::yes(type_, Reason::ModelsListed, "no ModelDeployment names a model here"),
        (all, 0) => Says::yes(
            type_,
            Reason::ModelsListed,
            format!("the provider lists every model named, {all} of {all}"),
        ),
        (all, unlisted) => {
            let message = format!(
                "the provider's list does not tell of {unlisted} of {all} models named: it lists what can be deployed, \
                 and they may be deployments' names"
            );
            Says::unknown(type_, Reason::ModelsNotListed, message)
        }
    }
}

/// How one model stands in a list.
pub(super) enum Listed {
    /// It is there.
    Current,
    /// It is not there, which says nothing.
    Unlisted,
    /// It is not there, and so it can't be called.
    Missing,
    /// It ends soon, or has; when, in words.
    Ending(String),
}

/// How `model` stands in the provider's list.
pub(super) fn standing(list: &ModelList, model: &str, now: Timestamp) -> Listed {
    // What somebody tuned is in a list of its own.
    let tuned = model.starts_with("tunedModels/");
    let Some(found) = list.find(model) else {
        return if list.complete && !tuned { Listed::Missing } else { Listed::Unlisted };
    };
    let end = found.retires.and_then(|end| Timestamp::from_second(end).ok());
    match end {
        Some(end) if end <= now => Listed::Ending(format!("ended at {end}")),
        Some(end) if end.duration_since(now) <= RETIRES_SOON => Listed::Ending(format!("ends at {end}")),
        Some(_) | None => Listed::Current,
    }
}

/// The first few of `all`, and how many there are beside them.
fn some(all: &[String]) -> String {
    let shown = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

fn residency(state: &ProviderState, region: &str) -> Says {
    let type_ = condition::RESIDENCY_KEPT;
    match &state.residency_mismatch {
        None => {
            let message = format!("no answer came from elsewhere than {region}");
            Says::yes(type_, Reason::RegionKept, message)
        }
        Some(mismatch) => {
            let stated = mismatch.stated.as_ref().map_or_else(
                || "an answer, or a refusal, did not say that it came from there".to_owned(),
                |stated| format!("an answer came from {stated:?}"),
            );
            let message = format!("dataPolicy.region is {:?}, and {stated}", mismatch.required);
            Says::no(type_, Reason::RegionMismatch, message)
        }
    }
}

#[cfg(test)]
mod tests {
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
        let keys = keys
            .iter()
            .map(|state| KeyState { state: *state, until: until.clone().filter(|_| limited(*state)) });
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
            (
                &[K::Usable, K::Unproven],
                (Truth::True, "CredentialsAccepted"),
                (Truth::True, "QuotaLeft"),
                None,
            ),
            (&[K::Unproven, K::Unproven], (Truth::Unknown, "NotProven"), (Truth::True, "QuotaLeft"), None),
            (
                &[K::Usable, K::Refused],
                (Truth::False, "CredentialsInvalid"),
                (Truth::True, "QuotaLeft"),
                None,
            ),
            (
                &[K::Usable, K::Missing],
                (Truth::False, "CredentialsInvalid"),
                (Truth::True, "QuotaLeft"),
                None,
            ),
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
        assert!(
            unknown.says.iter().all(|says| says.truth == Truth::Unknown && says.reason == "StateUnknown")
        );
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
        seen.residency_mismatch =
            Some(ResidencyMismatch { time: Time(NOW), required: "us".to_owned(), stated });
        let (truth, reason, message) = of(&upstream(&asked(), Some(&seen), NOW), "ResidencyKept");
        assert_eq!((truth, reason.as_str()), (Truth::False, "RegionMismatch"));
        assert!(message.contains("\"us\"") && message.contains("\"global\""), "{message}");
        let free = Asked { region: None, ..asked() };
        assert_eq!(upstream(&free, Some(&seen), NOW).says.len(), 3);
    }
}
