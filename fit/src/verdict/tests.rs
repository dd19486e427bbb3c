use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const GIB: u64 = 1 << 30;

/// In the shape of Llama 3 8B, halves, with 16 sequences of 4096 tokens: 128 KiB of keys and values a token.
fn facts() -> ModelFacts {
    let device = |cards: u32| {
        let of = u64::from(cards.max(1));
        let (kv_block, spare_blocks) = (16 * (128 << 10) / of, u64::from(cards > 0));
        let (scratch, full_scratch) = (GIB / 4, GIB / 2);
        DeviceFacts { cards, weights: 15 * GIB / of, kv_block, spare_blocks, scratch, full_scratch }
    };
    ModelFacts {
        architecture: "llama".to_owned(),
        parameters: 8_030_261_248,
        bytes: 15 * GIB,
        bytes_by_type: BTreeMap::from([("BF16".to_owned(), 15 * GIB)]),
        layers: 32,
        heads: 32,
        kv_heads: 8,
        head_length: 128,
        vocabulary: 128_256,
        built_context: 8192,
        context_length: 4096,
        max_sequences: 16,
        kv_bytes_per_token: 128 << 10,
        devices: [0, 1, 2, 4, 8].map(device).into(),
        not_on_cards: None,
    }
}

fn cards(memory: u64, asked: Asked) -> Cards {
    Cards { memory, asked, sleeps: false }
}

#[test]
fn a_card_that_holds_every_sequence_is_said_with_the_sum() {
    let fits = on_cards(&facts(), &cards(80 * GIB, Asked::Count(1))).unwrap();
    let words = "needs 24.3 GiB: weights 15.0, KV 8.0 at 16 sequences of 4096, scratch 0.5, reserve 0.3, driver 0.5, of \
                 80.0 GiB";
    assert_eq!(fits, Fits { cards: 1, words: words.to_owned() });
}

#[test]
fn too_small_a_card_is_refused_with_the_sum_and_with_what_would_do() {
    let refused = on_cards(&facts(), &cards(16 * GIB, Asked::Count(1))).unwrap_err();
    let words = "needs 16.5 GiB: weights 15.0, KV 0.5 at 1 sequence of 4096, scratch 0.2, reserve 0.3, driver 0.5; the card \
                 has 16.0 GiB; 2 GPUs would do";
    assert_eq!(refused, Misfit::TooLarge(words.to_owned()));
    let refused = on_cards(&facts(), &cards(GIB, Asked::Count(8))).unwrap_err();
    assert!(refused.to_string().contains("GiB on each of 8 GPUs: weights 1.9,"), "{refused}");
    assert!(refused.to_string().ends_with("; the card has 1.0 GiB"), "{refused}");
}

#[test]
fn one_context_is_enough_and_what_is_left_is_said() {
    let fits = on_cards(&facts(), &cards(17 * GIB, Asked::Count(1))).unwrap();
    assert_eq!(fits.cards, 1);
    // 17 less weights, scratch, reserve and driver is 0.97 GiB, of 2 MiB a block, of which one is spare.
    assert!(fits.words.contains("room for 7920 tokens, of 65536 that 16 whole sequences"), "{}", fits.words);
    assert!(fits.words.starts_with("needs 16.5 GiB: "), "{}", fits.words);
}

#[test]
fn the_fewest_cards_that_hold_every_sequence_are_taken_before_those_that_hold_one() {
    let chosen =
        |memory, most| on_cards(&facts(), &cards(memory, Asked::Fewest { most })).map(|fits| fits.cards);
    assert_eq!(chosen(80 * GIB, 8), Ok(1));
    assert_eq!(chosen(17 * GIB, 8), Ok(2));
    assert_eq!(chosen(17 * GIB, 1), Ok(1));
    assert_eq!(chosen(7 * GIB, 8), Ok(8));
    let refused = chosen(2 * GIB, 8).unwrap_err().to_string();
    assert!(refused.contains("on each of 8 GPUs") && refused.ends_with("the card has 2.0 GiB"), "{refused}");
}

#[test]
fn a_number_that_can_t_share_the_model_is_refused_with_those_that_can() {
    let refused = on_cards(&facts(), &cards(80 * GIB, Asked::Count(3))).unwrap_err();
    assert!(
        matches!(&refused, Misfit::NotShared(words) if words.ends_with("to 3 GPUs: 1, 2, 4 or 8 can share it"))
    );
    assert!(refused.to_string().starts_with("its 8 heads of keys and values"), "{refused}");
}

#[test]
fn who_sleeps_leaves_more_to_others() {
    let sleeps = |sleeps| {
        let cards = Cards { memory: 17 * GIB, asked: Asked::Count(1), sleeps };
        on_cards(&facts(), &cards).is_ok()
    };
    assert!(sleeps(false) && !sleeps(true));
}

#[test]
fn what_no_card_computes_is_refused_however_large() {
    let facts = ModelFacts { not_on_cards: Some("encoders do not".to_owned()), ..facts() };
    let refused = on_cards(&facts, &cards(u64::MAX, Asked::Fewest { most: 8 })).unwrap_err();
    assert!(
        matches!(&refused, Misfit::Unserved(words) if words.contains("no GPU computes it: encoders do not"))
    );
}

#[test]
fn a_cpu_s_memory_holds_a_context_and_something_for_further_sequences() {
    let need = "needs 16.8 GiB: weights 15.0, KV 1.4 for 11776 tokens, scratch 0.2, process 0.1";
    assert_eq!(on_cpu(&facts(), 17 * GIB), Ok(Fits { cards: 0, words: format!("{need}, of 17.0 GiB") }));
    let refused = Misfit::TooLarge(format!("{need}; the memory is 16.0 GiB"));
    assert_eq!(on_cpu(&facts(), 16 * GIB), Err(refused));
    let facts = ModelFacts { devices: Vec::new(), ..facts() };
    assert!(on_cpu(&facts, 16 * GIB).unwrap_err().to_string().contains("fp8 are a GPU's"));
}

#[test]
fn a_slice_says_its_memory_by_its_name() {
    for (resource, gigabytes) in [
        ("nvidia.com/mig-3g.40gb", Some(40)),
        ("nvidia.com/mig-1g.10gb.me", Some(10)),
        ("nvidia.com/mig-1g.5gb.shared", Some(5)),
        ("nvidia.com/gpu", None),
        ("nvidia.com/mig-3g", None),
        ("amd.com/mig-3g.40gb", None),
    ] {
        assert_eq!(
            memory_of_slice(resource),
            gigabytes.map(|count: u64| count * 1_000_000_000),
            "{resource}"
        );
    }
}

#[test]
fn facts_are_the_same_once_written_and_read() {
    let written = serde_json::to_string(&facts()).unwrap();
    assert_eq!(serde_json::from_str::<ModelFacts>(&written).unwrap(), facts());
    assert!(written.contains("\"kvBytesPerToken\":131072"), "{written}");
}

proptest! {
    #[test]
    fn more_memory_never_needs_more_cards(memory in 0_u64..96 * GIB, more in 0_u64..96 * GIB) {
        let chosen = |memory| on_cards(&facts(), &cards(memory, Asked::Fewest { most: 8 })).map(|fits| fits.cards);
        if let Ok(few) = chosen(memory) {
            let held = on_cards(&facts(), &cards(memory, Asked::Count(few)));
            prop_assert!(held.is_ok(), "{few} cards were chosen and do not hold it");
            // Whole contexts of every sequence come before few cards, so that only those who have them are compared.
            let all = |memory, count| Need::new(&facts(), facts().card_of(count).unwrap(), &cards(memory, Asked::Count(count))).fits_all();
            if all(memory, few) {
                prop_assert!(chosen(memory + more).unwrap() <= few);
            }
        }
    }
}
