// Weights as files store them (ggml's blocks, row by row; E4M3 bytes with scales) to the forms that products read.
//
// Shapes: stored holds rows of `row_bytes`; out is the form's strips. Rows past the last are zeros. Numerics: quants
// and scales keep their bits; 32-bit floats become two bfloat16. A row's block of E4M3 with a code that is no number
// gets a scale that is none. Source: ggml's block layouts (`ggml-common.h`).
#include "forms.cuh"

struct RepackParameters {
    Address<const uint8_t> stored;
    Address<uint8_t> out;
    // E4M3 alone: [rows / scale_rows, columns / scale_columns].
    Address<const float> scales;
    uint32_t rows, columns, row_bytes, scale_rows, scale_columns, unused;
};
static_assert(sizeof(RepackParameters) == 48, "as in src/operations/repack.rs");

constexpr int WARPS = 8;

// What a thread packs: a lane's share of one tile.
struct Place {
    int tiles, tile, lane, g, t;
    uint32_t first_row;
};

DEVICE const uint8_t* stored_row(const RepackParameters& p, uint32_t row) {
    return row < p.rows ? p.stored.at + static_cast<size_t>(row) * p.row_bytes : nullptr;
}

// Stored values may lie at odd addresses.
DEVICE uint16_t stored_u16(const uint8_t* at) { return static_cast<uint16_t>(at[0] | at[1] << 8); }
DEVICE uint32_t stored_u32(const uint8_t* at) {
    return stored_u16(at) | static_cast<uint32_t>(stored_u16(at + 2)) << 16;
}

template <class Form, class Pack>
DEVICE void each_tile(const RepackParameters& p, Pack pack) {
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int tiles = static_cast<int>((p.columns + Form::columns - 1) / Form::columns);
    uint8_t* strip = p.out.at + blockIdx.x * (static_cast<size_t>(tiles) * Form::bytes);
    for (int tile = blockIdx.y * WARPS + warp; tile < tiles; tile += gridDim.y * WARPS) {
        pack(strip, Place{tiles, tile, lane, lane / 4, lane % 4, blockIdx.x * STRIP_ROWS});
    }
}

// The words of a step: `quant(row, column)` is asked for each of the lane's eight weights.
template <class Form, class Quant>
DEVICE uint32_t nibbles_of(const Place& at, int step, Quant quant) {
    uint32_t word = 0;
    UNROLL for (int i = 0; i < 4; ++i) {
        UNROLL for (int odd = 0; odd < 2; ++odd) {
            int column = column_of(Form::pairs, step, at.t, i / 2, odd);
            word |= quant(at.g + i % 2 * 8, column) << (16 * odd + 4 * i);
        }
    }
    return word;
}

template <class Form, class Quant>
DEVICE uint32_t bytes_of(const Place& at, int step, int half, Quant quant) {
    uint32_t word = 0;
    UNROLL for (int high = 0; high < 2; ++high) {
        UNROLL for (int odd = 0; odd < 2; ++odd) {
            int column = column_of(Form::pairs, step, at.t, half, odd);
            word |= quant(at.g + 8 * high, column) << (16 * odd + 8 * high);
        }
    }
    return word;
}

template <bool WIDE>
DEVICE void repack_plain(const RepackParameters& p) {
    using Form = Plain;
    const int tiles = static_cast<int>((p.columns + Form::columns - 1) / Form::columns);
    // A strip of floats has a second plane.
    const size_t strip_size = static_cast<size_t>(tiles) * Form::bytes * (WIDE ? 2 : 1);
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    uint8_t* strip = p.out.at + blockIdx.x * strip_size;
    for (int tile = blockIdx.y * WARPS + warp; tile < tiles; tile += gridDim.y * WARPS) {
        for (int high = 0; high < 2; ++high) {
            int row = lane / 4 + 8 * high;
            const uint8_t* stored = stored_row(p, blockIdx.x * STRIP_ROWS + row);
            uint32_t first[4] = {}, rest[4] = {};
            for (int pair = 0; pair < 4; ++pair) {
                uint32_t column = tile * Form::columns + lane % 4 * 8 + 2 * pair;
                if (!stored) continue;
                bool has_low = column < p.columns, has_high = column + 1 < p.columns;
                if (WIDE) {
                    float low = has_low ? bits_to_f32(stored_u32(stored + 4 * column)) : 0.0f;
                    float upper = has_high ? bits_to_f32(stored_u32(stored + 4 * column + 4)) : 0.0f;
                    first[pair] = pack_bf16(low, upper);
                    rest[pair] = rest_bf16(low, upper, first[pair]);
                } else {
                    uint32_t low = has_low ? stored_u16(stored + 2 * column) : 0;
                    uint32_t upper = has_high ? stored_u16(stored + 2 * column + 2) : 0;
                    first[pair] = low | upper << 16;
                }
            }
            uint8_t* out = strip + (static_cast<size_t>(row) * tiles + tile) * 64 + lane % 4 * 16;
            *reinterpret_cast<uint4*>(out) = {first[0], first[1], first[2], first[3]};
            if (WIDE) {
                out += static_cast<size_t>(tiles) * Form::bytes;
                *reinterpret_cast<uint4*>(out) = {rest[0], rest[1], rest[2], rest[3]};
            }
        }
    }
}

KERNEL(repack_bf16, RepackParameters, WARPS* WARP) { repack_plain<false>(p); }
KERNEL(repack_f16, RepackParameters, WARPS* WARP) { repack_plain<false>(p); }
KERNEL(repack_f32, RepackParameters, WARPS* WARP) { repack_plain<true>(p); }

KERNEL(repack_e4m3, RepackParameters, WARPS* WARP) {
    each_tile<E4m3>(p, [&](uint8_t* strip, const Place& at) {
        uint8_t* tile = strip + static_cast<size_t>(at.tile) * E4m3::bytes;
        // Rows with a code that is no number, a bit each: products take it for 480, so that their scale is none.
        uint32_t no_numbers = 0;
        auto quant = [&](int row, int column) -> uint32_t {
            const uint8_t* stored = stored_row(p, at.first_row + row);
            uint32_t of = at.tile * E4m3::columns + column;
            uint32_t code = stored && of < p.columns ? stored[of] : 0;
            if ((code & 0x7F) == 0x7F) no_numbers |= 1u << row;
            return code;
        };
        for (int step = 0; step < E4m3::columns / STEP; ++step) {
            uint32_t* out = reinterpret_cast<uint32_t*>(tile + step / 2 * 512 + at.lane * 16 + step % 2 * 8);
            for (int half = 0; half < 2; ++half) out[half] = bytes_of<E4m3>(at, step, half, quant);
        }
        UNROLL for (int mask = WARP / 2; mask > 0; mask /= 2) {
            no_numbers |= __shfl_xor_sync(0xFFFFFFFFu, no_numbers, mask);
        }
        if (at.lane < STRIP_ROWS) {
            uint32_t row = at.first_row + at.lane;
            uint32_t across = (p.columns + p.scale_columns - 1) / p.scale_columns;
            uint32_t column = at.tile * E4m3::columns / p.scale_columns;
            float scale = row < p.rows ? p.scales.at[row / p.scale_rows * across + column] : 0.0f;
            if (no_numbers >> at.lane & 1) scale = bits_to_f32(0x7FC00000);
            reinterpret_cast<float*>(tile + 2048)[at.lane] = scale;
        }
    });
}

KERNEL(repack_q8_0, RepackParameters, WARPS* WARP) {
    each_tile<Q8_0>(p, [&](uint8_t* strip, const Place& at) {
        uint8_t* tile = strip + static_cast<size_t>(at.tile) * Q8_0::bytes;
        auto block = [&](int row) {
            const uint8_t* stored = stored_row(p, at.first_row + row);
            return stored ? stored + at.tile * 34 : nullptr;
        };
        auto quant = [&](int row, int column) -> uint32_t { return block(row) ? block(row)[2 + column] : 0; };
        for (int step = 0; step < 2; ++step) {
            uint32_t* out = reinterpret_cast<uint32_t*>(tile + at.lane * 16 + step * 8);
            for (int half = 0; half < 2; ++half) out[half] = bytes_of<Q8_0>(at, step, half, quant);
        }
        if (at.lane < STRIP_ROWS) {
            reinterpret_cast<uint16_t*>(tile + 512)[at.lane] = block(at.lane) ? stored_u16(block(at.lane)) : 0;
        }
    });
}

// Blocks of 32 nibbles behind `head` bytes: the low ones are the first 16 columns.
template <class Form, class Head>
DEVICE void repack_nibbles(const RepackParameters& p, int block_bytes, int head, Head write_head) {
    each_tile<Form>(p, [&](uint8_t* strip, const Place& at) {
        uint8_t* tile = strip + static_cast<size_t>(at.tile) * Form::bytes;
        auto block = [&](int row) {
            const uint8_t* stored = stored_row(p, at.first_row + row);
            return stored ? stored + static_cast<size_t>(at.tile) * block_bytes : nullptr;
        };
        auto quant = [&](int row, int column) -> uint32_t {
            return block(row) ? block(row)[head + column % 16] >> (column / 16 * 4) & 0xF : 0;
        };
        for (int step = 0; step < 2; ++step) {
            *reinterpret_cast<uint32_t*>(tile + at.lane * 8 + step * 4) = nibbles_of<Form>(at, step, quant);
        }
        if (at.lane < STRIP_ROWS) write_head(tile + 256, at.lane, block(at.lane));
    });
}

KERNEL(repack_q4_0, RepackParameters, WARPS* WARP) {
    repack_nibbles<Q4_0>(p, 18, 2, [](uint8_t* out, int row, const uint8_t* block) {
        reinterpret_cast<uint16_t*>(out)[row] = block ? stored_u16(block) : 0;
    });
}

KERNEL(repack_q4_1, RepackParameters, WARPS* WARP) {
    repack_nibbles<Q4_1>(p, 20, 4, [](uint8_t* out, int row, const uint8_t* block) {
        reinterpret_cast<uint32_t*>(out)[row] = block ? stored_u32(block) : 0;
    });
}

KERNEL(repack_mxfp4, RepackParameters, WARPS* WARP) {
    repack_nibbles<Mxfp4>(p, 17, 1, [](uint8_t* out, int row, const uint8_t* block) { out[row] = block ? block[0] : 0; });
}

KERNEL(repack_q4_k, RepackParameters, WARPS* WARP) {
    each_tile<Q4K>(p, [&](uint8_t* strip, const Place& at) {
        uint8_t* tile = strip + static_cast<size_t>(at.tile) * Q4K::bytes;
        auto block = [&](int row) {
            const uint8_t* stored = stored_row(p, at.first_row + row);
            return stored ? stored + static_cast<size_t>(at.tile) * 144 : nullptr;
        };
        // 64 columns are 32 bytes: the low nibbles first.
        auto quant = [&](int row, int column) -> uint32_t {
            if (!block(row)) return 0;
            return block(row)[16 + column / 64 * 32 + column % 32] >> (column % 64 / 32 * 4) & 0xF;
        };
        for (int step = 0; step < 16; ++step) {
            uint8_t* out = tile + step / 4 * 512 + at.lane * 16 + step % 4 * 4;
            *reinterpret_cast<uint32_t*>(out) = nibbles_of<Q4K>(at, step, quant);
        }
        if (at.lane < STRIP_ROWS) {
            const uint8_t* from = block(at.lane);
            reinterpret_cast<uint32_t*>(tile + 2048)[at.lane] = from ? stored_u32(from) : 0;
            // ggml's `get_scale_min_k4`.
            for (int j = 0; j < 8; ++j) {
                uint8_t scale = 0, minimum = 0;
                if (from) {
                    const uint8_t* sixes = from + 4;
                    scale = j < 4 ? sixes[j] & 63 : (sixes[j + 4] & 0xF) | (sixes[j - 4] >> 6) << 4;
                    minimum = j < 4 ? sixes[j + 4] & 63 : sixes[j + 4] >> 4 | (sixes[j] >> 6) << 4;
                }
                tile[2112 + at.lane * 16 + j] = scale;
                tile[2112 + at.lane * 16 + 8 + j] = minimum;
            }
        }
    });
}

KERNEL(repack_q6_k, RepackParameters, WARPS* WARP) {
    each_tile<Q6K>(p, [&](uint8_t* strip, const Place& at) {
        uint8_t* tile = strip + static_cast<size_t>(at.tile) * Q6K::bytes;
        auto block = [&](int row) {
            const uint8_t* stored = stored_row(p, at.first_row + row);
            return stored ? stored + static_cast<size_t>(at.tile) * 210 : nullptr;
        };
        // A half of 128 columns has four quarters of 32: nibbles of two share a byte, high bits of four.
        auto quant = [&](int row, int column) -> uint32_t {
            if (!block(row)) return 0;
            int half = column / 128, quarter = column % 128 / 32, l = column % 32;
            uint32_t low = block(row)[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 0xF;
            uint32_t high = block(row)[128 + 32 * half + l] >> (2 * quarter) & 3;
            return low | high << 4;
        };
        auto low = [&](int row, int column) { return quant(row, column) & 0xF; };
        for (int step = 0; step < 16; ++step) {
            uint8_t* out = tile + step / 4 * 512 + at.lane * 16 + step % 4 * 4;
            *reinterpret_cast<uint32_t*>(out) = nibbles_of<Q6K>(at, step, low);
        }
        for (int pair = 0; pair < 8; ++pair) {
            uint32_t word = 0;
            for (int parity = 0; parity < 2; ++parity) {
                for (int i = 0; i < 4; ++i) {
                    for (int odd = 0; odd < 2; ++odd) {
                        int column = column_of(false, 2 * pair + parity, at.t, i / 2, odd);
                        uint32_t high = quant(at.g + i % 2 * 8, column) >> 4;
                        word |= high << (16 * odd + 8 * parity + 2 * i);
                    }
                }
            }
            *reinterpret_cast<uint32_t*>(tile + 2048 + pair / 4 * 512 + at.lane * 16 + pair % 4 * 4) = word;
        }
        if (at.lane < STRIP_ROWS) {
            const uint8_t* from = block(at.lane);
            for (int j = 0; j < 16; ++j) tile[3072 + at.lane * 16 + j] = from ? from[192 + j] : 0;
            reinterpret_cast<uint16_t*>(tile + 3328)[at.lane] = from ? stored_u16(from + 208) : 0;
        }
    });
}
