//! How far a row of logits is from another one, as a sampler sees it.

/// What one row says against another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Divergence {
    /// Of Kullback and Leibler, in nats; infinite where a logit is no number.
    pub(super) nats: f64,
    /// By how much the expected row holds its own likeliest token for likelier than the one that was found, in nats.
    pub(super) lead: f64,
}

impl Divergence {
    /// Of what is no row of numbers.
    pub(super) const ENDLESS: Self = Self { nats: f64::INFINITY, lead: f64::INFINITY };
}

/// The divergence of `found` from `expected`.
pub(super) fn divergence(found: &[f32], expected: &[f32]) -> Divergence {
    if found.len() != expected.len() || !found.iter().chain(expected).all(|logit| logit.is_finite()) {
        return Divergence::ENDLESS;
    }
    let (p, q) = (logarithms(expected), logarithms(found));
    let nats = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
    let of = |row: &[f32]| p.get(likeliest(row) as usize).copied().unwrap_or(f64::NEG_INFINITY);
    Divergence { nats, lead: of(expected) - of(found) }
}

/// The likeliest token, the first of equals.
pub(super) fn likeliest(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (index, logit)| {
        if *logit > best.1 { (index, *logit) } else { best }
    });
    u32::try_from(best.0).unwrap_or(u32::MAX)
}

/// Natural logarithms of a row's probabilities.
fn logarithms(row: &[f32]) -> Vec<f64> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
    row.iter().map(|x| f64::from(x - most) - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_row_is_no_way_off_and_what_is_no_number_infinitely() {
        let row = [0.5, 3.0, -1.0];
        let same = divergence(&row, &row);
        assert!(same.nats.abs() < 1e-12 && same.lead == 0.0, "{same:?}");
        let other = divergence(&[3.0, 0.5, -1.0], &row);
        assert!(other.nats > 0.1 && (other.lead - 2.5).abs() < 1e-6, "{other:?}");
        for broken in [&[0.5, f32::NAN, -1.0][..], &[0.5]] {
            assert!(divergence(broken, &row).nats.is_infinite());
        }
    }
}
