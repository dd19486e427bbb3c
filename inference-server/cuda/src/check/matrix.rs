//! Packing, products, expansion and tables of every form.

use weighbridge_kernels::random::{Random, random_matrix};
use weighbridge_kernels::reference;

use super::{Case, error, floats, numbers, rounded_rows};
use crate::device::{Device, DeviceError, Gemm};
use crate::form::{Form, Matrix, input_stride};
use crate::launch::Address;
use crate::operations::{
    Adapter, Embed, ExpertTile, Experts, Lora, NO_ADAPTER, Product, Repack, Scales, Width, expand,
};

/// Rows, columns in tiles of the form, tokens.
const SHAPES: &[(usize, usize, usize)] =
    &[(1, 1, 1), (16, 9, 8), (40, 2, 3), (20, 4, 13), (33, 3, 17), (17, 1, 64), (16, 10, 70)];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for form in Form::ALL {
        for &(rows, tiles, tokens) in SHAPES {
            // Plain rows need not be whole tiles.
            let short = if matches!(form, Form::Bf16 | Form::F16 | Form::F32) { 5 } else { 0 };
            let columns = tiles * form.tile_columns() - short;
            let shape = format!("{form:?} [{rows}, {columns}] x {tokens}");
            all.push(Case::new("product", shape, 1e-4, move |d| product(d, form, rows, columns, tokens)));
        }
        let columns = form.tile_columns() * 2;
        let named = |what: &str| format!("{form:?} [35, {columns}] {what}");
        all.push(Case::new("expand", named("expanded"), 4e-3, move |d| expanded(d, form, 35, columns)));
        all.push(Case::new("embed", named("looked up"), 2e-6, move |d| embedded(d, form, 35, columns)));
        all.push(Case::new("product", named("of 3 experts"), 1e-4, move |d| grouped(d, form, 35, columns)));
    }
    let shape = "E4m3 [35, 384] with codes that are no numbers".to_owned();
    all.push(Case::new("expand", shape, 4e-3, |d| damaged(d, 35, 384)));
    for (rows, columns, tokens) in [(64, 96, 3), (48, 160, 80)] {
        let shape = format!("plain [{rows}, {columns}] x {tokens}");
        all.push(Case::new("multiply", shape, 1e-5, move |d| plain(d, rows, columns, tokens)));
    }
    all.push(Case::new("lora", "3 adapters of rank 8, 3 and none".to_owned(), 1e-5, lora));
    all
}

/// A matrix on the device, and its weights.
pub(super) struct Packed {
    pub(super) matrix: Matrix,
    pub(super) weights: Vec<f32>,
}

/// Random weights of `form`, packed by the device.
pub(super) fn packed(
    device: &mut dyn Device,
    form: Form,
    rows: usize,
    columns: usize,
    seed: u64,
) -> Result<Packed, DeviceError> {
    let (stored, weights, scales) = match form.stored() {
        Some(kind) => {
            let stored = random_matrix(kind, columns, rows, seed);
            let mut weights = vec![0.0; rows * columns];
            reference::dequantize(kind, &stored, &mut weights);
            (stored, weights, Vec::new())
        }
        None => e4m3(rows, columns, seed),
    };
    let at = device.allocate(form.bytes(rows, columns))?;
    let matrix = Matrix { form, rows, columns, at };
    let stored = device.allocate_with(&stored)?;
    let scales = match &scales[..] {
        [] => None,
        scales => Some(Scales { at: device.allocate_with(scales)?, of_rows: 128, of_columns: 128 }),
    };
    device.launch(&Repack { out: &matrix, stored, scales }.launch())?;
    Ok(Packed { matrix, weights })
}

/// Random bytes of E4M3 with a scale for each block of 128 x 128.
fn e4m3(rows: usize, columns: usize, seed: u64) -> (Vec<u8>, Vec<f32>, Vec<f32>) {
    let mut random = Random(seed);
    // 0x7F and 0xFF are no numbers.
    let stored: Vec<u8> = (0..rows * columns)
        .map(|_| (random.draw() >> 56) as u8)
        .map(|b| if b & 0x7F == 0x7F { b & !1 } else { b })
        .collect();
    let across = columns.div_ceil(128);
    let scales: Vec<f32> =
        (0..rows.div_ceil(128) * across).map(|_| random.between(0.5, 1.5) / 448.0).collect();
    let weight = |(at, byte): (usize, &u8)| {
        let (row, column) = (at / columns, at % columns);
        number(*byte) * scales[row / 128 * across + column / 128]
    };
    let weights = stored.iter().enumerate().map(weight).collect();
    (stored, weights, scales)
}

/// An E4M3 number (OCP 8-bit floating point 1.0).
pub(super) fn number(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude =
        if exponent == 0 { fraction * 2f32.powi(-9) } else { (8.0 + fraction) * 2f32.powi(exponent - 10) };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// `[tokens, rows]`, summed in double precision.
pub(super) fn multiplied(weights: &[f32], input: &[f32], columns: usize) -> Vec<f32> {
    let rows = |input: &[f32]| -> Vec<f32> {
        let dot = |weights: &[f32]| {
            weights.iter().zip(input).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>()
        };
        weights.chunks_exact(columns).map(|weights| dot(weights) as f32).collect()
    };
    input.chunks_exact(columns).flat_map(rows).collect()
}

fn product(
    device: &mut dyn Device,
    form: Form,
    rows: usize,
    columns: usize,
    tokens: usize,
) -> Result<f64, DeviceError> {
    let Packed { matrix, weights } = packed(device, form, rows, columns, 7)?;
    let stride = input_stride(columns.next_multiple_of(form.tile_columns()));
    let (bits, input) = rounded_rows(&numbers(3, tokens * columns), columns, stride);
    let (bias, before) = (numbers(4, rows), numbers(5, tokens * (rows + 3)));
    let launch = |device: &mut dyn Device, add| {
        let product = Product {
            weights: &matrix,
            input: device.allocate_with(&bits)?,
            input_stride: stride,
            tokens,
            out: device.allocate_with(&before)?,
            out_stride: rows + 3,
            bias: if add { Address::NULL } else { device.allocate_with(&bias)? },
            add,
            experts: None,
        };
        device.launch(&product.launch())?;
        device.read::<f32>(product.out, before.len())
    };
    let plain = multiplied(&weights, &input, columns);
    let expected = |add: bool| -> Vec<f32> {
        let mut expected = before.clone();
        for (at, value) in plain.iter().enumerate() {
            let place = &mut expected[at / rows * (rows + 3) + at % rows];
            *place = if add { *place + value } else { value + bias[at % rows] };
        }
        expected
    };
    let replaced = error(&launch(device, false)?, &expected(false));
    Ok(replaced.max(error(&launch(device, true)?, &expected(true))))
}

fn expanded(device: &mut dyn Device, form: Form, rows: usize, columns: usize) -> Result<f64, DeviceError> {
    let Packed { matrix, weights } = packed(device, form, rows, columns, 9)?;
    let mut sum = vec![0.0; rows * columns];
    for part in 0..form.parts() {
        let out = device.allocate((rows * columns * 2) as u64)?;
        device.launch(&expand(&matrix, part, out, columns))?;
        let found = floats(&device.read::<u16>(out, rows * columns)?);
        sum.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
    }
    Ok(error(&sum, &weights))
}

/// Codes of E4M3 that are no numbers: all of a row's 128 columns with one become none, and no others do.
fn damaged(device: &mut dyn Device, rows: usize, columns: usize) -> Result<f64, DeviceError> {
    let (mut stored, mut weights, scales) = e4m3(rows, columns, 13);
    for (row, column, code) in
        [(0, 127, 0x7F), (5, 128, 0xFF), (13, 383, 0x7F), (20, 200, 0xFF), (34, 0, 0x7F)]
    {
        stored[row * columns + column] = code;
        let block = row * columns + column / 128 * 128;
        weights[block..block + 128].fill(f32::NAN);
    }
    let at = device.allocate(Form::E4m3.bytes(rows, columns))?;
    let matrix = Matrix { form: Form::E4m3, rows, columns, at };
    let scales = Scales { at: device.allocate_with(&scales)?, of_rows: 128, of_columns: 128 };
    let stored = device.allocate_with(&stored)?;
    device.launch(&Repack { out: &matrix, stored, scales: Some(scales) }.launch())?;
    let out = device.allocate((rows * columns * 2) as u64)?;
    device.launch(&expand(&matrix, 0, out, columns))?;
    let mut found = floats(&device.read::<u16>(out, rows * columns)?);
    for (found, weight) in found.iter_mut().zip(&mut weights) {
        if found.is_nan() && weight.is_nan() {
            (*found, *weight) = (0.0, 0.0);
        }
    }
    Ok(error(&found, &weights))
}

fn embedded(device: &mut dyn Device, form: Form, rows: usize, columns: usize) -> Result<f64, DeviceError> {
    let Packed { matrix, weights } = packed(device, form, rows, columns, 11)?;
    // The last is outside of the table, and its row stays as it was.
    let ids: Vec<u32> = vec![0, 7, 8, 15, 16, 30, 34, 40];
    let before = numbers(1, ids.len() * columns);
    let embed = Embed {
        table: &matrix,
        ids: device.allocate_with(&ids)?,
        rows: ids.len(),
        out: device.allocate_with(&before)?,
        scale: 1.5,
        add: true,
        first_id: 0,
    };
    device.launch(&embed.launch())?;
    let mut expected = before.clone();
    for (row, id) in expected.chunks_exact_mut(columns).zip(ids) {
        let table = weights.get(id as usize * columns..(id as usize + 1) * columns).unwrap_or_default();
        row.iter_mut().zip(table).for_each(|(x, weight)| *x += weight * 1.5);
    }
    Ok(error(&device.read::<f32>(embed.out, before.len())?, &expected))
}

/// Three matrices, rows in tiles of eight; a tile without rows is passed over.
fn grouped(device: &mut dyn Device, form: Form, rows: usize, columns: usize) -> Result<f64, DeviceError> {
    let bytes = form.bytes(rows, columns);
    let all = device.allocate(3 * bytes)?;
    let mut weights = Vec::new();
    for expert in 0..3u64 {
        let packed = packed(device, form, rows, columns, 20 + expert)?;
        device.copy(packed.matrix.at, all.offset(expert * bytes), bytes)?;
        weights.push(packed.weights);
    }
    let stride = input_stride(columns.next_multiple_of(form.tile_columns()));
    let (bits, input) = rounded_rows(&numbers(2, 6 * columns), columns, stride);
    let slots: [u32; 11] = [5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3];
    let tiles = [(0, 0, 1), (2, 1, 8), (2, 9, 2), (0, 0, 0)];
    let tiles = tiles.map(|(expert, first, count)| ExpertTile::new(expert, first, count));
    let matrix = Matrix { form, rows, columns, at: all };
    let product = Product {
        weights: &matrix,
        input: device.allocate_with(&bits)?,
        input_stride: stride,
        tokens: slots.len(),
        out: device.allocate((slots.len() * rows * 4) as u64)?,
        out_stride: rows,
        bias: Address::NULL,
        add: false,
        experts: Some(Experts {
            stride: bytes,
            tiles: device.allocate_with(&tiles)?,
            tile_count: tiles.len(),
            width: Width::Eight,
            input_rows: device.allocate_with(&slots)?,
        }),
    };
    device.launch(&product.launch())?;
    let mut expected = Vec::new();
    for (slot, row) in slots.iter().enumerate() {
        let expert = if slot == 0 { 0 } else { 2 };
        let row = *row as usize;
        expected.extend(multiplied(&weights[expert], &input[row * columns..(row + 1) * columns], columns));
    }
    Ok(error(&device.read::<f32>(product.out, expected.len())?, &expected))
}

/// The library's product, on top of what is there.
fn plain(device: &mut dyn Device, rows: usize, columns: usize, tokens: usize) -> Result<f64, DeviceError> {
    let stride = columns + 8;
    let (weight_bits, weights) = rounded_rows(&numbers(1, rows * columns), columns, stride);
    let (input_bits, input) = rounded_rows(&numbers(2, tokens * columns), columns, stride);
    let gemm = Gemm {
        weights: device.allocate_with(&weight_bits)?,
        input: device.allocate_with(&input_bits)?,
        out: device.allocate((tokens * rows * 4) as u64)?,
        rows,
        columns,
        tokens,
        stride,
        input_stride: stride,
        out_stride: rows,
        add: false,
    };
    device.multiply(&gemm)?;
    device.multiply(&Gemm { add: true, ..gemm })?;
    let expected: Vec<f32> = multiplied(&weights, &input, columns).into_iter().map(|x| 2.0 * x).collect();
    Ok(error(&device.read::<f32>(gemm.out, expected.len())?, &expected))
}

fn lora(device: &mut dyn Device) -> Result<f64, DeviceError> {
    const COLUMNS: usize = 72;
    const ROWS: usize = 300;
    let stride = input_stride(COLUMNS);
    let of_row = [1u32, NO_ADAPTER, 0, 2];
    let (bits, input) = rounded_rows(&numbers(1, of_row.len() * COLUMNS), COLUMNS, stride);
    let before = numbers(2, of_row.len() * (ROWS + 20));
    let ranks = [8usize, 3];
    let (mut adapters, mut matrices) = (Vec::new(), Vec::new());
    for (index, rank) in ranks.into_iter().enumerate() {
        let (down, up) = (numbers(index as u64 + 5, rank * COLUMNS), numbers(index as u64 + 9, rank * ROWS));
        let (down_at, up_at) = (device.allocate_with(&down)?, device.allocate_with(&up)?);
        adapters.push(Adapter { down: down_at, up: up_at, rank: rank as u32, scale: 0.5 });
        matrices.push((down, up, rank));
    }
    // The third has nothing for this matrix.
    adapters.push(Adapter::default());
    let lora = Lora {
        adapters: device.allocate_with(&adapters)?,
        of_row: device.allocate_with(&of_row)?,
        rows: of_row.len(),
        input: device.allocate_with(&bits)?,
        columns: COLUMNS,
        input_stride: stride,
        inner: device.allocate((of_row.len() * 8 * 4) as u64)?,
        rank: 8,
        out: device.allocate_with(&before)?,
        out_stride: ROWS + 20,
        out_column: 10,
        matrix_rows: ROWS,
    };
    for launch in lora.launches() {
        device.launch(&launch)?;
    }
    let mut expected = before.clone();
    for (row, adapter) in of_row.iter().enumerate() {
        let Some((down, up, rank)) = matrices.get(*adapter as usize) else { continue };
        let inner = multiplied(down, &input[row * COLUMNS..(row + 1) * COLUMNS], COLUMNS);
        for element in 0..ROWS {
            let sum: f32 = (0..*rank).map(|place| up[place * ROWS + element] * inner[place]).sum();
            expected[row * (ROWS + 20) + 10 + element] += 0.5 * sum;
        }
    }
    Ok(error(&device.read::<f32>(lora.out, before.len())?, &expected))
}

#[cfg(test)]
mod tests {
    use half::f16;
    use weighbridge_kernels::TensorType;

    use super::{Form, number};

    #[test]
    fn every_stored_type_has_a_form_or_becomes_halves() {
        for kind in TensorType::ALL {
            assert_eq!(
                Form::of(kind).is_none(),
                kind.block_elements() > 1 && Form::ALL.iter().all(|f| f.stored() != Some(kind))
            );
        }
    }

    #[test]
    fn the_references_e4m3_has_the_standards_numbers() {
        assert_eq!(
            [0x00, 0x01, 0x08, 0x38, 0x7E, 0xFE].map(number),
            [0.0, 2f32.powi(-9), 2f32.powi(-6), 1.0, 448.0, -448.0]
        );
        assert_eq!(f16::from_f32(number(0x01)).to_f32(), number(0x01));
    }
}
