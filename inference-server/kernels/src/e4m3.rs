//! E4M3, 8-bit floats (OCP 8-bit floating point 1.0): a sign, four bits of exponent, three of fraction; no infinities, and
//! 0x7F and 0xFF are no numbers. Beside a matrix of them lies a scale for each block.

use std::ops::Range;

/// The largest number.
pub const E4M3_LARGEST: f32 = 448.0;

/// What each byte stands for.
static NUMBERS: [f32; 256] = {
    let mut numbers = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        numbers[byte] = number(byte as u8);
        byte += 1;
    }
    numbers
};

const fn number(byte: u8) -> f32 {
    let sign = (byte as u32 & 0x80) << 24;
    if byte & 0x7F == 0x7F {
        return f32::from_bits(sign | 0x7FC0_0000);
    }
    // The bits as those of an f32, whose exponents are 120 more: 2^120 moves numbers and subnormal ones alike.
    let magnitude = f32::from_bits((byte as u32 & 0x7F) << 20) * f32::from_bits((120 + 127) << 23);
    f32::from_bits(sign | magnitude.to_bits())
}

/// The number that `byte` stands for, without a scale.
pub fn e4m3_to_f32(byte: u8) -> f32 {
    NUMBERS[usize::from(byte)]
}

/// The nearest E4M3, of two equally near the one whose last bit is 0; beyond the largest, that. No number is none.
pub fn f32_to_e4m3(value: f32) -> u8 {
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    if value.is_nan() {
        return sign | 0x7F;
    }
    let magnitude = value.abs().min(E4M3_LARGEST);
    // Below 2^-6 the step is 2^-9; above it the three bits after the first.
    if magnitude < 0.015_625 {
        return sign | (magnitude * 512.0).round_ties_even() as u8;
    }
    let bits = magnitude.to_bits();
    let rounded = bits + 0x7_FFFF + ((bits >> 20) & 1);
    sign | ((rounded >> 20) - (120 << 3)) as u8
}

/// Whether `columns` alone can have scales that are for `of_columns` columns each: they lie in one block, or begin with one,
/// for blocks are counted from the first column.
pub fn can_part(of_columns: usize, columns: &Range<usize>) -> bool {
    of_columns > 0
        && (columns.start.is_multiple_of(of_columns)
            || columns.end <= columns.start / of_columns * of_columns + of_columns)
}

/// Scales of a matrix, one for each block of so many rows and columns; blocks at the ends may be smaller.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockScales {
    values: Vec<f32>,
    of_rows: usize,
    of_columns: usize,
    across: usize,
}

impl BlockScales {
    /// `values`, row by row of blocks, of a `[rows, columns]` matrix; `None` when they are not as many as it has blocks of
    /// `[of_rows, of_columns]`.
    pub fn new(
        values: Vec<f32>,
        [rows, columns]: [usize; 2],
        [of_rows, of_columns]: [usize; 2],
    ) -> Option<Self> {
        if of_rows == 0 || of_columns == 0 {
            return None;
        }
        let across = columns.div_ceil(of_columns);
        let expected = rows.div_ceil(of_rows).checked_mul(across);
        (across > 0 && expected == Some(values.len())).then_some(Self { values, of_rows, of_columns, across })
    }

    /// Columns that share a scale.
    pub fn of_columns(&self) -> usize {
        self.of_columns
    }

    /// Scales of a row.
    pub fn across(&self) -> usize {
        self.across
    }

    /// The scales of row `row`, from its first columns to its last; none past the last row.
    pub fn row(&self, row: usize) -> &[f32] {
        let first = row / self.of_rows * self.across;
        self.values.get(first..first + self.across).unwrap_or_default()
    }

    /// Scales of `columns` of rows `rows` alone, each row with its own; `None` where they [can't be parted](can_part)
    /// there, or there are no such rows or columns.
    pub fn part(&self, rows: impl IntoIterator<Item = usize>, columns: Range<usize>) -> Option<Self> {
        if columns.is_empty() || !can_part(self.of_columns, &columns) {
            return None;
        }
        let blocks = columns.start / self.of_columns..columns.end.div_ceil(self.of_columns);
        let mut values = Vec::new();
        for row in rows {
            values.extend_from_slice(self.row(row).get(blocks.clone())?);
        }
        Some(Self { values, of_rows: 1, of_columns: self.of_columns, across: blocks.len() })
    }

    /// The scales, row by row of blocks.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Multiplies out `stored`, the bytes of row `row`, into `out`. Stops at the shorter of the two.
    pub(super) fn dequantize(&self, row: usize, stored: &[u8], out: &mut [f32]) {
        let blocks = stored.chunks(self.of_columns).zip(out.chunks_mut(self.of_columns));
        for ((stored, out), scale) in blocks.zip(self.row(row)) {
            out.iter_mut().zip(stored).for_each(|(out, byte)| *out = e4m3_to_f32(*byte) * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code against the standard's formula.
    #[test]
    fn every_code_is_the_standards_number() {
        for byte in 0..=255u8 {
            let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
            let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
            let found = e4m3_to_f32(byte);
            let expected = match (exponent, byte & 7) {
                (15, 7) => {
                    assert!(found.is_nan(), "{byte:#x}");
                    continue;
                }
                (0, _) => sign * fraction / 8.0 * 2f32.powi(-6),
                (exponent, _) => sign * (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
            };
            assert_eq!(found.to_bits(), expected.to_bits(), "{byte:#x}: {found}, not {expected}");
            assert_eq!(f32_to_e4m3(found), byte, "{found}");
        }
        assert_eq!([0x7Eu8, 0xFE].map(e4m3_to_f32), [E4M3_LARGEST, -E4M3_LARGEST]);
    }

    #[test]
    fn rounding_goes_to_the_nearest_and_to_even() {
        for byte in 0..0x7Eu8 {
            let (low, high) = (e4m3_to_f32(byte), e4m3_to_f32(byte + 1));
            let middle = (low + high) / 2.0;
            assert_eq!(f32_to_e4m3(middle), byte + byte % 2, "{middle}");
            assert_eq!(f32_to_e4m3(-middle.next_down()), 0x80 | byte, "{middle}");
            assert_eq!(f32_to_e4m3(middle.next_up()), byte + 1, "{middle}");
        }
        assert_eq!([1e9, f32::INFINITY, f32::NAN].map(f32_to_e4m3), [0x7E, 0x7E, 0x7F]);
    }

    #[test]
    fn a_row_is_multiplied_by_the_scales_of_its_blocks() {
        // Blocks of 2 x 3 of a matrix of 3 x 5, whose last ones are smaller.
        let scales = BlockScales::new(vec![1.0, 2.0, 3.0, 4.0], [3, 5], [2, 3]).unwrap();
        for (row, expected) in
            [(0, [1.0, 1.0, 1.0, 2.0, 2.0]), (1, [1.0, 1.0, 1.0, 2.0, 2.0]), (2, [3.0, 3.0, 3.0, 4.0, 4.0])]
        {
            let mut out = [0.0; 5];
            scales.dequantize(row, &[f32_to_e4m3(1.0); 5], &mut out);
            assert_eq!(out, expected, "row {row}");
        }
        assert!(scales.row(4).is_empty());
        let right = scales.part([0, 2], 3..5).unwrap();
        assert_eq!([right.row(0), right.row(1)], [[2.0], [4.0]]);
        let part = scales.part(1..3, 0..5).unwrap();
        assert_eq!([part.row(0), part.row(1)], [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!((part.values(), part.of_columns()), (&[1.0, 2.0, 3.0, 4.0][..], 3));
        for (count, block) in [(3, [2, 3]), (5, [2, 3]), (4, [0, 3]), (4, [2, 0])] {
            assert!(BlockScales::new(vec![1.0; count], [3, 5], block).is_none(), "{count} {block:?}");
        }
    }

    #[test]
    fn columns_that_would_get_the_scales_of_others_get_none() {
        let scales = BlockScales::new(vec![1.0, 2.0, 3.0], [1, 768], [128, 256]).unwrap();
        let part = |columns| scales.part([0], columns).map(|part| part.values().to_vec());
        assert_eq!(part(0..384), Some(vec![1.0, 2.0]));
        // They begin in the middle of a block, and end beyond it.
        assert_eq!(part(384..768), None);
        assert_eq!(part(384..512), Some(vec![2.0]));
        assert_eq!(part(512..768), Some(vec![3.0]));
        assert_eq!((part(768..1024), part(256..256)), (None, None));
        assert!(scales.part([1, 128], 0..768).is_none());
        let whole = BlockScales::new(vec![5.0], [1, 768], [1, 768]).unwrap();
        assert_eq!(whole.part([0], 384..768).unwrap().values(), [5.0]);
    }
}
