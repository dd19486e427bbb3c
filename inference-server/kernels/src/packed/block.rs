//! Byte offsets of the parts of one block of a panel, by stored type. A unit is 64 bytes: four quants, or the bits
//! of some, of each of the 16 rows.

/// `Q4_0`: 16 f16 scales; 4 units. In unit `j`, low nibbles are weights `4j..4j+4` of each row, high nibbles the same
/// plus 16.
pub(crate) const Q4_0_QUANTS: usize = 32;
/// `Q4_1`: as `Q4_0`, with 16 f16 minimums after the scales.
pub(crate) const Q4_1_MINIMUMS: usize = 32;
pub(crate) const Q4_1_QUANTS: usize = 64;
/// `Q5_0` and `Q5_1`: as these, then one unit: bit `j` is the fifth bit of unit `j`'s low nibbles, bit `4 + j` of its
/// high ones.
pub(crate) const Q5_0_FIFTH: usize = Q4_0_QUANTS + 256;
pub(crate) const Q5_1_FIFTH: usize = Q4_1_QUANTS + 256;
/// `Q8_0`: 16 f16 scales; 8 units, each quant plus 128.
pub(crate) const Q8_0_QUANTS: usize = 32;
/// `MXFP4`: 16 exponents; units as `Q4_0`. `IQ4_NL` is laid out as `Q4_0`.
pub(crate) const MXFP4_QUANTS: usize = 16;

/// `Q2_K`: 16 f16 scales, 16 f16 minimum scales, 8 × 16 pairs of bytes: scale and minimum of two sub-blocks.
pub(crate) const Q2_K_SCALES: usize = 64;
/// Then 16 units: bits `2p` and `2p + 1` of unit `4q + j` are weights `4j..4j+4` of sub-block `4q + p`.
pub(crate) const Q2_K_QUANTS: usize = 320;
/// `Q3_K`: 16 f16 scales, 16 × 16 int8 scales, 16 units as `Q2_K`.
pub(crate) const Q3_K_SCALES: usize = 32;
pub(crate) const Q3_K_QUANTS: usize = 288;
/// Then 8 units: bit `4 (s % 2) + j` of unit `s / 2` is the third bit of sub-block `s`'s weights `4j..4j+4`.
pub(crate) const Q3_K_HIGH: usize = Q3_K_QUANTS + 1024;

/// `Q4_K`, `Q5_K`: 16 f16 scales, 16 f16 minimum scales, 8 × 16 scales, 4 × 16 pairs of minimums.
pub(crate) const K_MINIMUM_SCALES: usize = 32;
pub(crate) const K_SCALES: usize = 64;
pub(crate) const K_MINIMUMS: usize = 192;
/// Then 4 × 8 units: in unit `(p, j)`, low nibbles are weights `4j..4j+4` of sub-block `2p`, high nibbles of
/// sub-block `2p + 1`.
pub(crate) const K_QUANTS: usize = 320;
/// `Q5_K`: then 8 units: bit `j` of unit `s` is the fifth bit of sub-block `s`'s unit `j`.
pub(crate) const Q5_K_HIGH: usize = 320 + 2048;
/// `Q6_K`: 16 f16 scales, 16 × 16 int8 scales, then 32 units of low and 16 of high bits. Of sub-block `s`, units 0 and
/// 1 are the low nibbles of units `2s` and `2s + 1`, 2 and 3 the high ones; bits `2j` and `2j + 1` of unit `s` of the
/// high bits are unit `j`'s.
pub(crate) const Q6_K_SCALES: usize = 32;
pub(crate) const Q6_K_LOW: usize = 288;
pub(crate) const Q6_K_HIGH: usize = 288 + 2048;

/// `IQ4_XS`: 16 f16 scales, 8 × 16 int8 scales, then 8 × 4 units, each sub-block as a block of `Q4_0`.
pub(crate) const IQ4_XS_SCALES: usize = 32;
pub(crate) const IQ4_XS_QUANTS: usize = 160;
