// Attention over the paged cache, by tensor cores: prefill and decode, grouped queries packed into one tile.
//
// Shapes: queries half [rows, heads, HEAD], already scaled; keys [blocks, kv_heads, 16, HEAD], values
// [blocks, kv_heads, HEAD, 16], half or E4M3; out bfloat16 [rows, out_stride], head h at h * head. Row r of a
// sequence's tile is token r / group, query head r % group of the key-value head's.
// Numerics: scores and sums in float, probabilities as halves; softmax in base two, online (arXiv 1805.02867).
//
// `attend_split`: a block's four warps share the keys of one tile, a span of 256 of them at most; where a tile has
// more spans, `combine` adds them up in their order. Spans begin at multiples of 256 whatever else runs, so a row is the
// same bits in every batch. `attend_rows`: each warp has a tile of its own and all its keys: prefill.
//
// Sources: FlashAttention-2 (arXiv 2307.08691), Flash-Decoding, PagedAttention (arXiv 2309.06180).
#include "numbers.cuh"

constexpr int SLOTS = 16, WARPS = 4, TILE_ROWS = 16;
constexpr int CHUNK = 2 * SLOTS;
constexpr uint32_t WHOLE = 0xFFFFFFFF;
constexpr float LOG2_E = 1.4426950408889634f;

struct AttentionTile {
    // The sequence's first block in `tables`; row of its first token in the step; its position; tokens of the step.
    uint32_t table, first_row, start, tokens;
    // First packed row; keys from `begin` to before `end`.
    uint32_t first, begin, end;
    // Place among the partial tiles, or WHOLE.
    uint32_t partial;
};

struct AttentionParameters {
    Address<const uint16_t> queries;
    Address<const uint8_t> keys;
    Address<const uint8_t> values;
    Address<const uint32_t> tables;
    Address<const AttentionTile> tiles;
    Address<uint16_t> out;
    // [partial tiles, kv_heads, 16, HEAD + 2]: sums, then the greatest score and the weights' sum.
    Address<float> partials;
    uint32_t heads, kv_heads, head, out_stride;
    // 0: all before; else the latest so many.
    uint32_t window;
    // 1: every token sees every other.
    uint32_t whole;
    // 0: none.
    float soft_cap;
    uint32_t unused;
};
static_assert(sizeof(AttentionParameters) == 88, "as in src/operations/attention.rs");

// Two E4M3 as halves, times 2^-8.
DEVICE uint32_t e4m3_halves(uint32_t two) {
    uint32_t apart = (two & 0xFF) | (two & 0xFF00) << 8;
    return (apart & 0x00800080) << 8 | (apart & 0x007F007F) << 7;
}

template <int HEAD, bool E4M3>
struct Tile {
    static constexpr int STEPS = HEAD / 16, BYTES = E4M3 ? 1 : 2;
    // Larger heads leave no registers for queries: they are read again, from the cache.
    static constexpr bool KEEP = HEAD <= 128;

    uint32_t query[KEEP ? STEPS : 1][4];
    float sum[HEAD / 8][4];
    float most[2], weight[2];
    const uint16_t* row[2];
    uint32_t low[2], high[2];
    int g, t;

    DEVICE void begin(const AttentionParameters& p, const AttentionTile& tile, uint32_t first, uint32_t kv_head) {
        const int lane = threadIdx.x % WARP;
        g = lane / 4;
        t = lane % 4;
        const uint32_t group = p.heads / p.kv_heads;
        UNROLL for (int i = 0; i < 2; ++i) {
            uint32_t packed = first + g + 8 * i, token = packed / group, end = tile.start + token + 1;
            bool there = packed < tile.tokens * group;
            size_t at = static_cast<size_t>(tile.first_row + token) * p.heads + kv_head * group + packed % group;
            row[i] = there ? p.queries.at + at * HEAD : nullptr;
            high[i] = there ? (p.whole ? tile.start + tile.tokens : end) : 0;
            low[i] = p.window && end > p.window ? end - p.window : 0;
            most[i] = -INFINITY;
            weight[i] = 0.0f;
        }
        UNROLL for (int i = 0; i < HEAD / 8; ++i) {
            UNROLL for (int j = 0; j < 4; ++j) sum[i][j] = 0.0f;
        }
        if (KEEP) {
            UNROLL for (int pair = 0; pair < STEPS / 2; ++pair) read_queries(pair, query[2 * pair], query[2 * pair + 1]);
        }
    }

    // Two steps' fragments: columns 8t of 32 are one load.
    DEVICE void read_queries(int pair, uint32_t (&even)[4], uint32_t (&odd)[4]) const {
        UNROLL for (int i = 0; i < 2; ++i) {
            uint4 v = {0, 0, 0, 0};
            if (row[i]) v = *reinterpret_cast<const uint4*>(row[i] + 32 * pair + 8 * t);
            even[i] = v.x;
            even[2 + i] = v.y;
            odd[i] = v.z;
            odd[2 + i] = v.w;
        }
    }

    // Adds the keys `at .. at + 32`, as far as `end`; `at` is a multiple of 32.
    DEVICE void add(const AttentionParameters& p, const uint32_t* table, uint32_t kv_head, uint32_t at,
                         uint32_t end) {
        float score[2][2][4] = {};
        size_t block[2] = {0, 0};
        UNROLL for (int b = 0; b < 2; ++b) {
            if (at + b * SLOTS >= end) continue;
            block[b] = static_cast<size_t>(table[at / SLOTS + b]) * p.kv_heads + kv_head;
        }
        UNROLL for (int pair = 0; pair < STEPS / 2; ++pair) {
            uint32_t fresh[2][4];
            if (!KEEP) read_queries(pair, fresh[0], fresh[1]);
            UNROLL for (int b = 0; b < 2; ++b) {
                if (at + b * SLOTS >= end) continue;
                UNROLL for (int half = 0; half < 2; ++half) {
                    // The slot whose score this lane's column is: 4 (n / 2) + 2 half + n % 2.
                    int slot = g / 2 * 4 + 2 * half + g % 2;
                    const uint8_t* key = p.keys.at + ((block[b] * SLOTS + slot) * HEAD + 32 * pair + 8 * t) * BYTES;
                    uint4 v;
                    if (E4M3) {
                        uint2 eight = *reinterpret_cast<const uint2*>(key);
                        v = {e4m3_halves(eight.x), e4m3_halves(eight.x >> 16), e4m3_halves(eight.y),
                             e4m3_halves(eight.y >> 16)};
                    } else {
                        v = *reinterpret_cast<const uint4*>(key);
                    }
                    mma_f16(score[b][half], KEEP ? query[KEEP ? 2 * pair : 0] : fresh[0], {v.x, v.y});
                    mma_f16(score[b][half], KEEP ? query[KEEP ? 2 * pair + 1 : 0] : fresh[1], {v.z, v.w});
                }
            }
        }

        float greatest[2] = {most[0], most[1]};
        UNROLL for (int b = 0; b < 2; ++b) {
            UNROLL for (int half = 0; half < 2; ++half) {
                UNROLL for (int j = 0; j < 4; ++j) {
                    uint32_t position = at + b * SLOTS + 4 * t + 2 * half + j % 2;
                    float s = score[b][half][j] * (E4M3 ? 256.0f : 1.0f);
                    if (p.soft_cap > 0.0f) s = p.soft_cap * tanhf(s / p.soft_cap);
                    bool seen = position < end && position >= low[j / 2] && position < high[j / 2];
                    score[b][half][j] = seen ? s * LOG2_E : -INFINITY;
                    greatest[j / 2] = fmaxf(greatest[j / 2], score[b][half][j]);
                }
            }
        }
        UNROLL for (int i = 0; i < 2; ++i) {
            greatest[i] = fmaxf(greatest[i], __shfl_xor_sync(0xFFFFFFFFu, greatest[i], 1));
            greatest[i] = fmaxf(greatest[i], __shfl_xor_sync(0xFFFFFFFFu, greatest[i], 2));
        }
        // Where nothing was seen yet, whatever is taken off minus infinity is 0.
        float base[2], fade[2];
        UNROLL for (int i = 0; i < 2; ++i) {
            base[i] = greatest[i] == -INFINITY ? 0.0f : greatest[i];
            fade[i] = exp2f(most[i] - base[i]);
            most[i] = greatest[i];
            weight[i] *= fade[i];
        }
        UNROLL for (int i = 0; i < HEAD / 8; ++i) {
            UNROLL for (int j = 0; j < 4; ++j) sum[i][j] *= fade[j / 2];
        }
        UNROLL for (int b = 0; b < 2; ++b) {
            if (at + b * SLOTS >= end) continue;
            uint32_t a[4];
            UNROLL for (int half = 0; half < 2; ++half) {
                UNROLL for (int i = 0; i < 2; ++i) {
                    float first = exp2f(score[b][half][2 * i] - base[i]);
                    float second = exp2f(score[b][half][2 * i + 1] - base[i]);
                    weight[i] += first + second;
                    a[2 * half + i] = pack_f16(first, second);
                }
            }
            UNROLL for (int column = 0; column < HEAD / 8; ++column) {
                const uint8_t* value =
                    p.values.at + ((block[b] * HEAD + 8 * column + g) * SLOTS + 4 * t) * static_cast<size_t>(BYTES);
                uint2 v;
                if (E4M3) {
                    uint32_t four = *reinterpret_cast<const uint32_t*>(value);
                    v = {e4m3_halves(four), e4m3_halves(four >> 16)};
                } else {
                    v = *reinterpret_cast<const uint2*>(value);
                }
                mma_f16(sum[column], a, v);
            }
        }
    }

    // The rows' weights over all lanes that share a row.
    DEVICE void end() {
        UNROLL for (int i = 0; i < 2; ++i) {
            weight[i] += __shfl_xor_sync(0xFFFFFFFFu, weight[i], 1);
            weight[i] += __shfl_xor_sync(0xFFFFFFFFu, weight[i], 2);
        }
    }
};

DEVICE uint16_t* out_of(const AttentionParameters& p, const AttentionTile& tile, uint32_t packed, uint32_t kv_head) {
    const uint32_t group = p.heads / p.kv_heads;
    size_t row = tile.first_row + packed / group;
    return p.out.at + row * p.out_stride + (kv_head * group + packed % group) * p.head;
}

template <int HEAD, bool E4M3>
DEVICE void attend_rows(const AttentionParameters& p) {
    const AttentionTile tile = p.tiles.at[blockIdx.x];
    const uint32_t kv_head = blockIdx.y, group = p.heads / p.kv_heads, packed_rows = tile.tokens * group;
    const uint32_t first = tile.first + threadIdx.x / WARP * TILE_ROWS;
    if (first >= packed_rows) return;
    Tile<HEAD, E4M3> rows;
    rows.begin(p, tile, first, kv_head);
    // What the first row sees first, and the last row last.
    const uint32_t last = min(first + TILE_ROWS, packed_rows) - 1;
    const uint32_t earliest = tile.start + first / group + 1, latest = tile.start + last / group + 1;
    const uint32_t begin = p.window && earliest > p.window ? earliest - p.window : 0;
    const uint32_t end = p.whole ? tile.start + tile.tokens : latest;
    for (uint32_t at = begin / CHUNK * CHUNK; at < end; at += CHUNK) {
        rows.add(p, p.tables.at + tile.table, kv_head, at, end);
    }
    rows.end();
    UNROLL for (int i = 0; i < 2; ++i) {
        uint32_t packed = first + rows.g + 8 * i;
        if (packed >= packed_rows) continue;
        uint16_t* out = out_of(p, tile, packed, kv_head);
        const float factor = (E4M3 ? 256.0f : 1.0f) / rows.weight[i];
        UNROLL for (int column = 0; column < HEAD / 8; ++column) {
            UNROLL for (int odd = 0; odd < 2; ++odd) {
                uint32_t e = 8 * column + 2 * rows.t + odd;
                if (e < p.head) out[e] = f32_to_bf16(rows.sum[column][2 * i + odd] * factor);
            }
        }
    }
}

template <int HEAD, bool E4M3>
DEVICE void attend_split(const AttentionParameters& p) {
    __shared__ float sums[TILE_ROWS][HEAD];
    __shared__ float most[WARPS][TILE_ROWS], weight[WARPS][TILE_ROWS];
    const AttentionTile tile = p.tiles.at[blockIdx.x];
    if (tile.tokens == 0) return;
    const uint32_t kv_head = blockIdx.y, group = p.heads / p.kv_heads, packed_rows = tile.tokens * group;
    const int warp = threadIdx.x / WARP;
    Tile<HEAD, E4M3> rows;
    rows.begin(p, tile, tile.first, kv_head);
    for (uint32_t at = tile.begin / CHUNK * CHUNK + warp * CHUNK; at < tile.end; at += WARPS * CHUNK) {
        rows.add(p, p.tables.at + tile.table, kv_head, at, tile.end);
    }
    rows.end();
    UNROLL for (int i = 0; i < 2; ++i) {
        if (rows.t == 0) {
            most[warp][rows.g + 8 * i] = rows.most[i];
            weight[warp][rows.g + 8 * i] = rows.weight[i];
        }
    }
    __syncthreads();
    float greatest[2], total[2] = {0.0f, 0.0f}, own[2];
    UNROLL for (int i = 0; i < 2; ++i) {
        int r = rows.g + 8 * i;
        greatest[i] = -INFINITY;
        UNROLL for (int w = 0; w < WARPS; ++w) greatest[i] = fmaxf(greatest[i], most[w][r]);
        float base = greatest[i] == -INFINITY ? 0.0f : greatest[i];
        UNROLL for (int w = 0; w < WARPS; ++w) total[i] += weight[w][r] * exp2f(most[w][r] - base);
        own[i] = exp2f(rows.most[i] - base);
    }
    for (int w = 0; w < WARPS; ++w) {
        if (warp == w) {
            UNROLL for (int column = 0; column < HEAD / 8; ++column) {
                UNROLL for (int j = 0; j < 4; ++j) {
                    float* at = &sums[rows.g + j / 2 * 8][8 * column + 2 * rows.t + j % 2];
                    float value = rows.sum[column][j] * own[j / 2];
                    *at = w == 0 ? value : *at + value;
                }
            }
        }
        __syncthreads();
    }
    // Row totals, where every thread can read them.
    if (warp == 0 && rows.t == 0) {
        UNROLL for (int i = 0; i < 2; ++i) {
            most[0][rows.g + 8 * i] = greatest[i];
            weight[0][rows.g + 8 * i] = total[i];
        }
    }
    __syncthreads();
    for (int at = threadIdx.x; at < TILE_ROWS * HEAD; at += blockDim.x) {
        const int r = at / HEAD, e = at % HEAD;
        const uint32_t packed = tile.first + r;
        if (packed >= packed_rows) continue;
        float value = sums[r][e] * (E4M3 ? 256.0f : 1.0f);
        if (tile.partial == WHOLE) {
            if (static_cast<uint32_t>(e) < p.head) out_of(p, tile, packed, kv_head)[e] = f32_to_bf16(value / weight[0][r]);
            continue;
        }
        float* partial = p.partials.at +
                         ((static_cast<size_t>(tile.partial) * p.kv_heads + kv_head) * TILE_ROWS + r) * (HEAD + 2);
        partial[e] = value;
        if (e == 0) {
            partial[HEAD] = most[0][r];
            partial[HEAD + 1] = weight[0][r];
        }
    }
}

// Adds up the spans of one tile: `begin` is the first of them among the partial tiles, `end` their number.
template <int HEAD>
DEVICE void combine(const AttentionParameters& p) {
    const AttentionTile tile = p.tiles.at[blockIdx.x];
    if (tile.tokens == 0) return;
    const uint32_t kv_head = blockIdx.y, packed_rows = tile.tokens * (p.heads / p.kv_heads);
    for (int at = threadIdx.x; at < TILE_ROWS * HEAD; at += blockDim.x) {
        const int r = at / HEAD, e = at % HEAD;
        const uint32_t packed = tile.first + r;
        if (packed >= packed_rows || static_cast<uint32_t>(e) >= p.head) continue;
        const size_t step = static_cast<size_t>(p.kv_heads) * TILE_ROWS * (HEAD + 2);
        const float* partial = p.partials.at +
                               ((static_cast<size_t>(tile.begin) * p.kv_heads + kv_head) * TILE_ROWS + r) * (HEAD + 2);
        float greatest = -INFINITY;
        for (uint32_t span = 0; span < tile.end; ++span) greatest = fmaxf(greatest, partial[span * step + HEAD]);
        float sum = 0.0f, weight = 0.0f;
        for (uint32_t span = 0; span < tile.end; ++span) {
            float factor = exp2f(partial[span * step + HEAD] - greatest);
            sum += factor * partial[span * step + e];
            weight += factor * partial[span * step + HEAD + 1];
        }
        out_of(p, tile, packed, kv_head)[e] = f32_to_bf16(sum / weight);
    }
}

#define ATTENTIONS(HEAD)                                                                                              \
    KERNEL(attend_rows_f16_##HEAD, AttentionParameters, WARPS* WARP) { attend_rows<HEAD, false>(p); }     \
    KERNEL(attend_rows_e4m3_##HEAD, AttentionParameters, WARPS* WARP) { attend_rows<HEAD, true>(p); }     \
    KERNEL(attend_split_f16_##HEAD, AttentionParameters, WARPS* WARP) { attend_split<HEAD, false>(p); }   \
    KERNEL(attend_split_e4m3_##HEAD, AttentionParameters, WARPS* WARP) { attend_split<HEAD, true>(p); }   \
    KERNEL(combine_##HEAD, AttentionParameters, WARPS* WARP) { combine<HEAD>(p); }
ATTENTIONS(32)
ATTENTIONS(64)
ATTENTIONS(96)
ATTENTIONS(128)
ATTENTIONS(192)
ATTENTIONS(256)
