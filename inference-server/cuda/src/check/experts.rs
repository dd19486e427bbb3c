//! Routing, sorting and adding up of a mixture's experts.

use super::{Case, error, numbers};
use crate::device::{Device, DeviceError};
use crate::operations::{CombineExperts, ExpertTile, Route, SortByExpert, Width};

pub(super) fn cases() -> Vec<Case> {
    // Rows, experts, experts of a row.
    let shapes = [(1, 1, 1), (3, 8, 2), (70, 60, 4), (9, 128, 8)];
    let mut all = Vec::new();
    for (rows, experts, chosen) in shapes {
        for normalized in [false, true] {
            let shape = format!("{rows} rows to {chosen} of {experts}, sums of 1: {normalized}");
            all.push(Case::new("experts", shape, 1e-6, move |d| {
                routed(d, rows, experts, chosen, normalized)
            }));
        }
        for width in [Width::Eight, Width::Sixteen] {
            let shape = format!("{rows} rows to {chosen} of {experts} in tiles of {}", width.rows());
            all.push(Case::new("experts", shape, 0.0, move |d| sorted(d, rows, experts, chosen, width)));
        }
        let shape = format!("{rows} rows to {chosen} of {experts}, one of no numbers");
        all.push(Case::new("experts", shape, 0.0, move |d| routed_nowhere(d, rows, experts, chosen)));
        let shape = format!("{rows} rows of {chosen} added up");
        all.push(Case::new("experts", shape, 1e-6, move |d| combined(d, rows, chosen)));
    }
    all
}

/// Scores with ties: the first of equal ones is chosen.
fn scores(rows: usize, experts: usize) -> Vec<f32> {
    numbers(3, rows * experts).into_iter().map(|x| (x * 20.0).round() / 4.0).collect()
}

/// Choices and shares of each row.
fn expected_routes(scores: &[f32], experts: usize, chosen: usize, normalized: bool) -> (Vec<u32>, Vec<f32>) {
    let (mut choices, mut shares) = (Vec::new(), Vec::new());
    for row in scores.chunks_exact(experts) {
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let total: f64 = row.iter().map(|score| f64::from(*score).exp()).sum();
        let share = |expert: &usize| f64::from(row[*expert]).exp() / total;
        let sum: f64 = if normalized { order[..chosen].iter().map(share).sum() } else { 1.0 };
        choices.extend(order[..chosen].iter().map(|expert| *expert as u32));
        shares.extend(order[..chosen].iter().map(|expert| (share(expert) / sum) as f32));
    }
    (choices, shares)
}

fn routed(
    device: &mut dyn Device,
    rows: usize,
    experts: usize,
    chosen: usize,
    normalized: bool,
) -> Result<f64, DeviceError> {
    let scores = scores(rows, experts);
    let room = (rows * chosen * 4) as u64;
    let route = Route {
        scores: device.allocate_with(&scores)?,
        rows,
        experts,
        chosen,
        normalized,
        choices: device.allocate(room)?,
        shares: device.allocate(room)?,
    };
    device.launch(&route.launch())?;
    let (choices, shares) = expected_routes(&scores, experts, chosen, normalized);
    let same = device.read::<u32>(route.choices, rows * chosen)? == choices;
    Ok(if same { error(&device.read::<f32>(route.shares, rows * chosen)?, &shares) } else { f64::INFINITY })
}

/// A row whose scores are no numbers goes to experts that there are, with shares that are none; all others as ever.
fn routed_nowhere(
    device: &mut dyn Device,
    rows: usize,
    experts: usize,
    chosen: usize,
) -> Result<f64, DeviceError> {
    let mut scores = scores(rows, experts);
    let (expected, _) = expected_routes(&scores, experts, chosen, true);
    scores[(rows - 1) * experts..].fill(f32::NAN);
    let room = (rows * chosen * 4) as u64;
    let route = Route {
        scores: device.allocate_with(&scores)?,
        rows,
        experts,
        chosen,
        normalized: true,
        choices: device.allocate(room)?,
        shares: device.allocate(room)?,
    };
    device.launch(&route.launch())?;
    let choices = device.read::<u32>(route.choices, rows * chosen)?;
    let shares = device.read::<f32>(route.shares, rows * chosen)?;
    let others = (rows - 1) * chosen;
    let right = choices[..others] == expected[..others]
        && choices[others..].iter().all(|choice| (*choice as usize) < experts)
        && shares[..others].iter().all(|share| share.is_finite())
        && shares[others..].iter().all(|share| share.is_nan());
    Ok(if right { 0.0 } else { f64::INFINITY })
}

fn sorted(
    device: &mut dyn Device,
    rows: usize,
    experts: usize,
    chosen: usize,
    width: Width,
) -> Result<f64, DeviceError> {
    let (choices, _) = expected_routes(&scores(rows, experts), experts, chosen, false);
    let room = (rows * chosen * 4) as u64;
    let mut sort = SortByExpert {
        choices: device.allocate_with(&choices)?,
        rows,
        chosen,
        experts,
        width,
        counts: device.allocate((experts * 4) as u64)?,
        rows_of: device.allocate(room)?,
        slots_of: device.allocate(room)?,
        tiles: crate::launch::Address::NULL,
    };
    sort.tiles = device.allocate((sort.tile_count() * size_of::<ExpertTile>()) as u64)?;
    for launch in sort.launches() {
        device.launch(&launch)?;
    }
    let mut pairs: Vec<usize> = (0..choices.len()).collect();
    pairs.sort_by_key(|pair| choices[*pair]);
    let rows_of: Vec<u32> = pairs.iter().map(|pair| (pair / chosen) as u32).collect();
    let mut slots_of = vec![0u32; pairs.len()];
    pairs.iter().enumerate().for_each(|(slot, pair)| slots_of[*pair] = slot as u32);
    let mut tiles = Vec::new();
    let mut first = 0;
    for expert in 0..experts as u32 {
        let count = choices.iter().filter(|choice| **choice == expert).count();
        for at in (0..count).step_by(width.rows()) {
            tiles.push(ExpertTile::new(expert, (first + at) as u32, width.rows().min(count - at) as u32));
        }
        first += count;
    }
    tiles.resize(sort.tile_count(), ExpertTile::default());
    let same = device.read::<u32>(sort.rows_of, pairs.len())? == rows_of
        && device.read::<u32>(sort.slots_of, pairs.len())? == slots_of
        && device.read::<ExpertTile>(sort.tiles, tiles.len())? == tiles;
    Ok(if same { 0.0 } else { f64::INFINITY })
}

fn combined(device: &mut dyn Device, rows: usize, chosen: usize) -> Result<f64, DeviceError> {
    const COLUMNS: usize = 300;
    let pairs = rows * chosen;
    let (made, shares, stream) = (numbers(1, pairs * COLUMNS), numbers(2, pairs), numbers(3, rows * COLUMNS));
    let slots: Vec<u32> = (0..pairs as u32).rev().collect();
    let combine = CombineExperts {
        made: device.allocate_with(&made)?,
        slots_of: device.allocate_with(&slots)?,
        shares: device.allocate_with(&shares)?,
        stream: device.allocate_with(&stream)?,
        rows,
        columns: COLUMNS,
        chosen,
    };
    device.launch(&combine.launch())?;
    let mut expected = stream;
    for pair in 0..pairs {
        let made = &made[slots[pair] as usize * COLUMNS..][..COLUMNS];
        let row = &mut expected[pair / chosen * COLUMNS..][..COLUMNS];
        row.iter_mut().zip(made).for_each(|(x, made)| *x += shares[pair] * made);
    }
    Ok(error(&device.read::<f32>(combine.stream, expected.len())?, &expected))
}
