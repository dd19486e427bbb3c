//! What a provider's owner demands of where a request is answered and of what is kept of it: what a request must say for
//! it, and where the answer says whether it was so.

use serde_json::{Value, json};

use super::{Kind, Place};
use crate::canonical::{Failure, FailureClass};
use crate::lane::Operation;

/// Azure's name of the region that answered.
const AZURE_REGION: &str = "x-ms-region";
/// Most characters of a region in our words: they are the provider's.
const REGION_CHARACTERS: usize = 64;

/// The demands on one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPolicy {
    kind: Kind,
    region: Option<Region>,
    store: Option<Store>,
    withholds: bool,
}

/// A place, and what holds the provider to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Region {
    name: String,
    held_by: HeldBy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HeldBy {
    /// The host that is called; the provider refuses what does not belong there.
    Host(String),
    /// `inference_geo` of the request, which the usage of the answer repeats.
    InferenceGeo,
    /// A header of the answer.
    Header(&'static str),
    /// Nothing: such a region is refused wherever it is written, and if one is there yet, no request goes out.
    Nothing,
}

/// How the provider is told to keep nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// `store: false`.
    False,
    /// Not at all; as [`HeldBy::Nothing`].
    Untold,
}

/// Where an answer says the place that it was made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// In this header.
    Header(&'static str),
    /// In itself: [`crate::lane::Whole::place`], [`crate::lane::Observed::place`].
    Body,
}

/// An answer that was not made where it was to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where it was to be made.
    pub required: String,
    /// Where the provider says it was; none where it does not say.
    pub stated: Option<String>,
}

impl DataPolicy {
    /// `region` in the provider's word; `not_stored`: it is to keep nothing to be fetched again; `withholds`: what was
    /// made elsewhere is not delivered.
    pub fn new(kind: Kind, region: Option<&str>, not_stored: bool, withholds: bool) -> Self {
        let held_by = match kind {
            Kind::OpenAi => HeldBy::Host(format!("{}.api.openai.com", region.unwrap_or_default())),
            Kind::Anthropic => HeldBy::InferenceGeo,
            Kind::AzureOpenAi => HeldBy::Header(AZURE_REGION),
            // A cloud's region is its place ([`Self::at`]), and no answer of theirs says where it was made.
            Kind::Gemini
            | Kind::Vertex
            | Kind::Bedrock
            | Kind::OpenAiCompatible
            | Kind::AnthropicCompatible => HeldBy::Nothing,
        };
        let store = match kind {
            Kind::OpenAi | Kind::AzureOpenAi => Store::False,
            Kind::Anthropic
            | Kind::Gemini
            | Kind::Vertex
            | Kind::Bedrock
            | Kind::OpenAiCompatible
            | Kind::AnthropicCompatible => Store::Untold,
        };
        let region = region.map(|name| Region { name: name.to_owned(), held_by });
        Self { kind, region, store: not_stored.then_some(store), withholds }
    }

    /// What a cloud's place demands by itself: that requests go to its host.
    pub fn at(place: &Place) -> Self {
        let url = place.base_url();
        let host = url.strip_prefix("https://").unwrap_or(&url).to_owned();
        let region = Region { name: place.name().to_owned(), held_by: HeldBy::Host(host) };
        Self { kind: place.kind(), region: Some(region), store: None, withholds: true }
    }

    /// What the body of `asked`, as the provider gets it, must say.
    ///
    /// # Errors
    /// Where such a request can't be held to the demands: it is not sent.
    pub fn fields(&self, asked: Operation) -> Result<Vec<(&'static str, Value)>, Failure> {
        let mut fields = Vec::new();
        if let Some(region) = &self.region {
            match (&region.held_by, asked) {
                (HeldBy::Host(_) | HeldBy::Header(_), _) => {}
                (HeldBy::InferenceGeo, Operation::Messages) => {
                    fields.push(("inference_geo", json!(region.name)));
                }
                // Where tokens are counted can neither be asked for nor seen.
                (HeldBy::InferenceGeo, _) if !self.withholds => {}
                (HeldBy::InferenceGeo | HeldBy::Nothing, _) => {
                    return Err(self.unenforceable(asked, &format!("within `{}`", region.name)));
                }
            }
        }
        match (self.store, asked) {
            (Some(Store::False), Operation::ChatCompletions | Operation::Responses) => {
                fields.push(("store", json!(false)));
            }
            // Of these nothing is kept to be fetched again, and they know no such field.
            (None | Some(Store::False), _) => {}
            (Some(Store::Untold), _) => return Err(self.unenforceable(asked, "without keeping anything")),
        }
        Ok(fields)
    }

    /// The host that requests must go to; none where another thing holds the provider to the region.
    pub fn host(&self) -> Option<&str> {
        match &self.region.as_ref()?.held_by {
            HeldBy::Host(host) => Some(host),
            HeldBy::InferenceGeo | HeldBy::Header(_) | HeldBy::Nothing => None,
        }
    }

    /// Where the answer to `asked` says the place that it was made in; none where nothing has to be looked for.
    pub fn evidence(&self, asked: Operation) -> Option<Evidence> {
        match (&self.region.as_ref()?.held_by, asked) {
            (HeldBy::Header(name), _) => Some(Evidence::Header(name)),
            (HeldBy::InferenceGeo, Operation::Messages) => Some(Evidence::Body),
            (HeldBy::InferenceGeo | HeldBy::Host(_) | HeldBy::Nothing, _) => None,
        }
    }

    /// Whether what was made elsewhere is not delivered.
    pub fn withholds(&self) -> bool {
        self.withholds
    }

    /// Holds what an answer says of its place against the demand. An answer that is to say it and does not is as good as
    /// one from elsewhere.
    ///
    /// # Errors
    /// Where it is another.
    pub fn judge(&self, stated: Option<&str>) -> Result<(), Mismatch> {
        let Some(region) = &self.region else { return Ok(()) };
        if stated.is_some_and(|stated| same(stated, &region.name)) {
            return Ok(());
        }
        Err(self.mismatch(stated).unwrap_or_else(|| Mismatch { required: region.name.clone(), stated: None }))
    }

    /// The mismatch that the provider itself states by refusing a request; none where no region is demanded.
    pub fn mismatch(&self, stated: Option<&str>) -> Option<Mismatch> {
        let region = self.region.as_ref()?;
        let stated = stated.map(|stated| {
            stated.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REGION_CHARACTERS).collect()
        });
        Some(Mismatch { required: region.name.clone(), stated })
    }

    fn unenforceable(&self, asked: Operation, how: &str) -> Failure {
        let message = format!(
            "`{asked}`: this model's provider ({}) can't be held to answer it {how}, which its `dataPolicy` demands.",
            self.kind
        );
        failure(message)
    }
}

impl Mismatch {
    /// What the caller gets in place of the answer.
    pub fn failure(&self) -> Failure {
        let Self { required, stated } = self;
        let stated = match stated {
            Some(stated) => format!("says that it answered from `{stated}`"),
            None => "does not say where it answered from".to_owned(),
        };
        failure(format!(
            "The provider {stated}, and this model is to be answered from `{required}`: the answer is withheld."
        ))
    }
}

fn failure(message: String) -> Failure {
    let code = Some("data_residency_mismatch".to_owned());
    Failure { code, ..Failure::new(FailureClass::ResidencyUnsatisfiable, message) }
}

/// Regions are compared as Azure writes them, `UK South` for `uksouth`.
fn same(stated: &str, required: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
    };
    letters(stated) == letters(required)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(kind: Kind, region: Option<&str>, not_stored: bool) -> DataPolicy {
        DataPolicy::new(kind, region, not_stored, true)
    }

    #[test]
    fn each_kind_is_told_in_its_own_way() {
        let geo = vec![("inference_geo", json!("us"))];
        assert_eq!(policy(Kind::Anthropic, Some("us"), false).fields(Operation::Messages), Ok(geo));
        for kind in [Kind::OpenAi, Kind::AzureOpenAi] {
            let policy = policy(kind, Some("eu"), true);
            for asked in [Operation::ChatCompletions, Operation::Responses] {
                assert_eq!(policy.fields(asked), Ok(vec![("store", json!(false))]), "{kind} {asked}");
            }
            for asked in [Operation::Completions, Operation::Embeddings] {
                assert_eq!(policy.fields(asked), Ok(Vec::new()), "{kind} {asked}");
            }
        }
        assert_eq!(policy(Kind::OpenAi, Some("eu"), false).fields(Operation::Responses), Ok(Vec::new()));
    }

    #[test]
    fn what_nothing_holds_a_provider_to_is_not_sent() {
        for kind in
            [Kind::Gemini, Kind::Vertex, Kind::Bedrock, Kind::OpenAiCompatible, Kind::AnthropicCompatible]
        {
            for policy in [policy(kind, Some("us"), false), policy(kind, None, true)] {
                let failure = policy.fields(Operation::ChatCompletions).expect_err("refused");
                assert_eq!(failure.class, FailureClass::ResidencyUnsatisfiable, "{kind}");
                assert!(failure.message.contains(kind.as_str()), "{failure}");
            }
        }
        let count = Operation::CountMessageTokens;
        assert!(policy(Kind::Anthropic, Some("us"), false).fields(count).is_err());
        let reported = DataPolicy::new(Kind::Anthropic, Some("us"), false, false);
        assert_eq!((reported.fields(count), reported.evidence(count)), (Ok(Vec::new()), None));
        assert!(policy(Kind::Anthropic, None, true).fields(Operation::Messages).is_err());
    }

    #[test]
    fn an_answer_is_held_against_what_it_says_and_silence_is_no_proof() {
        let anthropic = policy(Kind::Anthropic, Some("us"), false);
        assert_eq!(anthropic.evidence(Operation::Messages), Some(Evidence::Body));
        assert_eq!(anthropic.judge(Some("us")), Ok(()));
        for stated in [Some("global"), Some("not_available"), Some(""), None] {
            let mismatch = anthropic.judge(stated).expect_err("elsewhere");
            assert_eq!((mismatch.required.as_str(), mismatch.stated.as_deref()), ("us", stated));
            assert_eq!(mismatch.failure().class, FailureClass::ResidencyUnsatisfiable);
        }
        let azure = policy(Kind::AzureOpenAi, Some("swedencentral"), false);
        assert_eq!(azure.evidence(Operation::Embeddings), Some(Evidence::Header("x-ms-region")));
        assert_eq!(azure.judge(Some("Sweden Central")), Ok(()));
        assert!(azure.judge(Some("East US")).is_err() && azure.judge(None).is_err());
        let long = "x\n".repeat(500);
        let stated = azure.judge(Some(&long)).expect_err("elsewhere").stated.expect("stated");
        assert_eq!((stated.chars().count(), stated.contains('\n')), (REGION_CHARACTERS, false));
    }

    #[test]
    fn a_clouds_place_is_its_host_and_demands_nothing_else() {
        let place = Place::Bedrock { region: "eu-west-1".parse().expect("a region") };
        let policy = DataPolicy::at(&place);
        assert_eq!(policy.host(), Some("bedrock-runtime.eu-west-1.amazonaws.com"));
        for asked in [Operation::Converse, Operation::Messages, Operation::CountConverseTokens] {
            assert_eq!((policy.fields(asked), policy.evidence(asked)), (Ok(Vec::new()), None));
        }
        let refused = policy.mismatch(None).expect("a place is demanded");
        assert_eq!((refused.required.as_str(), refused.stated), ("eu-west-1", None));
    }

    #[test]
    fn openais_region_is_its_host_and_without_a_region_nothing_is_looked_for() {
        assert_eq!(policy(Kind::OpenAi, Some("eu"), true).evidence(Operation::Responses), None);
        assert!(policy(Kind::OpenAi, Some("eu"), true).mismatch(None).is_some());
        assert_eq!(policy(Kind::OpenAi, Some("eu"), true).host(), Some("eu.api.openai.com"));
        assert_eq!(policy(Kind::Anthropic, Some("us"), true).host(), None);
        let none = policy(Kind::OpenAi, None, true);
        assert_eq!((none.judge(None), none.mismatch(None)), (Ok(()), None));
    }
}
