//! Whether calls go where they are to, by the gateways' own word and not by the kubelet's. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use weighbridge_crds::World;
use weighbridge_crds::condition::{self, Reason};

use super::conditions::Says;
use crate::gateways::{Gateway, Routes, Seen, Word};

/// Gateways that are named; with more, their number says enough.
const NAMED: usize = 3;

/// What gateways are to do with calls for a model whose pods, or whose provider's, answer.
pub(super) struct Wanted<'a> {
    /// UID of the model.
    pub uid: &'a str,
    /// Its spec.
    pub generation: i64,
    /// The world that the spec says.
    pub world: World,
    /// The pods that answer, of the current revision, or the provider's; of these one is enough, for the others follow.
    pub pods: Vec<&'a str>,
    /// What gateways were told so far.
    pub told: Told,
}

/// What gateways were told of a swap of worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// To call the world of the spec: there is no swap, or it is through.
    Wanted,
    /// The same, by the very status that is made here: none can know of it.
    Now,
    /// To call the world before, which they do rightly.
    Before,
}

/// What `Routable` says; `old` is what it said.
pub(super) fn routable(gateways: &Seen, wanted: &Wanted<'_>, old: Option<&Condition>) -> Says {
    let gateways = match gateways {
        Seen::NotYet => return as_it_was(old, "which gateways are ready is not known yet"),
        Seen::Ready(gateways) => gateways,
    };
    let type_ = condition::ROUTABLE;
    if gateways.is_empty() {
        return Says::unknown(type_, Reason::NoGateway, "no gateway is ready, or the operator knows of none");
    }
    match wanted.told {
        Told::Before => {
            return Says::no(
                type_,
                Reason::Progressing,
                "gateways are told once the new world can take over",
            );
        }
        // They go on with the world before, which is there until they have heard.
        Told::Now if old.is_some_and(|old| old.status == "True") => {}
        Told::Now => {
            return Says::no(type_, Reason::Progressing, "gateways are told to send calls to the new world");
        }
        Told::Wanted => {
            if let Some(words) = named(gateways, |word| lag(word, wanted)) {
                return Says::no(type_, Reason::AwaitingGateways, words);
            }
        }
    }
    let lost = |word: &Word| (*word == Word::Lost).then(|| "does not say what it routes".to_owned());
    if let Some(words) = named(gateways, lost) {
        return Says::unknown(type_, Reason::GatewaysUnheard, words);
    }
    let unheard = |word: &Word| (*word == Word::NotYet).then(|| "has not said yet what it routes".to_owned());
    if let Some(words) = named(gateways, unheard) {
        return as_it_was(old, &words);
    }
    // Nothing of how many they are: else each change of one would be a write for every model there is.
    Says::yes(type_, Reason::Routed, "every ready gateway sends calls to what answers")
}

/// Who has just begun to lead, or a gateway that is new, has not been heard, and changes no status for it.
fn as_it_was(old: Option<&Condition>, words: &str) -> Says {
    match old.filter(|old| old.status == "True") {
        Some(old) => Says::again(condition::ROUTABLE, old),
        None => Says::unknown(condition::ROUTABLE, Reason::GatewaysUnheard, words),
    }
}

/// Why what a gateway says is not what is wanted of it; none where it is, or where it says nothing.
fn lag(word: &Word, wanted: &Wanted<'_>) -> Option<String> {
    let Wanted { uid, generation, world, pods, told: _ } = wanted;
    let routes: &Routes = match word {
        Word::NotYet | Word::Lost => return None,
        Word::Unknown => return Some("does not know of it".to_owned()),
        Word::Routes(routes) => routes,
    };
    if !routes.is_of(uid) {
        return Some("knows an earlier one of its name".to_owned());
    }
    if routes.generation < *generation {
        return Some(format!("goes by generation {} of {generation}", routes.generation));
    }
    if routes.world != *world {
        return Some(format!("sends calls to the {} world", routes.world.backend().to_lowercase()));
    }
    let reached =
        if pods.is_empty() { routes.pods() > 0 } else { pods.iter().any(|pod| routes.leads_to(pod)) };
    (!reached).then(|| "sends calls to none of the pods that answer".to_owned())
}

/// Those gateways of which `says` says something, with it.
fn named(gateways: &[Gateway], says: impl Fn(&Word) -> Option<String>) -> Option<String> {
    let told: Vec<String> = gateways
        .iter()
        .filter_map(|gateway| Some(format!("gateway {} {}", gateway.name, says(&gateway.word)?)))
        .collect();
    let more = told.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!told.is_empty()).then(|| format!("{}{more}", told[..told.len().min(NAMED)].join("; ")))
}

/// Since when the model is routable, where `says` say that it is: since now, or since when `old` said so.
pub(super) fn since(says: &[Says], old: &[Condition], now: Timestamp) -> Option<Timestamp> {
    let is_routable = says.iter().any(|says| says.type_ == condition::ROUTABLE && says.good());
    let before = old.iter().find(|old| old.type_ == condition::ROUTABLE && old.status == "True");
    is_routable.then(|| before.map_or(now, |before| before.last_transition_time.0))
}
