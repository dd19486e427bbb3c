// Number formats by their bits, and sums over a warp or a block. Plain C++ on both sides.
#pragma once
#include "device.cuh"

constexpr int WARP = 32;

DEVICE float bits_to_f32(uint32_t bits) {
    union {
        uint32_t bits;
        float value;
    } u = {bits};
    return u.value;
}

DEVICE uint32_t f32_to_bits(float value) {
    union {
        float value;
        uint32_t bits;
    } u = {value};
    return u.bits;
}

DEVICE float bf16_to_f32(uint16_t bits) { return bits_to_f32(static_cast<uint32_t>(bits) << 16); }
DEVICE float bf16_low(uint32_t pair) { return bits_to_f32(pair << 16); }
DEVICE float bf16_high(uint32_t pair) { return bits_to_f32(pair & 0xFFFF0000u); }
DEVICE uint16_t f32_to_bf16(float value) { return static_cast<uint16_t>(pack_bf16(value, 0.0f)); }
DEVICE uint16_t f32_to_f16(float value) { return static_cast<uint16_t>(pack_f16(value, 0.0f)); }

// What bfloat16 leaves of a pair of floats, again as bfloat16: together 16 bits of significand.
DEVICE uint32_t rest_bf16(float low, float high, uint32_t pair) {
    return pack_bf16(low - bf16_low(pair), high - bf16_high(pair));
}

// E4M3 (OCP 8-bit floating point 1.0): nothing is infinite. 0x7F and 0xFF are no numbers, and become 480 here: where a
// matrix has one, `repack_e4m3` says so in its scale.
DEVICE float e4m3_to_f32(uint8_t bits) {
    float magnitude = bits_to_f32(static_cast<uint32_t>(bits & 0x7F) << 20) * 0x1p120f;
    return bits & 0x80 ? -magnitude : magnitude;
}

// To the nearest E4M3, ties to even; beyond 448 becomes 448, and so does what is no number.
DEVICE uint8_t f32_to_e4m3(float value) {
    uint32_t sign = (f32_to_bits(value) >> 24) & 0x80;
    float magnitude = fminf(fabsf(value), 448.0f);
    // Below 2^-6 the step is 2^-9; above it the three bits after the first.
    if (magnitude < 0x1p-6f) {
        return static_cast<uint8_t>(sign | static_cast<uint32_t>(rintf(magnitude * 0x1p9f)));
    }
    uint32_t bits = f32_to_bits(magnitude);
    bits += 0x7FFFF + ((bits >> 20) & 1);
    return static_cast<uint8_t>(sign | ((bits >> 20) - (120u << 3)));
}

// Scale of MXFP4: 2^(exponent - 127).
DEVICE float e8m0_to_f32(uint8_t exponent) {
    return exponent == 0 ? 0x1p-127f : bits_to_f32(static_cast<uint32_t>(exponent) << 23);
}

DEVICE float warp_sum(float value) {
    UNROLL for (int lane = WARP / 2; lane > 0; lane /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, lane);
    return value;
}

DEVICE float warp_max(float value) {
    UNROLL for (int lane = WARP / 2; lane > 0; lane /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, lane));
    }
    return value;
}

// The sum over a block of whole warps, the same bits in every thread. `scratch` has a place a warp.
DEVICE float block_sum(float value, float* scratch) {
    value = warp_sum(value);
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < static_cast<int>(blockDim.x) / WARP; ++warp) sum += scratch[warp];
    return sum;
}

DEVICE float block_max(float value, float* scratch) {
    value = warp_max(value);
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
    __syncthreads();
    float most = scratch[0];
    for (int warp = 1; warp < static_cast<int>(blockDim.x) / WARP; ++warp) most = fmaxf(most, scratch[warp]);
    return most;
}
