//! What families of mixtures of experts share: bounds and settings.

use super::super::variants::Variant;

/// More than any model has; bounds what a hostile count costs.
pub(super) const MAX_EXPERTS: u32 = 4096;

/// Settings of mixtures that change the numbers in ways that are not computed here.
pub(super) const VARIANTS: &[Variant] = &[
    // 1 is a softmax; 0 says nothing.
    Variant::numbers(("expert_gating_func", ""), &[0.0, 1.0]),
    Variant::factor(("expert_weights_scale", "")),
    Variant::on(("expert_weights_norm", "")),
    Variant::factor(("expert_group_count", "")),
    Variant::off(("expert_shared_count", "")),
    Variant::off(("leading_dense_block_count", "")),
];
