//! Where in a cloud an account's models are: what a host and a path are made from.

use std::fmt;
use std::str::FromStr;

use super::Kind;

/// Where in its cloud an account's models are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At Google's Vertex AI.
    Vertex {
        /// The project, which pays.
        project: Project,
        /// Where it is computed.
        location: Location,
    },
    /// At Amazon Bedrock.
    Bedrock {
        /// Where it is computed.
        region: Region,
    },
}

/// A word that a host or a path can't be made from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no {what}: write one such as {example}")]
pub struct PlaceError {
    /// What was written.
    pub word: String,
    what: &'static str,
    example: &'static str,
}

/// The longest word that is taken; Google's projects have at most 30 characters, and a domain before them.
const LONGEST: usize = 100;

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $example:literal, $inside:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The word.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = PlaceError;

            fn from_str(word: &str) -> Result<Self, PlaceError> {
                let refused = || PlaceError { word: word.to_owned(), what: $what, example: $example };
                is_word(word, $inside).then(|| Self(word.to_owned())).ok_or_else(refused)
            }
        }
    };
}

word!(
    /// A project of Google Cloud: its id, with its domain where it has one, or its number.
    Project, "project of Google Cloud", "my-project-123456", b"-.:"
);
word!(
    /// A location of Vertex AI: a region, a multi-region (`us`, `eu`) or `global`.
    Location, "location of Vertex AI", "us-central1, eu or global", b"-"
);
word!(
    /// A region of AWS.
    Region, "region of AWS", "us-east-1", b"-"
);

/// Small letters and digits, and what is in `inside` between two of them.
fn is_word(word: &str, inside: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = word.as_bytes();
    word.len() <= LONGEST
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || inside.contains(byte))
}

impl Kind {
    /// Whether its accounts' models are at a [`Place`].
    pub fn has_place(self) -> bool {
        match self {
            Self::Vertex | Self::Bedrock => true,
            Self::OpenAi
            | Self::AzureOpenAi
            | Self::Anthropic
            | Self::Gemini
            | Self::OpenAiCompatible
            | Self::AnthropicCompatible => false,
        }
    }
}

impl Place {
    /// The kind of provider whose place it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Vertex { .. } => Kind::Vertex,
            Self::Bedrock { .. } => Kind::Bedrock,
        }
    }

    /// Where the API is, with no slash at the end.
    pub fn base_url(&self) -> String {
        match self {
            // https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
            Self::Vertex { project: _, location } => match location.as_str() {
                "global" => "https://aiplatform.googleapis.com".to_owned(),
                many @ ("us" | "eu") => format!("https://aiplatform.{many}.rep.googleapis.com"),
                one => format!("https://{one}-aiplatform.googleapis.com"),
            },
            Self::Bedrock { region } => {
                let domain =
                    if region.as_str().starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                format!("https://bedrock-runtime.{region}.{domain}")
            }
        }
    }

    /// Its name, in the cloud's own word.
    pub fn name(&self) -> &str {
        match self {
            Self::Vertex { project: _, location } => location.as_str(),
            Self::Bedrock { region } => region.as_str(),
        }
    }

    /// Where the list of models is ([`super::Profile::models_path`]): no project has its own, and AWS keeps it at
    /// another host.
    pub fn models_base_url(&self) -> String {
        match self {
            Self::Vertex { .. } => self.base_url(),
            Self::Bedrock { .. } => self.base_url().replacen("bedrock-runtime", "bedrock", 1),
        }
    }

    /// What stands before every path at the API, wherever it is.
    pub fn path(&self) -> String {
        match self {
            Self::Vertex { project, location } => format!("/v1/projects/{project}/locations/{location}"),
            Self::Bedrock { region: _ } => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(project: &str, location: &str) -> Result<Place, PlaceError> {
        Ok(Place::Vertex { project: project.parse()?, location: location.parse()? })
    }

    #[test]
    fn a_location_has_its_host() {
        for (location, host) in [
            ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
            ("global", "https://aiplatform.googleapis.com"),
            ("us", "https://aiplatform.us.rep.googleapis.com"),
            ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ] {
            let place = vertex("example.com:p-1", location).expect("a place");
            assert_eq!(place.base_url(), host);
            assert_eq!(place.path(), format!("/v1/projects/example.com:p-1/locations/{location}"));
            assert_eq!((place.models_base_url().as_str(), place.name()), (host, location));
        }
    }

    #[test]
    fn a_region_has_its_host() {
        for (region, host) in [
            ("us-east-1", "https://bedrock-runtime.us-east-1.amazonaws.com"),
            ("us-gov-west-1", "https://bedrock-runtime.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ] {
            let place = Place::Bedrock { region: region.parse().expect("a region") };
            assert_eq!((place.base_url().as_str(), place.path().as_str()), (host, ""));
            assert_eq!(place.models_base_url(), host.replace("-runtime", ""));
            assert_eq!(place.name(), region);
        }
    }

    #[test]
    fn no_word_leads_to_another_host_or_path() {
        for word in ["", "-", "a-", "a/b", "a.b", "a b", "A", "a@b", "a:b", "..", "é", "a?b", "a#b", "a%2f"]
        {
            assert!(word.parse::<Location>().is_err(), "{word}");
            assert!(word.parse::<Region>().is_err(), "{word}");
        }
        for word in ["", "..", ".", "a/b", "a/../b", ":a", "a.", "A", "a%2f", "a?b", &"a".repeat(101)] {
            assert!(word.parse::<Project>().is_err(), "{word}");
        }
        let error = vertex("p", "US/../x").unwrap_err().to_string();
        assert!(error.contains("US/../x") && error.contains("us-central1"), "{error}");
    }
}
