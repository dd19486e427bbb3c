//! What is said of a card before there is one, against what the card then takes.

use weighbridge_fit::rules::DRIVER;
use weighbridge_fit::{Asked, Cards, DeviceFacts, Misfit, ModelFacts, on_cards};

use super::parallel::{boxed, shared_spec};
use super::*;
use crate::model::{HeaderOnly, plan_decoder};

const CONTEXT: usize = 256;

fn facts_of(source: &NotedFile, cache: CacheKind, cards: u32) -> Result<DeviceFacts, String> {
    let planned = plan_decoder(&HeaderOnly(source), Some(CONTEXT)).unwrap();
    let steps = (OPTIONS.step_tokens, 1);
    card_facts(&*planned.model, &planned.plan, cache, cards, CONTEXT, steps)
}

fn facts(device: DeviceFacts) -> ModelFacts {
    ModelFacts {
        architecture: "llama".to_owned(),
        parameters: 0,
        bytes: 0,
        bytes_by_type: Default::default(),
        layers: 0,
        heads: 0,
        kv_heads: 0,
        head_length: 0,
        vocabulary: 0,
        built_context: CONTEXT as u64,
        context_length: CONTEXT as u64,
        max_sequences: 1,
        kv_bytes_per_token: 0,
        devices: vec![device],
        not_on_cards: None,
    }
}

/// The least memory that is said to hold it.
fn least(device: DeviceFacts, sleeps: bool) -> u64 {
    let facts = facts(device);
    let holds = |free: u64| {
        let cards = Cards { memory: free + DRIVER, asked: Asked::Count(device.cards), sleeps };
        on_cards(&facts, &cards)
    };
    let sizes: Vec<u64> = (0..=64 << 10).map(|kibibytes| kibibytes << 10).collect();
    let first = sizes.partition_point(|free| matches!(holds(*free), Err(Misfit::TooLarge(_))));
    sizes[first]
}

/// Guard: the verdict before a pod is made is the engine's own. The emulated card multiplies plain matrices, so that it takes what
/// is reckoned for a whole context of every sequence, of which there is one.
#[test]
fn the_least_card_that_is_said_to_hold_a_model_holds_it_and_a_smaller_one_does_not() {
    for (kind, cache, cards, sleeps) in [
        (TensorType::BF16, CacheKind::F16, 1, false),
        (TensorType::Q4K, CacheKind::F16, 1, true),
        (TensorType::Q8_0, CacheKind::E4m3, 1, false),
        (TensorType::Q8_0, CacheKind::F16, 2, false),
        (TensorType::Q8_0, CacheKind::F16, 4, false),
    ] {
        let source = NotedFile::new(&shared_spec(Family::Llama, kind));
        let device = facts_of(&source, cache, cards).unwrap();
        assert_eq!(source.tensors_read(), Vec::<String>::new(), "the header alone");
        assert!(device.scratch < device.full_scratch, "without room for plain matrices");
        let least = least(DeviceFacts { scratch: device.full_scratch, ..device }, sleeps);
        let options =
            CudaOptions { kv: None, sequences: 1, cache, context_length: Some(CONTEXT), sleeps, ..OPTIONS };
        let load = |free: u64| {
            let devices = boxed(EmulatedDevice::group(cards as usize, free));
            CudaBackend::load_on(devices, &source, &[], &options, &mut |_| ())
        };
        let backend = load(least).unwrap();
        assert_eq!(
            backend.description().kv_blocks,
            CONTEXT / 16,
            "{kind} on {cards}: one context and no more"
        );
        let smaller = load(least - (2 << 10)).unwrap_err();
        assert!(matches!(smaller, LoadError::Memory { .. }), "{kind} on {cards}: {smaller}");
    }
}

#[test]
fn several_cards_hold_less_each_and_numbers_that_can_t_share_it_are_named() {
    let source = NotedFile::new(&shared_spec(Family::Llama, TensorType::Q8_0));
    let of = |cards| facts_of(&source, CacheKind::F16, cards);
    let [one, two, four] = [1, 2, 4].map(|cards| of(cards).unwrap());
    assert!(one.weights > two.weights && two.weights > four.weights);
    assert_eq!((one.kv_block, one.kv_block), (2 * two.kv_block, 4 * four.kv_block));
    assert!(of(3).unwrap_err().contains("can't be shared out to 3 cards"));
}
