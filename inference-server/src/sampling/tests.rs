use proptest::prelude::*;

use super::{NoFiniteLogit, Sampler, SamplingParams, Scratch, logprobs_of};

/// Tokens drawn from the same row again and again.
fn draw(params: SamplingParams, prompt: &[u32], logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(params, prompt);
    let mut scratch = Scratch::default();
    (0..count).map(|_| sampler.sample(&mut logits.to_vec(), &mut scratch).unwrap().token).collect()
}

fn greedy() -> SamplingParams {
    SamplingParams { temperature: 0.0, ..SamplingParams::default() }
}

#[test]
fn greedy_takes_the_first_of_the_greatest() {
    assert_eq!(draw(greedy(), &[], &[0.0, 3.0, 3.0, f32::NAN], 2), [1, 1]);
}

#[test]
fn a_row_without_a_finite_logit_is_an_error() {
    for params in [greedy(), SamplingParams::default()] {
        let mut row = vec![f32::NAN, f32::NEG_INFINITY];
        let sampled = Sampler::new(params, &[]).sample(&mut row, &mut Scratch::default());
        assert_eq!(sampled, Err(NoFiniteLogit));
    }
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let row: Vec<f32> = (0..100).map(|id| (id % 7) as f32).collect();
    let with = |seed| draw(SamplingParams { seed, ..SamplingParams::default() }, &[], &row, 50);
    assert_eq!(with(7), with(7));
    assert_ne!(with(7), with(8));
}

#[test]
fn draws_follow_the_probabilities() {
    let row = [2.0_f32.ln(), 1.0_f32.ln(), 1.0_f32.ln()];
    let tokens = draw(SamplingParams::default(), &[], &row, 4000);
    let share = tokens.iter().filter(|token| **token == 0).count() as f64 / 4000.0;
    assert!((0.46..0.54).contains(&share), "{share}");
}

#[test]
fn filters_leave_only_what_they_say() {
    let row = [0.4_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln(), 0.1_f32.ln()];
    let seen = |params: SamplingParams| {
        let mut tokens = draw(params, &[], &row, 400);
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    };
    let open = SamplingParams::default;
    assert_eq!(seen(open()), [0, 1, 2, 3]);
    assert_eq!(seen(SamplingParams { top_k: 2, ..open() }), [0, 1]);
    assert_eq!(seen(SamplingParams { top_p: 0.69, ..open() }), [0, 1]);
    assert_eq!(seen(SamplingParams { top_p: 0.0, ..open() }), [0]);
    assert_eq!(seen(SamplingParams { min_p: 0.45, ..open() }), [0, 1, 2]);
    assert_eq!(seen(SamplingParams { temperature: 0.01, ..open() }), [0]);
}

#[test]
fn penalties_and_bias_move_logits() {
    let row = [1.0, 0.9, 0.0];
    let frequency = SamplingParams { frequency_penalty: 0.3, ..greedy() };
    assert_eq!(draw(frequency, &[0], &row, 4), [0, 1, 0, 1], "the prompt does not count");
    let presence = SamplingParams { presence_penalty: 2.0, ..greedy() };
    assert_eq!(draw(presence, &[], &row, 4), [0, 1, 2, 0]);
    let repetition = SamplingParams { repetition_penalty: 2.0, ..greedy() };
    assert_eq!(draw(repetition, &[0], &row, 1), [1], "the prompt counts");
    let bias = SamplingParams { logit_bias: vec![(2, 5.0), (99, 1.0)], ..greedy() };
    assert_eq!(draw(bias, &[], &row, 1), [2]);
    let ban = SamplingParams { logit_bias: vec![(0, f32::NEG_INFINITY)], ..greedy() };
    assert_eq!(draw(ban, &[], &row, 1), [1]);
}

#[test]
fn log_probabilities_are_the_models_own() {
    let row = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
    let params = SamplingParams { top_logprobs: Some(2), logit_bias: vec![(2, 100.0)], ..greedy() };
    let sampled = Sampler::new(params, &[]).sample(&mut row.to_vec(), &mut Scratch::default()).unwrap();
    let logprobs = sampled.logprobs.unwrap();
    assert_eq!(sampled.token, 2);
    assert!((logprobs.logprob - 0.2_f32.ln()).abs() < 1e-6);
    let ids: Vec<u32> = logprobs.top.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [0, 1]);
    assert_eq!(logprobs_of(&row, 2, 2), logprobs);
}

/// The tokens that top-p leaves, by a full sort: equal weights in order of id.
fn nucleus(row: &[f32], top_p: f32) -> Vec<u32> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut all: Vec<(u32, f64)> =
        (0..).zip(row.iter().map(|logit| f64::from((logit - most).exp()))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: f64 = all.iter().map(|(_, weight)| weight).sum();
    let mut sum = 0.0;
    // A hair more than asked for: the sums are taken in another order here.
    let last = all.iter().position(|(_, weight)| {
        sum += weight;
        sum >= total * f64::from(top_p) * (1.0 + 1e-6)
    });
    all.iter().take(last.map_or(all.len(), |last| last + 1)).map(|(id, _)| *id).collect()
}

proptest! {
    /// Whatever the row and the parameters, a draw is a token with a finite logit.
    #[test]
    fn draws_are_always_possible_tokens(
        row in prop::collection::vec(prop_oneof![9 => -40.0..40.0_f32, 1 => Just(f32::NEG_INFINITY)], 1..700),
        temperature in 0.0..2.0_f32,
        top_p in 0.0..1.0_f32,
        top_k in 0..50_u32,
        min_p in 0.0..1.0_f32,
        seed: u64,
    ) {
        prop_assume!(row.iter().any(|logit| logit.is_finite()));
        let params = SamplingParams { temperature, top_p, top_k, min_p, seed, ..SamplingParams::default() };
        for token in draw(params, &[], &row, 5) {
            prop_assert!(row[token as usize].is_finite());
        }
    }

    /// Top-p by partial selection leaves what a full sort leaves.
    #[test]
    fn a_nucleus_is_that_of_a_full_sort(
        row in prop::collection::vec(-4.0..4.0_f32, 1..900),
        top_p in 0.0..1.0_f32,
        seed: u64,
    ) {
        let nucleus = nucleus(&row, top_p);
        let params = SamplingParams { top_p, seed, ..SamplingParams::default() };
        for token in draw(params, &[], &row, 30) {
            prop_assert!(nucleus.contains(&token), "{token} of {} tokens", nucleus.len());
        }
    }
}
