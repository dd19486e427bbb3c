//! From a conversation to a prompt, by the Jinja template that the model file carries.
//!
//! A template is code from a file that somebody else made: it runs with no loader, no file, no network, a
//! bounded number of steps and a bounded output. Nothing here tokenises or knows HTTP.

mod environment;
mod filters;
mod json;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use environment::MAX_OUTPUT;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use serde_json::Value as Json;

/// Why a prompt could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The model's template is not one that we can run.
    #[error("the model's chat template cannot be read: {0}")]
    Unreadable(String),
    /// The template refuses the conversation, in its own words.
    #[error("the model's chat template refuses the conversation: {0}")]
    Refused(String),
    /// The template failed on the conversation.
    #[error("the model's chat template failed on the conversation: {0}")]
    Failed(String),
    /// The template ran longer, or wrote more, than it may.
    #[error("the model's chat template did not end within its limits")]
    Limit,
}

/// A model's chat template, compiled once and shared between threads.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles `source`. `bos` and `eos` are the texts of the model's begin and end tokens.
    ///
    /// # Errors
    /// [`TemplateError::Unreadable`] with the line at fault.
    pub fn new(source: String, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        let mut environment = environment::sandbox();
        let source = environment::without_training_marks(&source);
        // minijinja panics over some templates that it has parsed, such as one that imports into a filter.
        catch_unwind(AssertUnwindSafe(|| environment.add_template_owned(environment::NAME, source)))
            .map_err(|_| TemplateError::Unreadable("it cannot be compiled".to_owned()))?
            .map_err(|error| TemplateError::Unreadable(error.to_string()))?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The same template, for which it is always `now`: prompts that name the date can be compared.
    #[must_use]
    pub fn at(mut self, now: jiff::Timestamp) -> Self {
        environment::set_clock(&mut self.environment, move || now);
        self
    }

    /// The prompt for `messages` (objects with `role` and `content`). With `add_generation_prompt` it ends
    /// where the assistant's answer begins.
    ///
    /// # Errors
    /// [`TemplateError`] when the template refuses or fails, or runs past its limits.
    pub fn render(&self, messages: &[Json], add_generation_prompt: bool) -> Result<String, TemplateError> {
        self.render_with_tools(messages, None, add_generation_prompt)
    }

    /// The same with `tools` (objects as OpenAI's API has them) that the assistant may call.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_with_tools(
        &self,
        messages: &[Json],
        tools: Option<&[Json]>,
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        let template = self.environment.get_template(environment::NAME).map_err(failure)?;
        let context = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            // Templates branch on these with `is defined` and `is not none`.
            tools => tools.map_or(Value::from(()), |tools| Value::from(Serde(tools))),
            documents => Value::from(()),
        };
        let mut output = environment::LimitedOutput::default();
        catch_unwind(AssertUnwindSafe(|| template.render_captured_to(context, &mut output).map(drop)))
            .map_err(|_| TemplateError::Failed("it cannot be run".to_owned()))?
            .map_err(failure)?;
        output.into_text().ok_or(TemplateError::Limit)
    }
}

fn failure(error: minijinja::Error) -> TemplateError {
    if let Some(words) = environment::raised(&error) {
        return TemplateError::Refused(words);
    }
    match error.kind() {
        ErrorKind::OutOfFuel | ErrorKind::WriteFailure => TemplateError::Limit,
        _ => TemplateError::Failed(error.to_string()),
    }
}
