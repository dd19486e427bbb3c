"""The tiny models: for each its config.json as one finds it beside real weights, and what must matter in it.

`FAMILIES` maps a name to a `Family`. Configs are written the way checkpoints on the hub have them (rope_theta and
rope_scaling at the top, "type" or "rope_type", Gemma's sliding_window_pattern); transformers' own newer spelling of
the same is written beside as config.transformers5.json. Norm epsilons are far larger than in real models, so that
one that is ignored shows.

`Family.ablations` are changes to the config after which the logits must differ: they prove that the fixture tells
a right implementation from one that overlooks that field.
"""

from dataclasses import dataclass, field

WINDOW = 16
PROMPT = 48
STEPS = 16


@dataclass
class Family:
    config: dict
    ablations: dict = field(default_factory=dict)
    # name -> tokens in the prompt; STEPS greedy steps follow each.
    cases: dict = field(default_factory=lambda: {"main": PROMPT})
    # A case whose steps are each a full pass over everything so far, as HF generate() does there.
    recomputed: tuple = ()
    shards: int = 1
    norm_plus_one: bool = False
    # None: the GGUF speaks for all positions. A number: only for the first so many. "": no GGUF, and why.
    gguf: str | None = None
    gguf_case: str = "main"
    # llama.cpp agrees on so many positions only, and why; 0: it is not asked.
    llama_positions: int | None = None
    llama_note: str = ""
    kind: str = "decoder"  # or "embedder", "reranker"


def decoder(architecture, model_type, **fields):
    base = dict(
        architectures=[architecture], model_type=model_type, bos_token_id=1, eos_token_id=2, hidden_act="silu",
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256, rms_norm_eps=1e-2, rope_theta=10000.0, tie_word_embeddings=False,
        torch_dtype="float32", use_cache=True, vocab_size=128,
    )  # fmt: skip
    return {key: value for key, value in (base | fields).items() if value is not ...}


# Half as wide, with head_dim given: several small models would otherwise weigh more than they show.
NARROW = dict(hidden_size=32, head_dim=16, intermediate_size=64)
# Where head_dim is always hidden_size / heads; with keys and values of their own for each head there is nothing to group.
TWO_HEADS = dict(hidden_size=32, intermediate_size=64, num_attention_heads=2, num_key_value_heads=2)
EPS = {"rms_norm_eps": 1e-6}
NO_SCALING = {"rope_scaling": None}
# So that each of the two betas moves a bound of the eight pairs.
YARN = {
    "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 2.0, "beta_slow": 0.25, "attention_factor": 0.9,
}  # fmt: skip
SHORT = [1.0, 1.02, 1.05, 1.1, 1.2, 1.35, 1.5, 1.7]
LONG = [1.1, 1.5, 2.2, 3.0, 4.5, 6.0, 7.5, 9.0]

FAMILIES = {
    "llama2": Family(
        decoder("LlamaForCausalLM", "llama", num_key_value_heads=4, attention_bias=False, mlp_bias=False, rope_scaling=None),
        {"eps": EPS, "rope_theta": {"rope_theta": 5000.0}},
    ),
    "llama3": Family(
        decoder(
            "LlamaForCausalLM", "llama", **NARROW, rope_theta=500000.0, max_position_embeddings=512,
            rope_scaling={
                "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 64, "rope_type": "llama3",
            },
        ),
        {"eps": EPS, "rope_scaling": NO_SCALING},
        shards=3,
    ),
    "smollm2": Family(
        decoder("LlamaForCausalLM", "llama", num_key_value_heads=1, rope_theta=100000.0, tie_word_embeddings=True, rope_scaling=None),
        {"eps": EPS},
    ),
    "llama-linear": Family(
        decoder("LlamaForCausalLM", "llama", **NARROW, rope_scaling={"type": "linear", "factor": 4.0}),
        {"eps": EPS, "rope_scaling": NO_SCALING},
    ),
    "qwen3-yarn": Family(
        decoder(
            "Qwen3ForCausalLM", "qwen3", **NARROW, attention_bias=False, sliding_window=None, use_sliding_window=False, max_window_layers=2,
            rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}, tie_word_embeddings=True,
        ),
        {"rope_scaling": NO_SCALING, "attention factor": {
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 1.0}}},
    ),
    "mistral": Family(
        decoder("MistralForCausalLM", "mistral", **NARROW, sliding_window=WINDOW, rope_theta=1000000.0),
        {"no window": {"sliding_window": None}, "window - 1": {"sliding_window": WINDOW - 1}, "window + 1": {"sliding_window": WINDOW + 1}},
        gguf=f"the converter writes no sliding window for Mistral: equal for the first {WINDOW} positions",
        llama_positions=WINDOW,
    ),
    "qwen2": Family(
        # use_sliding_window false switches the window off, whatever sliding_window says.
        decoder("Qwen2ForCausalLM", "qwen2", rope_theta=1000000.0, sliding_window=WINDOW, use_sliding_window=False, max_window_layers=1),
        {"eps": EPS, "window on": {"use_sliding_window": True}},
    ),
    "qwen2-windows": Family(
        # The first layer sees everything, the two after it a window.
        decoder(
            "Qwen2ForCausalLM", "qwen2", **TWO_HEADS, num_hidden_layers=3, rope_theta=1000000.0, sliding_window=WINDOW, use_sliding_window=True,
            max_window_layers=1,
        ),
        {
            "no window": {"use_sliding_window": False}, "window - 1": {"sliding_window": WINDOW - 1},
            "window + 1": {"sliding_window": WINDOW + 1}, "all windowed": {"max_window_layers": 0}, "one windowed": {"max_window_layers": 2},
        },
        gguf=f"the converter writes no sliding window for Qwen2: equal for the first {WINDOW} positions",
        llama_positions=WINDOW,
    ),
    "qwen2-yarn": Family(
        decoder(
            "Qwen2ForCausalLM", "qwen2", **TWO_HEADS, sliding_window=WINDOW, use_sliding_window=False, max_window_layers=2,
            rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        ),
        {"rope_scaling": NO_SCALING, "attention factor": {
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 1.0}}},
    ),
    "qwen3": Family(
        decoder(
            "Qwen3ForCausalLM", "qwen3", **NARROW, rope_theta=1000000.0, rope_scaling=None, attention_bias=False,
            sliding_window=None, use_sliding_window=False, max_window_layers=2, tie_word_embeddings=True,
        ),
        {"eps": EPS},
    ),
    "gemma2": Family(
        decoder(
            "Gemma2ForCausalLM", "gemma2", **NARROW, num_hidden_layers=3, hidden_act="gelu_pytorch_tanh",
            hidden_activation="gelu_pytorch_tanh", attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
            query_pre_attn_scalar=24, sliding_window=WINDOW, cache_implementation="hybrid", tie_word_embeddings=...,
            pad_token_id=0,
        ),
        {
            "eps": EPS, "attention cap": {"attn_logit_softcapping": None}, "final cap": {"final_logit_softcapping": None},
            "scalar": {"query_pre_attn_scalar": 16}, "window - 1": {"sliding_window": WINDOW - 1},
            "window + 1": {"sliding_window": WINDOW + 1}, "act": {"hidden_activation": "silu"},
            "pattern": {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
        },
        norm_plus_one=True,
    ),
    "gemma3": Family(
        decoder(
            "Gemma3ForCausalLM", "gemma3_text", **(NARROW | {"intermediate_size": 48}), num_hidden_layers=6, rope_theta=1000000.0,
            hidden_act=..., hidden_activation="gelu_pytorch_tanh", attn_logit_softcapping=None, final_logit_softcapping=None,
            query_pre_attn_scalar=24, sliding_window=WINDOW, sliding_window_pattern=6, rope_local_base_freq=10000.0,
            rope_scaling={"factor": 8.0, "rope_type": "linear"}, cache_implementation="hybrid", tie_word_embeddings=...,
            pad_token_id=0,
        ),
        {
            "eps": EPS, "scalar": {"query_pre_attn_scalar": 16}, "window - 1": {"sliding_window": WINDOW - 1},
            "window + 1": {"sliding_window": WINDOW + 1}, "rope_scaling": NO_SCALING, "local base": {"rope_local_base_freq": 1000000.0},
            "global base": {"rope_theta": 10000.0}, "pattern": {"sliding_window_pattern": 5},
        },
        norm_plus_one=True,
    ),
    "phi3": Family(
        decoder(
            "Phi3ForCausalLM", "phi3", **TWO_HEADS, original_max_position_embeddings=256, rope_scaling=None,
            sliding_window=20, pad_token_id=0,
        ),
        {"eps": EPS, "no window": {"sliding_window": None}, "window - 1": {"sliding_window": 19}, "window + 1": {"sliding_window": 21}},
        llama_positions=20, llama_note="llama.cpp ignores Phi-3's sliding window, though the file has it",
    ),
    "phi3-longrope": Family(
        decoder(
            "Phi3ForCausalLM", "phi3", **TWO_HEADS, original_max_position_embeddings=40, rope_scaling={
                "type": "longrope", "short_factor": SHORT, "long_factor": LONG}, sliding_window=None, pad_token_id=0,
        ),
        {
            "short for long": {"rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": SHORT}},
            "attention factor": {"rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG, "attention_factor": 1.0}},
        },
        # 40 positions are the short regime's last; "crossing" leaves it while decoding.
        cases={"long": PROMPT, "short": 24, "crossing": 36},
        recomputed=("crossing",),
        gguf_case="long",
        llama_note="llama.cpp chooses by its context's size, not by the sequence: only the long case",
    ),
    "phi4-mini": Family(
        decoder(
            "Phi3ForCausalLM", "phi3", partial_rotary_factor=0.75, tie_word_embeddings=True, max_position_embeddings=1024,
            original_max_position_embeddings=256, rope_scaling={
                "type": "longrope", "short_factor": SHORT[:6], "long_factor": LONG[:6]}, sliding_window=512, pad_token_id=0,
        ),
        {"attention factor": {"rope_scaling": {
            "type": "longrope", "short_factor": SHORT[:6], "long_factor": LONG[:6], "attention_factor": 1.0}}},
    ),
    "phi4-mini-long": Family(
        decoder(
            "Phi3ForCausalLM", "phi3", **TWO_HEADS, partial_rotary_factor=0.75, tie_word_embeddings=True, original_max_position_embeddings=40,
            rope_scaling={"type": "longrope", "short_factor": SHORT[:6], "long_factor": LONG[:6]}, sliding_window=None, pad_token_id=0,
        ),
        {
            "short for long": {"rope_scaling": {"type": "longrope", "short_factor": SHORT[:6], "long_factor": SHORT[:6]}},
            "all of a head": {"partial_rotary_factor": 1.0, "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}},
            "attention factor": {"rope_scaling": {
                "type": "longrope", "short_factor": SHORT[:6], "long_factor": LONG[:6], "attention_factor": 1.0}},
        },
    ),
    "mixtral": Family(
        decoder(
            "MixtralForCausalLM", "mixtral", **(NARROW | {"intermediate_size": 32}), num_local_experts=4, num_experts_per_tok=2, rope_theta=1000000.0,
            router_aux_loss_coef=0.02, output_router_logits=False, sliding_window=None,
        ),
        {"one expert": {"num_experts_per_tok": 1}, "eps": EPS},
    ),
    "qwen3-moe": Family(
        decoder(
            "Qwen3MoeForCausalLM", "qwen3_moe", **NARROW, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32,
            norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], rope_theta=1000000.0, rope_scaling=None,
            attention_bias=False, sliding_window=None, use_sliding_window=False, output_router_logits=False,
            max_window_layers=2, router_aux_loss_coef=0.001,
        ),
        {"norm_topk_prob": {"norm_topk_prob": False}, "eps": EPS},
    ),
    "qwen3-moe-mixed": Family(
        # Layers 0 and 2 are dense (sparse step 2), layer 3 by mlp_only_layers; the two routers' weights stay unnormalised.
        decoder(
            "Qwen3MoeForCausalLM", "qwen3_moe", **NARROW, num_hidden_layers=4, num_experts=8, num_experts_per_tok=2,
            moe_intermediate_size=32, norm_topk_prob=False, decoder_sparse_step=2, mlp_only_layers=[3], rope_theta=1000000.0,
            rope_scaling=None, attention_bias=True, sliding_window=None, use_sliding_window=False, output_router_logits=False,
            max_window_layers=4, router_aux_loss_coef=0.001, tie_word_embeddings=True,
        ),
        {"norm_topk_prob": {"norm_topk_prob": True}},
        gguf="", llama_note="llama.cpp's qwen3moe wants experts in every layer",
    ),
    "qwen3-moe-yarn": Family(
        decoder(
            "Qwen3MoeForCausalLM", "qwen3_moe", **NARROW, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
            norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], attention_bias=False, sliding_window=None,
            use_sliding_window=False, output_router_logits=False, max_window_layers=2, router_aux_loss_coef=0.001,
            tie_word_embeddings=True, rope_scaling=YARN,
        ),
        {
            "rope_scaling": NO_SCALING,
            **{f"{key} by default": {"rope_scaling": {k: v for k, v in YARN.items() if k != key}}
               for key in ("beta_fast", "beta_slow", "attention_factor")},
        },
        llama_positions=0, llama_note="llama.cpp reads neither betas nor attention_factor of qwen3moe, though the file has them",
    ),
    "qwen3-moe-windows": Family(
        # Unlike Qwen2 and Qwen3, it gives every layer the window: max_window_layers is none of its settings.
        decoder(
            "Qwen3MoeForCausalLM", "qwen3_moe", **NARROW, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
            norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], rope_theta=1000000.0, rope_scaling=None, attention_bias=False,
            sliding_window=WINDOW, use_sliding_window=True, output_router_logits=False, max_window_layers=1, router_aux_loss_coef=0.001,
            tie_word_embeddings=True,
        ),
        {
            "no window": {"use_sliding_window": False}, "window - 1": {"sliding_window": WINDOW - 1},
            "window + 1": {"sliding_window": WINDOW + 1},
        },
        gguf="", llama_note="llama.cpp knows no window of qwen3moe",
    ),
    "bert": Family(
        dict(
            architectures=["BertModel"], model_type="bert", hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, hidden_act="gelu", layer_norm_eps=1e-2, max_position_embeddings=64, type_vocab_size=2,
            pad_token_id=0, position_embedding_type="absolute", vocab_size=128, torch_dtype="float32",
        ),
        {"eps": {"layer_norm_eps": 1e-12}, "act": {"hidden_act": "relu"}},
        kind="embedder",
    ),
    "xlm-roberta": Family(
        dict(
            architectures=["XLMRobertaModel"], model_type="xlm-roberta", hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, hidden_act="gelu", layer_norm_eps=1e-2, max_position_embeddings=66, type_vocab_size=1,
            bos_token_id=0, pad_token_id=1, eos_token_id=2, position_embedding_type="absolute", vocab_size=128, torch_dtype="float32",
        ),
        {"eps": {"layer_norm_eps": 1e-12}},
        kind="embedder",
    ),
    "bert-reranker": Family(
        dict(
            architectures=["BertForSequenceClassification"], model_type="bert", hidden_size=32, intermediate_size=64,
            num_hidden_layers=2, num_attention_heads=2, hidden_act="gelu", layer_norm_eps=1e-2, max_position_embeddings=64,
            type_vocab_size=2, pad_token_id=0, position_embedding_type="absolute", vocab_size=128, torch_dtype="float32",
            id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0},
        ),
        {"eps": {"layer_norm_eps": 1e-12}},
        kind="reranker",
    ),
    "xlm-roberta-reranker": Family(
        dict(
            architectures=["XLMRobertaForSequenceClassification"], model_type="xlm-roberta", hidden_size=32, intermediate_size=64,
            num_hidden_layers=2, num_attention_heads=2, hidden_act="gelu", layer_norm_eps=1e-2, max_position_embeddings=66,
            type_vocab_size=1, bos_token_id=0, pad_token_id=1, eos_token_id=2, position_embedding_type="absolute", vocab_size=128,
            torch_dtype="float32", id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0},
        ),
        {"eps": {"layer_norm_eps": 1e-12}},
        kind="reranker",
    ),
}  # fmt: skip
