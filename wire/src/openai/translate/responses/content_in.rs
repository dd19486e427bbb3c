//! Parts of items, read.

use serde_json::{Value, json};

use super::super::super::responses::{ItemContent, ItemPart};
use super::super::logprobs;
use super::super::shared::read_detail;
use super::annotations;
use crate::canonical::{
    Dialect, Document, ForeignField, ForeignPart, Image, MediaSource, Part, Provider, Text, TokenLogprob,
    Unreadable, keep_foreign,
};

const ORIGIN: Dialect = Dialect::OpenAiResponses;

/// What an item says, with the log probabilities of its texts.
#[derive(Default)]
pub(super) struct Content {
    pub parts: Vec<Part>,
    pub logprobs: Vec<TokenLogprob>,
}

/// Reads `content` or `output`, whose path is `path`.
pub(super) fn read(
    content: Option<ItemContent>,
    path: &str,
    foreign: &mut Vec<ForeignField>,
) -> Result<Content, Unreadable> {
    let mut read = Content::default();
    match content {
        None => {}
        Some(ItemContent::Text(text)) => read.parts.push(Part::text(text)),
        Some(ItemContent::Parts(parts)) => {
            for (index, part) in parts.into_iter().enumerate() {
                read.part(part, &format!("{path}[{index}]"), foreign)?;
            }
        }
    }
    Ok(read)
}

impl Content {
    fn part(
        &mut self,
        part: ItemPart,
        path: &str,
        foreign: &mut Vec<ForeignField>,
    ) -> Result<(), Unreadable> {
        let whole = json!(part);
        let ItemPart {
            kind,
            text,
            refusal,
            annotations,
            logprobs,
            image_url,
            detail,
            file_id,
            file_data,
            file_url,
            filename,
            mut extra,
        } = part;
        let missing = |name: &str| Unreadable::new(format!("{path}.{name}"), "is missing");
        let part = match kind.as_str() {
            "input_text" | "output_text" | "text" => {
                let citations = annotations.unwrap_or_default().into_iter().map(annotations::read).collect();
                self.logprobs.extend(logprobs.unwrap_or_default().into_iter().map(logprobs::token));
                Part::Text(Text { citations, ..Text::new(text.ok_or_else(|| missing("text"))?) })
            }
            "refusal" => Part::Refusal(refusal.ok_or_else(|| missing("refusal"))?),
            "input_image" => {
                let source = source(image_url, None, file_id, path, "image_url")?;
                let known = detail.as_deref().and_then(read_detail);
                if let (None, Some(word)) = (known, detail) {
                    extra.insert("detail".into(), Value::String(word));
                }
                Part::Image(Image { source, detail: known, cache: None })
            }
            "input_file" => {
                let source = source(file_data, file_url, file_id, path, "file_data")?;
                Part::Document(Document {
                    source,
                    title: filename,
                    context: None,
                    citations: None,
                    cache: None,
                })
            }
            _ => {
                self.parts.push(Part::Foreign(ForeignPart { dialect: ORIGIN, kind, value: whole }));
                return Ok(());
            }
        };
        keep_foreign(path, extra, foreign);
        self.parts.push(part);
        Ok(())
    }
}

fn source(
    data: Option<String>,
    url: Option<String>,
    id: Option<String>,
    path: &str,
    name: &str,
) -> Result<MediaSource, Unreadable> {
    match (data, url, id) {
        (Some(data), None, None) => {
            MediaSource::from_url(&data).map_err(|why| Unreadable::new(format!("{path}.{name}"), why))
        }
        (None, Some(url), None) => Ok(MediaSource::Url(url)),
        (None, None, Some(id)) => Ok(MediaSource::File { provider: Provider::OpenAi, id }),
        (None, None, None) => Err(Unreadable::new(format!("{path}.{name}"), "is missing")),
        (Some(_) | None, _, _) => Err(Unreadable::new(path, "must say one place where its bytes are")),
    }
}
