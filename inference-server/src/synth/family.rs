//! The families that models are made of.

/// A family, by the name of its first or usual member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the families.
pub enum Family {
    Llama,
    Mistral,
    Mixtral,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    Gemma2,
    Gemma3,
    Phi3,
    Bert,
    XlmRoberta,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 11] = [
        Self::Llama,
        Self::Mistral,
        Self::Mixtral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Qwen3Moe,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
        Self::Bert,
        Self::XlmRoberta,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Mixtral => "mixtral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3-moe",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
            Self::Bert => "bert",
            Self::XlmRoberta => "xlm-roberta",
        }
    }

    /// The family called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// `general.architecture`: GGUF calls Mistral and Mixtral `llama`.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::Llama | Self::Mistral | Self::Mixtral => "llama",
            Self::Qwen3Moe => "qwen3moe",
            other => other.name(),
        }
    }

    /// `model_type` and the class in `architectures` of a `config.json`; encoders have one more with a classifier.
    pub(super) fn transformers(self, classifier: bool) -> (&'static str, &'static str) {
        match self {
            Self::Llama => ("llama", "LlamaForCausalLM"),
            Self::Mistral => ("mistral", "MistralForCausalLM"),
            Self::Mixtral => ("mixtral", "MixtralForCausalLM"),
            Self::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Self::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
            Self::Qwen3Moe => ("qwen3_moe", "Qwen3MoeForCausalLM"),
            Self::Gemma2 => ("gemma2", "Gemma2ForCausalLM"),
            Self::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
            Self::Phi3 => ("phi3", "Phi3ForCausalLM"),
            Self::Bert if classifier => ("bert", "BertForSequenceClassification"),
            Self::XlmRoberta if classifier => ("xlm-roberta", "XLMRobertaForSequenceClassification"),
            Self::Bert => ("bert", "BertModel"),
            Self::XlmRoberta => ("xlm-roberta", "XLMRobertaModel"),
        }
    }

    /// True where every token sees every other, and vectors come out instead of logits.
    pub fn is_encoder(self) -> bool {
        matches!(self, Self::Bert | Self::XlmRoberta)
    }

    /// True with a router and experts.
    pub fn is_mixture(self) -> bool {
        matches!(self, Self::Mixtral | Self::Qwen3Moe)
    }

    /// True where some layers or all may see a window only.
    pub fn has_window(self) -> bool {
        matches!(self, Self::Mistral | Self::Gemma2 | Self::Gemma3 | Self::Phi3)
    }

    /// True where heads are normalised before they are turned.
    pub(super) fn has_head_norms(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Qwen3Moe | Self::Gemma3)
    }

    /// True for Gemma: norms after each part too, and weights that stand for `1 + weight` in safetensors.
    pub(super) fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    /// Base of the rotary frequencies that its members were trained with.
    pub(super) fn rope_base(self) -> f32 {
        match self {
            Self::Mixtral | Self::Qwen2 | Self::Qwen3 | Self::Qwen3Moe | Self::Gemma3 => 1_000_000.0,
            _ => 10_000.0,
        }
    }
}
