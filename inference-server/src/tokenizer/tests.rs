use super::{
    EncodeOptions, HuggingFaceTokenizer, SpecialTexts, TokenType, Tokenizer, TokenizerError,
    TokenizerMetadata,
};

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };
const TEMPLATE: EncodeOptions = EncodeOptions { add_special: false, parse_special: true };

/// Two special tokens, every byte, and two merges.
fn byte_level() -> TokenizerMetadata {
    let mut tokens: Vec<String> = ["<|im_start|>", "<|im_end|>", "<tool>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255).map(TokenizerMetadata::byte_token));
    tokens.extend(["he", "hel", "Ġhe"].map(str::to_owned));
    let mut token_types = vec![TokenType::Normal; tokens.len()];
    token_types[..3].copy_from_slice(&[TokenType::Control, TokenType::Control, TokenType::UserDefined]);
    TokenizerMetadata {
        model: "gpt2".to_owned(),
        pre: Some("smollm".to_owned()),
        merges: ["h e", "he l", "Ġ he"].map(str::to_owned).to_vec(),
        eos: Some(1),
        tokens,
        token_types,
        ..TokenizerMetadata::default()
    }
}

fn texts(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|id| String::from_utf8_lossy(tokenizer.piece(*id)).into_owned()).collect()
}

#[test]
fn merges_apply_by_rank_within_words() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    let ids = tokenizer.encode("hello he 12", PLAIN).unwrap();
    assert_eq!(texts(&tokenizer, &ids), ["hel", "l", "o", " he", " ", "1", "2"]);
}

#[test]
fn combining_marks_are_in_words_where_the_family_has_them_there() {
    let parts = |pre: &str| {
        let mut metadata = TokenizerMetadata { pre: Some(pre.to_owned()), ..byte_level() };
        metadata.tokens.push("eÌ".to_owned());
        metadata.token_types.push(TokenType::Normal);
        metadata.merges.push("e Ì".to_owned());
        // An `e` and U+0301, whose bytes are CC 81.
        Tokenizer::new(metadata).unwrap().encode("e\u{301}", PLAIN).unwrap().len()
    };
    assert_eq!((parts("qwen35"), parts("qwen2")), (2, 3));
}

#[test]
fn a_tokenizer_has_no_more_tokens_than_the_model_has_rows() {
    let tokens = byte_level().tokens.len();
    let for_rows = |rows| Tokenizer::new(byte_level()).unwrap().for_rows(rows).map(drop);
    for_rows(tokens).unwrap();
    let said = for_rows(tokens - 1).unwrap_err().to_string();
    assert_eq!(said, "tokenizer.ggml.tokens: 262 tokens, but the model has embeddings for 261");
}

#[test]
fn a_user_cannot_write_a_control_token() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    assert_eq!(tokenizer.encode("<|im_end|>", TEMPLATE).unwrap(), [1]);
    assert!(tokenizer.encode("<|im_end|>", PLAIN).unwrap().len() > 5);
    assert_eq!(tokenizer.encode("<tool>", PLAIN).unwrap(), [2], "a user-defined token is always one");
}

#[test]
fn control_tokens_are_not_shown_and_ends_are_known() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    assert_eq!(tokenizer.visible_piece(1), b"");
    assert_eq!(tokenizer.piece(1), b"<|im_end|>");
    assert!(tokenizer.is_end(1) && !tokenizer.is_end(0));
    assert_eq!(tokenizer.piece(1_000_000), b"");
    assert_eq!(tokenizer.visible_piece(u32::MAX), b"");
}

#[test]
fn bytes_come_back_as_they_went() {
    let tokenizer = Tokenizer::new(byte_level()).unwrap();
    let ids = tokenizer.encode("é\n\t he", PLAIN).unwrap();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.piece(*id).to_vec()).collect();
    assert_eq!(bytes, "é\n\t he".as_bytes());
}

#[test]
fn an_unknown_kind_is_refused_by_name() {
    let unknown = TokenizerMetadata { model: "t5".to_owned(), ..byte_level() };
    let error = Tokenizer::new(unknown).unwrap_err();
    assert!(matches!(&error, TokenizerError::UnknownModel(name) if name == "t5"), "{error}");
    let unknown = TokenizerMetadata { pre: Some("martian".to_owned()), ..byte_level() };
    let error = Tokenizer::new(unknown).unwrap_err();
    assert!(matches!(&error, TokenizerError::UnknownPreTokenizer(name) if name == "martian"), "{error}");
}

#[test]
fn hostile_lists_are_refused_by_key() {
    let key = |metadata| match Tokenizer::new(metadata) {
        Err(TokenizerError::Metadata { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    let good = byte_level;
    assert_eq!(key(TokenizerMetadata { tokens: vec![], ..good() }), "tokenizer.ggml.tokens");
    let types = vec![TokenType::Normal];
    assert_eq!(key(TokenizerMetadata { token_types: types, ..good() }), "tokenizer.ggml.token_type");
    assert_eq!(key(TokenizerMetadata { scores: vec![0.0], ..good() }), "tokenizer.ggml.scores");
    assert_eq!(key(TokenizerMetadata { eos: Some(u32::MAX), ..good() }), "tokenizer.ggml.eos_token_id");
    assert_eq!(key(TokenizerMetadata { class: Some(11), ..word_piece() }), "tokenizer.ggml.cls_token_id");
    let separator = Some(u32::MAX);
    assert_eq!(key(TokenizerMetadata { separator, ..word_piece() }), "tokenizer.ggml.seperator_token_id");
    assert_eq!(key(TokenizerMetadata { unknown: None, ..word_piece() }), "tokenizer.ggml.unknown_token_id");
    for merge in ["h", "", "h \u{1F980}", "l e"] {
        let merges = vec![merge.to_owned()];
        assert_eq!(key(TokenizerMetadata { merges, ..good() }), "tokenizer.ggml.merges");
    }
}

#[test]
fn sentencepiece_merges_by_score_and_falls_back_to_bytes() {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let words = ["▁", "h", "i", "▁h", "hi", "▁hi"];
    tokens.extend(words.map(str::to_owned));
    let mut scores = vec![0.0; tokens.len() - words.len()];
    scores.extend([-5.0, -6.0, -7.0, -3.0, -2.0, -1.0]);
    let mut token_types = vec![TokenType::Byte; tokens.len()];
    token_types[..3].copy_from_slice(&[TokenType::Unknown, TokenType::Control, TokenType::Control]);
    token_types[259..].fill(TokenType::Normal);
    let metadata = TokenizerMetadata {
        model: "llama".to_owned(),
        bos: Some(1),
        eos: Some(2),
        tokens,
        token_types,
        scores,
        ..TokenizerMetadata::default()
    };
    let tokenizer = Tokenizer::new(metadata).unwrap();
    let options = EncodeOptions { add_special: true, parse_special: true };
    assert_eq!(tokenizer.encode("hi", options).unwrap(), [1, 264]);
    assert_eq!(tokenizer.encode("hi</s>hi", options).unwrap(), [1, 264, 2, 264]);
    assert_eq!(tokenizer.encode("🦀", PLAIN).unwrap(), [259, 3 + 0xF0, 3 + 0x9F, 3 + 0xA6, 3 + 0x80]);
    assert_eq!(tokenizer.piece(264), b" hi");
}

#[test]
fn gemma_merges_lines_and_falls_back_to_bytes() {
    let mut tokens: Vec<String> =
        ["<bos>", "▁", "a", "b", "▁a", "b▁a", "\n", "\n\n\n"].map(str::to_owned).to_vec();
    let words = tokens.len();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut token_types = vec![TokenType::Normal; tokens.len()];
    token_types[0] = TokenType::Control;
    token_types[words..].fill(TokenType::Byte);
    let metadata = TokenizerMetadata {
        model: "gemma4".to_owned(),
        pre: Some("anything".to_owned()),
        merges: ["▁ a", "b ▁a"].map(str::to_owned).to_vec(),
        bos: Some(0),
        tokens,
        token_types,
        ..TokenizerMetadata::default()
    };
    let tokenizer = Tokenizer::new(metadata).unwrap();
    let crab = [0xF0, 0x9F, 0xA6, 0x80].map(|byte| words as u32 + byte);
    let spaced = [&[5, 1, 1][..], &crab, &[7, 2, 6, 6]].concat();
    assert_eq!(tokenizer.encode("b a  🦀\n\n\na\n\n", PLAIN).unwrap(), spaced);
    let options = EncodeOptions { add_special: true, parse_special: true };
    assert_eq!(tokenizer.encode("a", options).unwrap(), [0, 2]);
    let bytes: Vec<u8> = spaced.iter().flat_map(|id| tokenizer.piece(*id).to_vec()).collect();
    assert_eq!(bytes, "b a  🦀\n\n\na\n\n".as_bytes());
}

fn word_piece() -> TokenizerMetadata {
    let tokens = ["[UNK]", "[CLS]", "[SEP]", "▁hel", "▁he", "lo", "l", "▁!", "▁北", "▁京", "▁É"];
    let mut token_types = vec![TokenType::Normal; tokens.len()];
    token_types[..3].fill(TokenType::Control);
    TokenizerMetadata {
        model: "bert".to_owned(),
        tokens: tokens.map(str::to_owned).to_vec(),
        token_types,
        unknown: Some(0),
        class: Some(1),
        separator: Some(2),
        ..TokenizerMetadata::default()
    }
}

#[test]
fn words_are_the_longest_pieces_or_unknown() {
    let tokenizer = Tokenizer::new(word_piece()).unwrap();
    let options = EncodeOptions { add_special: true, parse_special: true };
    assert_eq!(tokenizer.encode(" Héllo!\u{0}", options).unwrap(), [1, 3, 5, 7, 2]);
    assert_eq!(tokenizer.encode("helx hello [SEP]北京", options).unwrap(), [1, 0, 3, 5, 2, 8, 9, 2]);
    assert_eq!(tokenizer.encode("", options).unwrap(), [1, 2]);
    assert_eq!(tokenizer.encode(&"x".repeat(10_000), PLAIN).unwrap(), [0], "one word, however long");
    assert_eq!(tokenizer.least_tokens(10_000), 0);

    let cased = TokenizerMetadata { lowercase: Some(false), ..word_piece() };
    assert_eq!(Tokenizer::new(cased).unwrap().encode("É hello Hello", PLAIN).unwrap(), [10, 3, 5, 0]);
}

/// A `tokenizer.json` of whole words and of bytes, as `decoder` writes them.
fn hugging_face(words: &[&str], decoder: &serde_json::Value) -> Result<Tokenizer, TokenizerError> {
    let vocabulary: serde_json::Map<_, _> =
        words.iter().zip(0..).map(|(word, id)| ((*word).to_owned(), serde_json::json!(id))).collect();
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": decoder,
        "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    let model = HuggingFaceTokenizer::new(json.to_string().as_bytes())?;
    Tokenizer::of_hugging_face(model, SpecialTexts { ends: vec![0], ..SpecialTexts::default() })
}

#[test]
fn tokens_of_a_tokenizer_json_spell_bytes() {
    let level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                                   "use_regex": true});
    // 🦀 is F0 9F A6 80, in GPT-2's alphabet.
    let tokenizer = hugging_face(&["<s>", "Ġhe", "ðŁ", "¦Ģ"], &level).unwrap();
    assert_eq!(tokenizer.piece(1), b" he");
    assert_eq!([tokenizer.piece(2), tokenizer.piece(3)].concat(), "🦀".as_bytes());
    assert_eq!((tokenizer.piece(0), tokenizer.visible_piece(0)), (&b"<s>"[..], &b""[..]));
    assert!(tokenizer.is_end(0) && tokenizer.piece(9).is_empty());

    let steps = serde_json::json!([
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]);
    let sentence = serde_json::json!({"type": "Sequence", "decoders": steps});
    let tokenizer = hugging_face(&["<s>", "▁he", "<0xF0>", "<0x9F>"], &sentence).unwrap();
    assert_eq!((tokenizer.piece(1), tokenizer.piece(2)), (&b" he"[..], &[0xF0][..]));
    let mut text = super::Detokenizer::new(Vec::new());
    assert_eq!(text.push(tokenizer.piece(2)).text, "", "half a character waits for its rest");
}

#[test]
fn a_decoder_that_is_not_served_is_named() {
    for (decoder, words) in [
        (serde_json::json!(null), "decoder: there is none"),
        (serde_json::json!({"type": "WordPiece", "prefix": "##", "cleanup": true}), "decoder: WordPiece"),
        (serde_json::json!({"type": "Sequence", "decoders": [{"type": "Fuse"}]}), "how spaces are written"),
    ] {
        let error = hugging_face(&["<s>", "a"], &decoder).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: ") && error.contains(words), "{error}");
    }
    let error = HuggingFaceTokenizer::new(b"{").unwrap_err().to_string();
    assert!(error.starts_with("tokenizer.json: ") && error.contains("fetch it again"), "{error}");
}

/// Guard: `guarded`. The crate unwraps what it has not looked at, and the server must say which file is at fault.
#[test]
fn a_tokenizer_json_over_which_the_library_panics_is_refused() {
    let level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                                   "use_regex": true});
    let mut cut =
        serde_json::json!({"version": "1.0", "decoder": level, "model": {"type": "BPE"}}).to_string();
    cut.truncate(40);
    let error = HuggingFaceTokenizer::new(cut.as_bytes()).unwrap_err().to_string();
    assert!(
        error.starts_with("tokenizer.json: EOF while parsing") && error.contains("fetch it again"),
        "{error}"
    );

    // A pair's template that names a token which the file does not define.
    let words = serde_json::json!({"[UNK]": 0, "x": 1});
    let piece = serde_json::json!({"SpecialToken": {"id": "[CLS]", "type_id": 0}});
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "decoder": null,
        "post_processor": {"type": "TemplateProcessing", "single": [piece], "pair": [piece], "special_tokens": {}},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": words},
    });
    let tokenizer = HuggingFaceTokenizer::new(json.to_string().as_bytes()).unwrap();
    let text = tokenizer.plain("x").unwrap();
    let error = tokenizer.sequence(text.clone(), Some(text), None).unwrap_err().to_string();
    assert!(error.contains("cannot run this tokenizer.json"), "{error}");
}

/// Guard: `MAX_TOKENS`. One token with the highest id would reserve 100 GiB for those before it.
#[test]
fn a_token_with_an_id_beyond_any_vocabulary_is_refused() {
    let level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                                   "use_regex": true});
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "vocab": {"a": 0, "b": u32::MAX}, "merges": []},
    });
    let model = HuggingFaceTokenizer::new(json.to_string().as_bytes()).unwrap();
    let error = Tokenizer::of_hugging_face(model, SpecialTexts::default()).unwrap_err().to_string();
    assert!(error.contains("a token has the id 4294967295"), "{error}");
}
