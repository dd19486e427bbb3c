//! What happens between products: normalisation, activations, copies, caps, pooling.

use weighbridge_kernels::elementwise::Activation;
use weighbridge_kernels::reference;

use super::{Case, error, floats, numbers};
use crate::device::{Device, DeviceError};
use crate::form::input_stride;
use crate::launch::Address;
use crate::operations::{Gate, Normalize, Pool, PoolKind, add_bias, cap_rows, convert_rows, gather_rows};

/// Rows and columns: one of each, odd ones, and a model's.
const SHAPES: &[(usize, usize)] = &[(1, 1), (3, 72), (5, 576), (2, 4099)];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for &(rows, columns) in SHAPES {
        for layer in [false, true] {
            let kind = if layer { "layer" } else { "root mean square" };
            let shape = format!("{kind} [{rows}, {columns}]");
            // One element less its own mean is 0: what is left is the reference's last bit.
            all.push(Case::new("norm", shape, 5e-3, move |d| normalized(d, rows, columns, layer)));
        }
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
            for gated in [true, false] {
                let shape = format!("{activation:?} [{rows}, {columns}], gated: {gated}");
                all.push(Case::new("gate", shape, 5e-3, move |d| {
                    activated(d, rows, columns, activation, gated)
                }));
            }
        }
        all.push(Case::new("rows", format!("[{rows}, {columns}] copied"), 0.0, move |d| {
            copied(d, rows, columns)
        }));
        all.push(Case::new("rows", format!("[{rows}, {columns}] to bfloat16"), 0.0, move |d| {
            converted(d, rows, columns)
        }));
        all.push(Case::new("rows", format!("[{rows}, {columns}] capped"), 1e-6, move |d| {
            capped(d, rows, columns)
        }));
        all.push(Case::new("rows", format!("[{rows}, {columns}] biased"), 0.0, move |d| {
            biased(d, rows, columns)
        }));
    }
    for kind in [PoolKind::Mean, PoolKind::First, PoolKind::Last] {
        for normalized in [false, true] {
            let shape = format!("{kind:?} of 1, 7 and 4 rows, length 1: {normalized}");
            all.push(Case::new("pool", shape, 1e-6, move |d| pooled(d, kind, normalized)));
        }
    }
    all
}

fn normalized(device: &mut dyn Device, rows: usize, columns: usize, layer: bool) -> Result<f64, DeviceError> {
    let (input, weight, bias) = (numbers(1, rows * columns), numbers(2, columns), numbers(3, columns));
    let before = numbers(4, rows * columns);
    let stride = input_stride(columns);
    let norm = Normalize {
        input: device.allocate_with(&input)?,
        rows,
        columns,
        weight: device.allocate_with(&weight)?,
        bias: if layer { device.allocate_with(&bias)? } else { Address::NULL },
        layer,
        epsilon: 1e-3,
        out: device.allocate_with(&before)?,
        add: true,
        rounded: device.allocate((rows * stride * 2) as u64)?,
        rounded_stride: stride,
    };
    device.launch(&norm.launch())?;
    let row = |row: &[f32]| match layer {
        true => reference::layer_norm(row, &weight, &bias, 1e-3),
        false => reference::rms_norm(row, &weight, 1e-3),
    };
    let expected: Vec<f32> = input.chunks_exact(columns).flat_map(row).collect();
    let found = floats(&device.read::<u16>(norm.rounded, rows * stride)?);
    let zeros = found.chunks_exact(stride).all(|row| row[columns..].iter().all(|x| *x == 0.0));
    let inside: Vec<f32> = found.chunks_exact(stride).flat_map(|row| row[..columns].to_vec()).collect();
    let sum: Vec<f32> = before.iter().zip(&expected).map(|(a, b)| a + b).collect();
    let added = error(&device.read::<f32>(norm.out, rows * columns)?, &sum);
    // In place.
    device.launch(&Normalize { out: norm.input, add: false, rounded: Address::NULL, ..norm }.launch())?;
    let replaced = error(&device.read::<f32>(norm.input, rows * columns)?, &expected);
    // Floats are a thousand times nearer than what is rounded.
    let worst = error(&inside, &expected).max(1e3 * added.max(replaced));
    Ok(if zeros { worst } else { f64::INFINITY })
}

fn activated(
    device: &mut dyn Device,
    rows: usize,
    columns: usize,
    activation: Activation,
    gated: bool,
) -> Result<f64, DeviceError> {
    let width = if gated { 2 * columns } else { columns };
    let input: Vec<f32> = numbers(1, rows * width).into_iter().map(|x| 6.0 * x).collect();
    let stride = input_stride(columns);
    let gate = Gate {
        input: device.allocate_with(&input)?,
        out: device.allocate((rows * stride * 2) as u64)?,
        rows,
        columns,
        out_stride: stride,
        activation,
        gated,
    };
    device.launch(&gate.launch())?;
    let mut expected = Vec::new();
    for row in input.chunks_exact(width) {
        let one = |at: usize| {
            reference::activate(activation, row[at]) * if gated { row[columns + at] } else { 1.0 }
        };
        expected.extend((0..columns).map(one));
        expected.resize(expected.len().next_multiple_of(stride), 0.0);
    }
    Ok(error(&floats(&device.read::<u16>(gate.out, rows * stride)?), &expected))
}

fn copied(device: &mut dyn Device, rows: usize, columns: usize) -> Result<f64, DeviceError> {
    let input = numbers(1, rows * columns);
    let index: Vec<u32> = (0..2 * rows as u32).map(|at| at * 7 % rows as u32).collect();
    let (from, index_at) = (device.allocate_with(&input)?, device.allocate_with(&index)?);
    let out = device.allocate((index.len() * columns * 4) as u64)?;
    device.launch(&gather_rows(from, out, index_at, index.len(), columns))?;
    let row = |at: &u32| &input[*at as usize * columns..][..columns];
    let expected: Vec<f32> = index.iter().flat_map(row).copied().collect();
    Ok(error(&device.read::<f32>(out, expected.len())?, &expected))
}

fn converted(device: &mut dyn Device, rows: usize, columns: usize) -> Result<f64, DeviceError> {
    let input = numbers(1, rows * columns);
    let stride = input_stride(columns);
    let out = device.allocate((rows * stride * 2) as u64)?;
    let from = device.allocate_with(&input)?;
    device.launch(&convert_rows(from, out, rows, columns, stride))?;
    let (expected, _) = super::rounded_rows(&input, columns, stride);
    Ok(error(&floats(&device.read::<u16>(out, rows * stride)?), &floats(&expected)))
}

fn capped(device: &mut dyn Device, rows: usize, columns: usize) -> Result<f64, DeviceError> {
    let input: Vec<f32> = numbers(1, rows * columns).into_iter().map(|x| 90.0 * x).collect();
    let at = device.allocate_with(&input)?;
    device.launch(&cap_rows(at, rows, columns, 30.0))?;
    let expected: Vec<f32> = input.iter().map(|x| (30.0 * (f64::from(*x) / 30.0).tanh()) as f32).collect();
    Ok(error(&device.read::<f32>(at, expected.len())?, &expected))
}

fn biased(device: &mut dyn Device, rows: usize, columns: usize) -> Result<f64, DeviceError> {
    let (stride, bias) = (columns + 2, numbers(2, columns));
    let before = numbers(1, rows * stride);
    let (at, bias_at) = (device.allocate_with(&before)?, device.allocate_with(&bias)?);
    device.launch(&add_bias(at, bias_at, rows, columns, stride))?;
    let mut expected = before;
    expected
        .chunks_exact_mut(stride)
        .for_each(|row| row.iter_mut().zip(&bias).for_each(|(x, bias)| *x += bias));
    Ok(error(&device.read::<f32>(at, expected.len())?, &expected))
}

fn pooled(device: &mut dyn Device, kind: PoolKind, normalized: bool) -> Result<f64, DeviceError> {
    const COLUMNS: usize = 300;
    let sequences = [(0u32, 1u32), (1, 7), (8, 4)];
    let rows = numbers(1, 12 * COLUMNS);
    let pool = Pool {
        rows: device.allocate_with(&rows)?,
        sequences: device.allocate_with(&sequences.map(|(first, count)| [first, count]))?,
        count: sequences.len(),
        columns: COLUMNS,
        kind,
        normalized,
        out: device.allocate((sequences.len() * COLUMNS * 4) as u64)?,
    };
    device.launch(&pool.launch())?;
    let row = |row: u32| &rows[row as usize * COLUMNS..][..COLUMNS];
    let mut expected = Vec::new();
    for (first, count) in sequences {
        let mut one: Vec<f64> = match kind {
            PoolKind::First => row(first).iter().map(|x| f64::from(*x)).collect(),
            PoolKind::Last => row(first + count - 1).iter().map(|x| f64::from(*x)).collect(),
            PoolKind::Mean => (0..COLUMNS)
                .map(|at| {
                    (first..first + count).map(|r| f64::from(row(r)[at])).sum::<f64>() / f64::from(count)
                })
                .collect(),
        };
        let length = one.iter().map(|x| x * x).sum::<f64>().sqrt();
        if normalized {
            one.iter_mut().for_each(|x| *x /= length);
        }
        expected.extend(one.into_iter().map(|x| x as f32));
    }
    Ok(error(&device.read::<f32>(pool.out, expected.len())?, &expected))
}
