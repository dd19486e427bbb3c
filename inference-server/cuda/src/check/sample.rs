//! Drawing of tokens, and log probabilities.

use super::{Case, error, numbers};
use crate::device::{Device, DeviceError};
use crate::operations::{Edit, LogProbabilities, NOTHING, Sample, Settings, edit_logits};

/// A row's settings; all, where nothing is left out.
const ALL: Settings = Settings { temperature: 1.0, top_p: 1.0, min_p: 0.0, top_k: 0, draw: 0.0 };

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for vocabulary in [1, 33, 1023, 5000] {
        let settings = [
            ("the likeliest", Settings { temperature: 0.0, ..ALL }),
            ("all", ALL),
            ("cool", Settings { temperature: 0.3, ..ALL }),
            ("top 1", Settings { top_k: 1, ..ALL }),
            ("top 7", Settings { top_k: 7, temperature: 2.0, ..ALL }),
            ("min-p", Settings { min_p: 0.2, ..ALL }),
            ("top-p", Settings { top_p: 0.6, ..ALL }),
            ("a tiny top-p", Settings { top_p: 1e-6, ..ALL }),
            ("all three", Settings { top_k: 20, top_p: 0.8, min_p: 0.05, temperature: 1.5, ..ALL }),
        ];
        for (name, settings) in settings {
            let shape = format!("{name} of {vocabulary}");
            all.push(Case::new("sample", shape, 0.0, move |d| drawn(d, vocabulary, settings)));
        }
        let shape = format!("log probabilities of {vocabulary}");
        all.push(Case::new("sample", shape, 1e-5, move |d| log_probabilities(d, vocabulary)));
    }
    all.push(Case::new("sample", "rows without a number".to_owned(), 0.0, nothing));
    all.push(Case::new("sample", "edits".to_owned(), 1e-6, edited));
    all
}

/// Logits with ties, some of them no numbers.
fn logits(vocabulary: usize) -> Vec<f32> {
    let mut logits: Vec<f32> = numbers(5, vocabulary).into_iter().map(|x| (x * 40.0).round() / 5.0).collect();
    if vocabulary > 4 {
        logits[1] = f32::NAN;
        logits[2] = f32::INFINITY;
        logits[3] = f32::NEG_INFINITY;
    }
    logits
}

/// The tokens that may be drawn, in order of id, with their weights.
fn kept(logits: &[f32], settings: Settings) -> Vec<(u32, f64)> {
    let most = logits.iter().copied().filter(|x| x.is_finite()).fold(f32::NEG_INFINITY, f32::max);
    let temperature = if settings.temperature == 0.0 { 1.0 } else { settings.temperature };
    let least = settings.min_p.ln().max(-30.0);
    let mut list: Vec<(u32, f32)> =
        (0..).zip(logits.iter().copied()).filter(|(_, x)| x.is_finite()).collect();
    list.iter_mut().for_each(|(_, x)| *x = (*x - most) / temperature);
    list.retain(|(_, x)| *x >= least);
    list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let most_of = if settings.temperature == 0.0 { 1 } else { settings.top_k as usize };
    if most_of > 0 {
        list.truncate(most_of);
    }
    let mut list: Vec<(u32, f64)> = list.into_iter().map(|(id, x)| (id, f64::from(x).exp())).collect();
    let wanted = f64::from(settings.top_p) * list.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut sum = 0.0;
    let reached = list.iter().position(|(_, weight)| {
        sum += weight;
        sum >= wanted
    });
    if settings.top_p < 1.0 {
        list.truncate(reached.unwrap_or(list.len()) + 1);
    }
    list.sort_by_key(|(id, _)| *id);
    list
}

/// Every token that may be drawn is, by a number within its share, and at the ends of all.
fn drawn(device: &mut dyn Device, vocabulary: usize, settings: Settings) -> Result<f64, DeviceError> {
    let logits = logits(vocabulary);
    let kept = kept(&logits, settings);
    let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
    let (mut rows, mut expected, mut sum) = (Vec::new(), Vec::new(), 0.0);
    for (id, weight) in &kept {
        // Exponentials in float are off by a few 1e-7: whose share is not far above that can't be aimed at.
        if *weight > 1e-3 {
            rows.push(Settings { draw: (sum + weight / 2.0) / total, ..settings });
            expected.push(*id);
        }
        sum += weight;
    }
    // A vocabulary has more tokens than the emulator has time.
    let step = rows.len().div_ceil(12);
    let mut rows: Vec<Settings> = rows.into_iter().step_by(step).collect();
    let mut expected: Vec<u32> = expected.into_iter().step_by(step).collect();
    let ends = [(0.0, kept.first()), (1.0 - f64::EPSILON / 2.0, kept.last())];
    for (draw, end) in ends {
        rows.push(Settings { draw, ..settings });
        expected.extend(end.map(|(id, _)| *id));
    }
    let all: Vec<f32> = rows.iter().flat_map(|_| logits.clone()).collect();
    let sample = Sample {
        logits: device.allocate_with(&all)?,
        rows: rows.len(),
        vocabulary,
        settings: device.allocate_with(&rows)?,
        tokens: device.allocate((rows.len() * 4) as u64)?,
    };
    device.launch(&sample.launch())?;
    let same = device.read::<u32>(sample.tokens, rows.len())? == expected;
    Ok(if same { 0.0 } else { f64::INFINITY })
}

fn nothing(device: &mut dyn Device) -> Result<f64, DeviceError> {
    let logits = [[f32::NAN; 40], [f32::NEG_INFINITY; 40], [f32::INFINITY; 40]].concat();
    let sample = Sample {
        logits: device.allocate_with(&logits)?,
        rows: 3,
        vocabulary: 40,
        settings: device.allocate_with(&[ALL; 3])?,
        tokens: device.allocate(12)?,
    };
    device.launch(&sample.launch())?;
    let none = device.read::<u32>(sample.tokens, 3)? == [NOTHING; 3];
    Ok(if none { 0.0 } else { f64::INFINITY })
}

fn log_probabilities(device: &mut dyn Device, vocabulary: usize) -> Result<f64, DeviceError> {
    const ROWS: usize = 2;
    let logits: Vec<f32> =
        numbers(8, ROWS * vocabulary).into_iter().map(|x| (x * 40.0).round() / 5.0).collect();
    let tokens = [0, vocabulary as u32 - 1];
    let top = vocabulary.min(5);
    let room = (ROWS * top * 4) as u64;
    let probabilities = LogProbabilities {
        logits: device.allocate_with(&logits)?,
        rows: ROWS,
        vocabulary,
        tokens: device.allocate_with(&tokens)?,
        logprobs: device.allocate((ROWS * 4) as u64)?,
        top,
        top_ids: device.allocate(room)?,
        top_logprobs: device.allocate(room)?,
    };
    device.launch(&probabilities.launch())?;
    let (mut own, mut ids, mut tops) = (Vec::new(), Vec::new(), Vec::new());
    for (row, token) in logits.chunks_exact(vocabulary).zip(tokens) {
        let sum = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
        own.push((f64::from(row[token as usize]) - sum) as f32);
        let mut order: Vec<usize> = (0..vocabulary).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        ids.extend(order[..top].iter().map(|id| *id as u32));
        tops.extend(order[..top].iter().map(|id| (f64::from(row[*id]) - sum) as f32));
    }
    if device.read::<u32>(probabilities.top_ids, ROWS * top)? != ids {
        return Ok(f64::INFINITY);
    }
    // Of a vocabulary of one, the logarithm is 0: the largest of what the numbers were is what counts.
    let of = |found: Vec<f32>, expected: &[f32]| {
        let scaled = |list: &[f32]| list.iter().copied().chain([8.0]).collect::<Vec<_>>();
        error(&scaled(&found), &scaled(expected))
    };
    let own = of(device.read::<f32>(probabilities.logprobs, ROWS)?, &own);
    Ok(own.max(of(device.read::<f32>(probabilities.top_logprobs, ROWS * top)?, &tops)))
}

fn edited(device: &mut dyn Device) -> Result<f64, DeviceError> {
    let logits = [2.0f32, -2.0, 0.5, 1.0, -1.0, 3.0];
    let edit = |row, token, repetition, add| Edit { row, token, repetition, add };
    // The last is outside of the vocabulary.
    let edits = [edit(0, 0, 2.0, 0.25), edit(0, 1, 2.0, 0.0), edit(1, 2, 1.0, -100.0), edit(1, 3, 2.0, 5.0)];
    let (at, edits_at) = (device.allocate_with(&logits)?, device.allocate_with(&edits)?);
    device.launch(&edit_logits(at, 3, edits_at, edits.len()))?;
    let expected = [1.25, -4.0, 0.5, 1.0, -1.0, -97.0];
    Ok(error(&device.read::<f32>(at, 6)?, &expected))
}
