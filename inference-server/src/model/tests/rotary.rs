//! What of rotation no oracle's golden holds: settings that published models seldom have.

use super::Changed;
use crate::gguf::Value;
use crate::kernels::elementwise::PairLayout;
use crate::model::TensorSource as _;
use crate::model::rotary::{ROTARY_KEYS, Rotary, RotaryFactors, RotarySpec};

fn rotary(model: &Changed, head: usize, context: usize) -> Rotary {
    let spec =
        RotarySpec { keys: ROTARY_KEYS, layout: PairLayout::Halves, head, default_base: 10_000.0, context };
    Rotary::read(&model.keys().unwrap(), spec, RotaryFactors::default()).unwrap()
}

/// The oldest files say the linear factor under a name of its own and no kind of scaling.
#[test]
fn a_linear_factor_without_its_kind_is_honoured() {
    let model = || Changed::gguf("llama-linear").unwrap();
    let scaled = rotary(&model(), 16, 256);
    let plain =
        rotary(&model().with_key("rope.scaling.type", Some(Value::String("none".to_owned()))), 16, 256);
    assert_ne!(scaled, plain);
    let without_kind = model().with_key("rope.scaling.type", None);
    assert_eq!(rotary(&without_kind, 16, 256), scaled);
    let oldest = without_kind
        .with_key("rope.scaling.factor", None)
        .with_key("rope.scale_linear", Some(Value::F32(4.0)));
    assert_eq!(rotary(&oldest, 16, 256), scaled);
    let neither = oldest.with_key("rope.scale_linear", None);
    assert_eq!(rotary(&neither, 16, 256), plain);
}

/// A config's temperature takes the usual one's place, as in transformers; llama.cpp's own factor multiplies it.
#[test]
fn yarn_has_the_temperature_that_the_file_gives() {
    let magnitude = |own: Option<f32>, times: Option<f32>| {
        let model = Changed::gguf("qwen3-yarn").unwrap();
        let model = model.with_key("rope.scaling.yarn_attn_factor", own.map(Value::F32));
        rotary(&model.with_key("rope.scaling.attn_factor", times.map(Value::F32)), 16, 256).magnitude
    };
    let usual = 0.1 * 4f64.ln() + 1.0;
    for (own, times, expected) in [
        (None, None, usual),
        (Some(0.5), None, 0.5),
        (None, Some(2.0), 2.0 * usual),
        (Some(0.5), Some(2.0), 1.0),
    ] {
        assert!((magnitude(own, times) - expected).abs() < 1e-6, "{own:?} {times:?}");
    }
}

/// As transformers' `_compute_longrope_parameters`: the ratio of the contexts is only the usual factor.
#[test]
fn longrope_goes_by_the_factor_that_is_given() {
    let usual = rotary(&Changed::folder("phi3-longrope"), 16, 256);
    let given = |factor: &str| {
        let model = Changed::folder("phi3-longrope").with(&format!(r#"{{"rope_scaling.factor": {factor}}}"#));
        rotary(&model, 16, 256)
    };
    let magnitude = |factor: f64| (1.0 + factor.ln() / 40f64.ln()).sqrt();
    assert!((usual.magnitude - magnitude(256.0 / 40.0)).abs() < 1e-9);
    assert!((given("32.0").magnitude - magnitude(32.0)).abs() < 1e-9);
    assert!((given("0.5").magnitude - 1.0).abs() < 1e-9);
    assert_eq!(given("32.0").frequencies, usual.frequencies);
}
