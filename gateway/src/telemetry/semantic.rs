//! Names of OpenTelemetry's semantic conventions for generative AI (open-telemetry/semantic-conventions-genai, status
//! Development) and for HTTP, as far as they are used here.

use weighbridge_wire::lane::Operation;

pub(super) const OPERATION_NAME: &str = "gen_ai.operation.name";
pub(super) const PROVIDER_NAME: &str = "gen_ai.provider.name";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(super) const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub(super) const CACHE_WRITE_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
pub(super) const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
pub(super) const TOKEN_TYPE: &str = "gen_ai.token.type";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const METHOD: &str = "http.request.method";
pub(super) const ROUTE: &str = "http.route";
pub(super) const STATUS: &str = "http.response.status_code";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";

/// Ours: the model's public name, in which world it lives, and whose key called.
pub(super) const MODEL: &str = "weighbridge.model";
pub(super) const WORLD: &str = "weighbridge.world";
pub(super) const ACCESS: &str = "weighbridge.access";
/// Seconds that a request waited for its model to have an endpoint.
pub(super) const HELD: &str = "weighbridge.held";
pub(super) const CUT: &str = "weighbridge.stream.cut";

/// The value of `gen_ai.operation.name`. Counting and reranking have no name there: these are ours.
pub(super) fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::ChatCompletions
        | Operation::Responses
        | Operation::Messages
        | Operation::Converse
        | Operation::ConverseStream => "chat",
        Operation::Completions => "text_completion",
        Operation::GenerateContent | Operation::StreamGenerateContent { .. } => "generate_content",
        Operation::Embeddings
        | Operation::EmbedContent
        | Operation::BatchEmbedContents
        | Operation::Predict => "embeddings",
        Operation::Rerank => "rerank",
        Operation::CountMessageTokens
        | Operation::CountTokens
        | Operation::CountConverseTokens
        | Operation::Tokenize => "count_tokens",
    }
}
