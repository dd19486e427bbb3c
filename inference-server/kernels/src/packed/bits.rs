//! Fields of bits, from the order of a file to that of a panel's units and back.

/// A row's fifth bits of `Q5_0` and `Q5_1`: bit `w % 32` is weight `w`'s in the file; in a panel, bit `u` of byte `i` is
/// that of byte `i` of unit `u`, high nibbles after low ones.
pub(super) fn turn_legacy_fifth(bits: &[u8]) -> [u8; 4] {
    let mut turned = [0; 4];
    for weight in 0..32 {
        let unit = weight % 16 / 4 + 4 * (weight / 16);
        turned[weight % 4] |= (bits[weight / 8] >> (weight % 8) & 1) << unit;
    }
    turned
}

/// The inverse of [`turn_legacy_fifth`].
pub(super) fn return_legacy_fifth(turned: &[u8; 4]) -> [u8; 4] {
    let mut bits = [0; 4];
    for weight in 0..32 {
        let unit = weight % 16 / 4 + 4 * (weight / 16);
        bits[weight / 8] |= (turned[weight % 4] >> unit & 1) << (weight % 8);
    }
    bits
}

/// A row's fifth bits of `Q5_K` with sub-blocks and units exchanged: bit `s` of byte `4j + i` and bit `j` of byte
/// `4s + i`. Its own inverse.
pub(super) fn turn_fifth_bits(bits: &[u8]) -> [u8; 32] {
    let mut turned = [0; 32];
    for (at, &byte) in bits.iter().enumerate().take(32) {
        for bit in 0..8 {
            turned[4 * bit + at % 4] |= (byte >> bit & 1) << (at / 4);
        }
    }
    turned
}

/// Moves every field of `width` bits from where `from` says it lies, by byte and shift, to where `to` says.
fn move_fields<const N: usize>(
    stored: &[u8],
    count: usize,
    width: u8,
    from: impl Fn(usize) -> (usize, usize),
    to: impl Fn(usize) -> (usize, usize),
) -> [u8; N] {
    let mask = (1u16 << width) as u8 - 1;
    let mut moved = [0; N];
    for index in 0..count {
        let ((byte, shift), (place, place_shift)) = (from(index), to(index));
        moved[place] |= (stored[byte] >> shift & mask) << place_shift;
    }
    moved
}

/// Low two bits of weight `index` of a `Q2_K` or `Q3_K` block in the file.
fn two_bits_in_file(index: usize) -> (usize, usize) {
    super::super::reference::two_bits(index / 16, index % 16)
}

/// The same in a panel's row.
fn two_bits_in_panel(index: usize) -> (usize, usize) {
    let (sub, l) = (index / 16, index % 16);
    (16 * (sub / 4) + l, 2 * (sub % 4))
}

pub(super) fn group_two_bits(stored: &[u8]) -> [u8; 64] {
    move_fields(stored, 256, 2, two_bits_in_file, two_bits_in_panel)
}

pub(super) fn ungroup_two_bits(packed: &[u8]) -> [u8; 64] {
    move_fields(packed, 256, 2, two_bits_in_panel, two_bits_in_file)
}

/// Third bit of weight `index` of a `Q3_K` block in the file.
fn third_bit_in_file(index: usize) -> (usize, usize) {
    let (sub, l) = (index / 16, index % 16);
    (16 * (sub % 2) + l, sub / 2)
}

/// The same in a panel's row.
fn third_bit_in_panel(index: usize) -> (usize, usize) {
    let (sub, l) = (index / 16, index % 16);
    (4 * (sub / 2) + l % 4, 4 * (sub % 2) + l / 4)
}

pub(super) fn group_third_bits(stored: &[u8]) -> [u8; 32] {
    move_fields(stored, 256, 1, third_bit_in_file, third_bit_in_panel)
}

pub(super) fn ungroup_third_bits(packed: &[u8]) -> [u8; 32] {
    move_fields(packed, 256, 1, third_bit_in_panel, third_bit_in_file)
}

/// Low four bits of weight `index` of a `Q6_K` block in the file.
fn low_in_file(index: usize) -> (usize, usize) {
    let (half, quarter, l) = (index / 128, index % 128 / 32, index % 32);
    (64 * half + 32 * (quarter % 2) + l, 4 * (quarter / 2))
}

/// Its high two bits, among those.
fn high_in_file(index: usize) -> (usize, usize) {
    let (half, quarter, l) = (index / 128, index % 128 / 32, index % 32);
    (32 * half + l, 2 * quarter)
}

/// The same in a panel's row.
fn low_in_panel(index: usize) -> (usize, usize) {
    let (sub, unit, i) = (index / 16, index % 16 / 4, index % 4);
    (8 * sub + 4 * (unit % 2) + i, 4 * (unit / 2))
}

/// The same in a panel's row.
fn high_in_panel(index: usize) -> (usize, usize) {
    let (sub, unit, i) = (index / 16, index % 16 / 4, index % 4);
    (4 * sub + i, 2 * unit)
}

/// A `Q6_K` row's low and high bits in a panel's order, from the file's 128 bytes of low and 64 of high bits.
pub(super) fn group_six_bits(stored: &[u8]) -> ([u8; 128], [u8; 64]) {
    let (low, high) = stored.split_at(128);
    (
        move_fields(low, 256, 4, low_in_file, low_in_panel),
        move_fields(high, 256, 2, high_in_file, high_in_panel),
    )
}

/// The inverse of [`group_six_bits`].
pub(super) fn ungroup_six_bits(low: &[u8; 128], high: &[u8; 64], stored: &mut [u8]) {
    let low: [u8; 128] = move_fields(low, 256, 4, low_in_panel, low_in_file);
    let high: [u8; 64] = move_fields(high, 256, 2, high_in_panel, high_in_file);
    stored[..128].copy_from_slice(&low);
    stored[128..192].copy_from_slice(&high);
}

/// Twelve bytes of 6-bit scales and minimums as bytes (ggml's `get_scale_min_k4`).
pub(super) fn unpack_scales(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minimums) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        minimums[j] = packed[j + 4] & 63;
        scales[j + 4] = (packed[j + 8] & 0x0F) | ((packed[j] >> 6) << 4);
        minimums[j + 4] = (packed[j + 8] >> 4) | ((packed[j + 4] >> 6) << 4);
    }
    (scales, minimums)
}

/// The inverse of [`unpack_scales`].
pub(crate) fn pack_scales(scales: &[u8; 8], minimums: &[u8; 8], out: &mut [u8]) {
    for j in 0..4 {
        out[j] = scales[j] | ((scales[j + 4] >> 4) << 6);
        out[j + 4] = minimums[j] | ((minimums[j + 4] >> 4) << 6);
        out[j + 8] = (scales[j + 4] & 0x0F) | ((minimums[j + 4] & 0x0F) << 4);
    }
}

/// `Q3_K`'s sixteen scales as a file has them (the inverse of `reference::q3_k_scales`).
pub(super) fn pack_q3_k_scales(scales: &[u8; 16], out: &mut [u8]) {
    out[..12].fill(0);
    for (sub, scale) in scales.iter().enumerate() {
        let scale = (*scale as i8 + 32) as u8;
        out[sub % 8] |= (scale & 0x0F) << (4 * (sub / 8));
        out[8 + sub % 4] |= (scale >> 4) << (2 * (sub / 4));
    }
}

/// `IQ4_XS`'s eight scales as a file has them, from byte 2 of the block on (the inverse of
/// `reference::iq4_xs_scales`).
pub(super) fn pack_iq4_xs_scales(scales: &[u8; 8], out: &mut [u8]) {
    let mut high = 0u16;
    out[2..6].fill(0);
    for (sub, scale) in scales.iter().enumerate() {
        let scale = (*scale as i8 + 32) as u8;
        out[2 + sub / 2] |= (scale & 0x0F) << (4 * (sub % 2));
        high |= u16::from(scale >> 4) << (2 * sub);
    }
    out[..2].copy_from_slice(&high.to_le_bytes());
}
