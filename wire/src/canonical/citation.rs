//! What a text rests on.

use super::{Dialect, Extra};

/// One source of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Citation {
    /// The stretch of the text that rests on it, in characters; `None`: the whole part (Anthropic's way).
    pub span: Option<Span>,
    /// The source.
    pub source: CitationSource,
    /// The words that are cited.
    pub cited_text: Option<String>,
    /// What else its dialect says about it, such as an encrypted index.
    pub foreign: Option<(Dialect, Extra)>,
}

/// A stretch of a text, in characters (Unicode scalar values), the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First character.
    pub start: u64,
    /// After the last one.
    pub end: u64,
}

/// What is cited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CitationSource {
    /// A page of the web.
    Web {
        /// Its address.
        url: String,
        /// Its title.
        title: Option<String>,
    },
    /// A document of the request.
    Document {
        /// Which one, counted over the request from 0.
        index: u64,
        /// Its title.
        title: Option<String>,
        /// Where in it.
        location: Location,
    },
    /// A source that only one dialect has; it is whole in [`Citation::foreign`].
    Foreign {
        /// The `type` there.
        kind: String,
    },
}

/// Where in a document; ends are not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Characters from 0.
    Characters(Span),
    /// Pages from 1.
    Pages(Span),
    /// Content blocks from 0.
    Blocks(Span),
}
