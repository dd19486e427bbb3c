//! Images, sound and documents, and where their bytes are.

use super::{CacheMark, Provider};

/// Where the bytes of a medium are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaSource {
    /// In the message.
    Inline {
        /// The media type, such as `image/png`.
        media_type: String,
        /// Base64, as it came.
        data: String,
    },
    /// At a URL, which the model's server is to fetch.
    Url(String),
    /// Uploaded before; the id holds at its provider only.
    File {
        /// Who keeps the file.
        provider: Provider,
        /// Its id there.
        id: String,
    },
    /// Plain text in the message (documents only).
    Text(String),
}

impl MediaSource {
    /// Reads a URL: a `data:` URL in base64 is inline, any other is fetched. The base64 is not decoded.
    ///
    /// # Errors
    /// Says what is wrong with a `data:` URL.
    pub fn from_url(url: &str) -> Result<Self, &'static str> {
        let Some(rest) = url.strip_prefix("data:") else { return Ok(Self::Url(url.to_owned())) };
        let (head, data) = rest.split_once(',').ok_or("a data URL has a comma before its data")?;
        let media_type =
            head.strip_suffix(";base64").ok_or("a data URL must be in base64: data:image/png;base64,...")?;
        if media_type.is_empty() {
            return Err("a data URL must name its media type: data:image/png;base64,...");
        }
        Ok(Self::Inline { media_type: media_type.to_owned(), data: data.to_owned() })
    }

    /// The URL, a `data:` URL where the bytes are inline; `None` for files and text.
    pub fn to_url(&self) -> Option<String> {
        match self {
            Self::Inline { media_type, data } => Some(format!("data:{media_type};base64,{data}")),
            Self::Url(url) => Some(url.clone()),
            Self::File { .. } | Self::Text(_) => None,
        }
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The bytes.
    pub source: MediaSource,
    /// How closely to look.
    pub detail: Option<ImageDetail>,
    /// Cache the prompt up to here.
    pub cache: Option<CacheMark>,
}

/// How closely the model looks at an image (OpenAI's `detail`, Gemini's `mediaResolution`). A hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageDetail {
    /// The model decides.
    Auto,
    /// Coarse and cheap.
    Low,
    /// Fine.
    High,
}

/// Sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// The bytes.
    pub source: MediaSource,
}

/// A document, such as a PDF or a plain text to be cited.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The bytes or the text.
    pub source: MediaSource,
    /// Its title or file name.
    pub title: Option<String>,
    /// What the model should know about it, not to be cited (Anthropic's `context`).
    pub context: Option<String>,
    /// Answers are to cite it (Anthropic's `citations.enabled`).
    pub citations: Option<bool>,
    /// Cache the prompt up to here.
    pub cache: Option<CacheMark>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_comes_back_byte_for_byte() {
        for url in ["data:image/png;base64,iVBOR+/=", "https://a/b.png?x=data:", "data:a/b;c=d;base64,"] {
            assert_eq!(MediaSource::from_url(url).expect(url).to_url().as_deref(), Some(url));
        }
        let MediaSource::Inline { media_type, data } =
            MediaSource::from_url("data:image/png;base64,AA==").expect("reads")
        else {
            panic!("inline");
        };
        assert_eq!((media_type.as_str(), data.as_str()), ("image/png", "AA=="));
    }

    #[test]
    fn a_bad_data_url_says_why() {
        assert!(MediaSource::from_url("data:image/png;base64").is_err_and(|why| why.contains("comma")));
        assert!(MediaSource::from_url("data:text/plain,a").is_err_and(|why| why.contains("base64")));
        assert!(MediaSource::from_url("data:;base64,AA==").is_err_and(|why| why.contains("media type")));
    }
}
