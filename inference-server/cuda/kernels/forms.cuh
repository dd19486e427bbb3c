// How weights lie in device memory: in strips of 16 rows, a strip in tiles, a tile so that each lane of a warp loads
// what it gives `mma.m16n8k16` in whole vectors. Quants keep the file's bits; they become bfloat16 exactly, a sum over
// the columns that share a scale is exact but for `mma`'s own rounding, and the scale multiplies the sum.
//
// Lane 4g + t holds rows g and g + 8. Which columns it holds is ours to choose, as long as the activations' fragment
// has the same: `column_of`. A form has
//   columns, bytes   of a tile
//   group            steps of 16 columns that share a scale, 0 where there is none
//   minimum          true when a column's weight is scale * quant + minimum
//   pairs            true when two steps' columns are one load of 16 bytes of activations
//   parts            fragments whose sum is the weights
#pragma once
#include "numbers.cuh"

constexpr int STRIP_ROWS = 16;
constexpr int STEP = 16;
// Rows of activations are this much, filled up with zeros.
constexpr int INPUT_ALIGNMENT = 128;

constexpr uint32_t ONES = 0x3F803F80;
constexpr uint32_t MINUS_ONES = 0xBF80BF80;
constexpr uint32_t MINUS_ZEROS = 0x80008000;

// Column of a tile that lane t (of four) holds for `step`: `half` is 1 for an operand's later registers, `odd` for
// the upper half of one.
DEVICE int column_of(bool pairs, int step, int t, int half, int odd) {
    int first = pairs ? step / 2 * 32 + 8 * t + step % 2 * 4 : STEP * step + 4 * t;
    return first + 2 * half + odd;
}

// Four bits of each half of `word`, times the factor that the form says, as bfloat16 numbers 128 ..= 143.
DEVICE uint32_t nibble(uint32_t word, int index) { return (word >> (4 * index) & 0x000F000F) | 0x43004300; }

struct Scales {
    float row[2];
    float minimum[2];
};

DEVICE Scales no_minimum(float low, float high) { return {{low, high}, {0.0f, 0.0f}}; }

DEVICE uint16_t read_u16(const uint8_t* at) { return *reinterpret_cast<const uint16_t*>(at); }
DEVICE uint32_t read_u32(const uint8_t* at) { return *reinterpret_cast<const uint32_t*>(at); }
DEVICE uint4 read_vector(const uint8_t* at) { return load_streaming(reinterpret_cast<const uint4*>(at)); }
DEVICE uint2 read_pair(const uint8_t* at) { return load_streaming(reinterpret_cast<const uint2*>(at)); }

DEVICE uint32_t word_of(const uint4& v, int index) {
    return index == 0 ? v.x : index == 1 ? v.y : index == 2 ? v.z : v.w;
}
DEVICE uint32_t byte_of(const uint4& v, int index) { return word_of(v, index / 4) >> (8 * (index % 4)) & 0xFF; }

// Floats row by row, 16 bits each: what cuBLASLt reads too. A row is filled up to whole tiles.
struct Plain {
    static constexpr int columns = 32, bytes = STRIP_ROWS * 32 * 2, group = 0;
    static constexpr bool minimum = false, pairs = true;
    struct Tile {
        uint4 low, high;
    };
    DEVICE static Tile load(const uint8_t* strip, int tiles, int tile, int lane) {
        const uint8_t* at = strip + (static_cast<size_t>(lane / 4) * tiles + tile) * 64 + lane % 4 * 16;
        return {read_vector(at), read_vector(at + static_cast<size_t>(tiles) * 64 * 8)};
    }
    DEVICE static void words(const Tile& tile, int step, uint32_t (&a)[4]) {
        a[0] = step ? tile.low.z : tile.low.x;
        a[1] = step ? tile.high.z : tile.high.x;
        a[2] = step ? tile.low.w : tile.low.y;
        a[3] = step ? tile.high.w : tile.high.y;
    }
    DEVICE static Scales scales(const Tile&, int) { return no_minimum(1.0f, 1.0f); }
};

struct Bf16 : Plain {
    static constexpr int parts = 1;
    DEVICE static void fragment(const Tile& tile, int step, int, uint32_t (&a)[4]) { words(tile, step, a); }
};

// IEEE halves: bfloat16 and what it leaves, together exact.
struct F16 : Plain {
    static constexpr int parts = 2;
    DEVICE static void fragment(const Tile& tile, int step, int part, uint32_t (&a)[4]) {
        words(tile, step, a);
        UNROLL for (int i = 0; i < 4; ++i) {
            float low = f16_to_f32(static_cast<uint16_t>(a[i])), high = f16_to_f32(static_cast<uint16_t>(a[i] >> 16));
            uint32_t pair = pack_bf16(low, high);
            a[i] = part == 0 ? pair : rest_bf16(low, high, pair);
        }
    }
};

// 32-bit floats as two planes of bfloat16, 16 bits of significand.
struct F32 {
    static constexpr int columns = 32, bytes = STRIP_ROWS * 32 * 4, group = 0, parts = 2;
    static constexpr bool minimum = false, pairs = true;
    struct Tile {
        Plain::Tile first, rest;
    };
    DEVICE static Tile load(const uint8_t* strip, int tiles, int tile, int lane) {
        const uint8_t* rest = strip + static_cast<size_t>(tiles) * Plain::bytes;
        return {Plain::load(strip, tiles, tile, lane), Plain::load(rest, tiles, tile, lane)};
    }
    DEVICE static void fragment(const Tile& tile, int step, int part, uint32_t (&a)[4]) {
        Plain::words(part == 0 ? tile.first : tile.rest, step, a);
    }
    DEVICE static Scales scales(const Tile&, int) { return no_minimum(1.0f, 1.0f); }
};

// Words of bytes: the first byte and the third are a pair, the second and the fourth another.
DEVICE void byte_pairs(const uint4& tile, int step, uint32_t (&a)[4]) {
    uint32_t first = step ? tile.z : tile.x, second = step ? tile.w : tile.y;
    a[0] = first & 0x00FF00FF;
    a[1] = first >> 8 & 0x00FF00FF;
    a[2] = second & 0x00FF00FF;
    a[3] = second >> 8 & 0x00FF00FF;
}

// E4M3 with a float scale a row and 128 columns: what scales a channel or a block of 128 x 128 becomes.
struct E4m3 {
    static constexpr int columns = 128, bytes = STRIP_ROWS * 128 + 64, group = 8, parts = 1;
    static constexpr bool minimum = false, pairs = true;
    struct Tile {
        uint4 quants[4];
        float scale[2];
    };
    DEVICE static Tile load(const uint8_t* strip, int, int tile, int lane) {
        const uint8_t* at = strip + static_cast<size_t>(tile) * bytes;
        Tile out;
        UNROLL for (int i = 0; i < 4; ++i) out.quants[i] = read_vector(at + i * 512 + lane * 16);
        out.scale[0] = bits_to_f32(read_u32(at + 2048 + lane / 4 * 4));
        out.scale[1] = bits_to_f32(read_u32(at + 2080 + lane / 4 * 4));
        return out;
    }
    DEVICE static void fragment(const Tile& tile, int step, int, uint32_t (&a)[4]) {
        byte_pairs(tile.quants[step / 2], step % 2, a);
        // Its bits in bfloat16's places are the number times 2^-120.
        UNROLL for (int i = 0; i < 4; ++i) {
            uint32_t bits = (a[i] & 0x00800080) << 8 | (a[i] & 0x007F007F) << 4;
            a[i] = fma_bf16x2(bits, 0x7B807B80, MINUS_ZEROS);
        }
    }
    DEVICE static Scales scales(const Tile& tile, int) { return no_minimum(tile.scale[0], tile.scale[1]); }
};

struct Q8_0 {
    static constexpr int columns = 32, bytes = STRIP_ROWS * 32 + 32, group = 2, parts = 1;
    static constexpr bool minimum = false, pairs = true;
    struct Tile {
        uint4 quants;
        uint16_t scale[2];
    };
    DEVICE static Tile load(const uint8_t* strip, int, int tile, int lane) {
        const uint8_t* at = strip + static_cast<size_t>(tile) * bytes;
        return {read_vector(at + lane * 16), {read_u16(at + 512 + lane / 4 * 2), read_u16(at + 528 + lane / 4 * 2)}};
    }
    DEVICE static void fragment(const Tile& tile, int step, int, uint32_t (&a)[4]) {
        byte_pairs(tile.quants, step, a);
        // 128 and the low seven bits, less 128, or less 256 where the eighth is set: two's complement.
        UNROLL for (int i = 0; i < 4; ++i) {
            uint32_t low = (a[i] & 0x007F007F) | 0x43004300, high = (a[i] & 0x00800080) | 0x43004300;
            a[i] = fma_bf16x2(high, MINUS_ONES, low);
        }
    }
    DEVICE static Scales scales(const Tile& tile, int) {
        return no_minimum(f16_to_f32(tile.scale[0]), f16_to_f32(tile.scale[1]));
    }
};

// 32 columns of nibbles: a word of a lane is a step.
struct Nibbles {
    static constexpr int columns = 32, group = 2, parts = 1;
    static constexpr bool pairs = true;
    DEVICE static uint32_t word(uint2 quants, int step) { return step ? quants.y : quants.x; }
};

struct Q4_0 : Nibbles {
    static constexpr int bytes = STRIP_ROWS * 16 + 32;
    static constexpr bool minimum = false;
    struct Tile {
        uint2 quants;
        uint16_t scale[2];
    };
    DEVICE static Tile load(const uint8_t* strip, int, int tile, int lane) {
        const uint8_t* at = strip + static_cast<size_t>(tile) * bytes;
        return {read_pair(at + lane * 8), {read_u16(at + 256 + lane / 4 * 2), read_u16(at + 272 + lane / 4 * 2)}};
    }
    DEVICE static void fragment(const Tile& tile, int step, int, uint32_t (&a)[4]) {
        // Less 136: 128 of the encoding, and the type's 8.
        UNROLL for (int i = 0; i < 4; ++i) a[i] = fma_bf16x2(nibble(word(tile.quants, step), i), ONES, 0xC308C308);
    }
    DEVICE static Scales scales(const Tile& tile, int) {
        return no_minimum(f16_to_f32(tile.scale[0]), f16_to_f32(tile.scale[1]));
    }
};

struct Q4_1 : Nibbles {
    static constexpr int bytes = STRIP_ROWS * 16 + 64;
    static constexpr bool minimum = true;
    struct Tile {
        uint2 quants;
        uint32_t scale[2];
    };
    DEVICE static Tile load(const uint8_t* strip, int, int tile, int lane) {
        const uint8_t* at = strip + static_cast<size_t>(tile) * bytes;
        return {read_pair(at + lane * 8), {read_u32(at + 256 + lane / 4 * 4), read_u32(at + 288 + lane / 4 * 4)}};
    }
    DEVICE static void fragment(const Tile& tile, int step, int, uint32_t (&a)[4]) {
        UNROLL for (int i = 0; i < 4; ++i) a[i] = fma_bf16x2(nibble(word(tile.quants, step), i), ONES, 0xC300C300);
    }
    DEVICE static Scales scales(const Tile& tile, int) {
        Scales out;
        UNROLL for (int i = 0; i < 2; ++i) {
            out.row[i] = f16_to_f32(static_cast<uint16_t>(tile.scale[i]));
            out.minimum[i] = f16_to_f32(static_cast<uint16_t>(tile.scale[i] >> 16));
        }
        return out;
    }
};

// MXFP4 (OCP Microscaling Formats 1.0).
struct Mxfp4 : Nibbles {
    static constexpr int bytes = STRIP_ROWS * 16 + 16;
    static constexpr bool minimum = false;
    struct Tile {
        uint2 quants;
        uint8_t scale[2];
    };
    DEVICE static Tile load(const uint8_t* strip, int, int tile, int lane) {
        const uint8_t* at = strip + static_cast<size_t>(tile) * bytes;
        return {read_pair(at + lane * 8), {at[256 + lane / 4], at[264 + lane / 4]}};
    }
    DEVICE static void fragment(const Tile& tile, int step, int, uint32_t (&a)[4]) {
        // Two bits of exponent and one of fraction in bfloat16's places are the number times 2^-126.
        UNROLL for (int i = 0; i < 4; ++i) {
            uint32_t four = word(tile.quants, step) >> (4 * i);
            a[i] = fma_bf16x2((four & 0x00080008) << 12 | (four & 0x00070007) << 6, 0x7E807E80, MINUS_ZEROS);
        }
    }
    DEVICE static Scales scales(const Tile& tile, int) {
        return no_minimum(e8m0_to_f32(tile.scale[0]), e8m0_to_f32(tile.scale[1]));
    }
};

// Scales and minimums of six bits as bytes, 16 a row: eight scales, then eight minimums.
struct Q4K {
    static constexpr int columns = 256, bytes = 2048 + 64 + 256, group = 2, parts = 1;
    static constexpr bool minimum = true, pairs = true;
    struct Tile {
        uint4 quants[4];
        uint32_t scale[2];
        uint4 sixes[2];
    };
    DEVICE static Tile load(const uint8_t* strip, int, int tile, int lane) {
        const uint8_t* at = strip + static_cast<size_t>(tile) * bytes;
        Tile out;
        UNROLL for (int i = 0; i < 4; ++i) out.quants[i] = read_vector(at + i * 512 + lane * 16);
        UNROLL for (int i = 0; i < 2; ++i) {
            int row = lane / 4 + 8 * i;
            out.scale[i] = read_u32(at + 2048 + row * 4);
            out.sixes[i] = read_vector(at + 2112 + row * 16);
        }
        return out;
    }
    DEVICE static void fragment(const Tile& tile, int step, int, uint32_t (&a)[4]) {
        uint32_t word = word_of(tile.quants[step / 4], step % 4);
        UNROLL for (int i = 0; i < 4; ++i) a[i] = fma_bf16x2(nibble(word, i), ONES, 0xC300C300);
    }
    DEVICE static Scales scales(const Tile& tile, int group) {
        Scales out;
        UNROLL for (int i = 0; i < 2; ++i) {
            float scale = f16_to_f32(static_cast<uint16_t>(tile.scale[i]));
            float minimum = f16_to_f32(static_cast<uint16_t>(tile.scale[i] >> 16));
            out.row[i] = scale * static_cast<float>(byte_of(tile.sixes[i], group));
            out.minimum[i] = -minimum * static_cast<float>(byte_of(tile.sixes[i], group + 8));
        }
        return out;
    }
};

// The low four bits as a word a step, the high two as a word two steps; int8 scales, 16 a row.
struct Q6K {
    static constexpr int columns = 256, bytes = 2048 + 1024 + 256 + 32, group = 1, parts = 1;
    static constexpr bool minimum = false, pairs = false;
    struct Tile {
        uint4 low[4], high[2], sixes[2];
        uint16_t scale[2];
    };
    DEVICE static Tile load(const uint8_t* strip, int, int tile, int lane) {
        const uint8_t* at = strip + static_cast<size_t>(tile) * bytes;
        Tile out;
        UNROLL for (int i = 0; i < 4; ++i) out.low[i] = read_vector(at + i * 512 + lane * 16);
        UNROLL for (int i = 0; i < 2; ++i) {
            int row = lane / 4 + 8 * i;
            out.high[i] = read_vector(at + 2048 + i * 512 + lane * 16);
            out.sixes[i] = read_vector(at + 3072 + row * 16);
            out.scale[i] = read_u16(at + 3328 + row * 2);
        }
        return out;
    }
    DEVICE static void fragment(const Tile& tile, int step, int, uint32_t (&a)[4]) {
        uint32_t low = word_of(tile.low[step / 4], step % 4);
        uint32_t high = word_of(tile.high[step / 8], step % 8 / 2) >> (8 * (step % 2));
        // Less 160: 128 of the encoding, and the type's 32.
        UNROLL for (int i = 0; i < 4; ++i) {
            uint32_t six = nibble(low, i) | (high >> (2 * i) & 0x00030003) << 4;
            a[i] = fma_bf16x2(six, ONES, 0xC320C320);
        }
    }
    DEVICE static Scales scales(const Tile& tile, int group) {
        auto six = [&](int i) { return static_cast<float>(static_cast<int8_t>(byte_of(tile.sixes[i], group))); };
        return no_minimum(f16_to_f32(tile.scale[0]) * six(0), f16_to_f32(tile.scale[1]) * six(1));
    }
};

// Bytes of a strip, or of a row's share of it times 16.
template <class Form>
DEVICE size_t strip_bytes(int columns) {
    return static_cast<size_t>((columns + Form::columns - 1) / Form::columns) * Form::bytes;
}

// Calls `body(name, Form)` for every form: the one list of them.
#define FOR_EVERY_FORM(body) \
    body(bf16, Bf16) body(f16, F16) body(f32, F32) body(e4m3, E4m3) body(q8_0, Q8_0) body(q4_0, Q4_0) \
        body(q4_1, Q4_1) body(mxfp4, Mxfp4) body(q4_k, Q4K) body(q6_k, Q6K)
