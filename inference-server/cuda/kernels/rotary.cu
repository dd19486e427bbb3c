// Queries, keys and values after their product: normalised by head, turned, and put where attention reads them.
//
// Rotary embedding: arXiv 2104.09864; tables in double precision, as positions of long contexts need.
#include "numbers.cuh"

// Cosines and sines of a step's positions, float [rows, pairs], times `magnitude` (YaRN, LongRoPE). A block a row.
struct RotaryTableParameters {
    Address<const uint32_t> positions;
    // Radians per position of each pair.
    Address<const double> frequencies;
    Address<float> cosines;
    Address<float> sines;
    double magnitude;
    uint32_t pairs, unused;
};
static_assert(sizeof(RotaryTableParameters) == 48, "as in src/operations/rotary.rs");

KERNEL(rotary_table, RotaryTableParameters, 128) {
    for (uint32_t pair = threadIdx.x; pair < p.pairs; pair += blockDim.x) {
        double sine, cosine;
        sincos(static_cast<double>(p.positions.at[blockIdx.x]) * p.frequencies.at[pair], &sine, &cosine);
        size_t at = static_cast<size_t>(blockIdx.x) * p.pairs + pair;
        p.cosines.at[at] = static_cast<float>(cosine * p.magnitude);
        p.sines.at[at] = static_cast<float>(sine * p.magnitude);
    }
}

// Shapes: qkv float [rows, heads + 2 * kv_heads, head]; queries half [rows, heads, head_stride]; a layer's keys
// [blocks, kv_heads, 16, head_stride] and values [blocks, kv_heads, head_stride, 16], half or E4M3, so that both are
// read as `mma` wants them. What fills a head up to head_stride is zero. Numerics: in float, then to nearest; halves
// end at 65504. A warp a head, a block eight of a row.
struct RotaryParameters {
    Address<const float> qkv;
    // [head], or null where heads are not normalised.
    Address<const float> query_norm;
    Address<const float> key_norm;
    Address<const float> cosines;
    Address<const float> sines;
    // [rows]: block, and slot within.
    Address<const uint2> places;
    Address<uint16_t> queries;
    Address<uint8_t> keys;
    Address<uint8_t> values;
    uint32_t heads, kv_heads, head, head_stride, pairs;
    // 1: pairs are (2i, 2i + 1), else (i, i + pairs).
    uint32_t interleaved;
    uint32_t e4m3;
    float epsilon, query_scale;
    uint32_t unused;
};
static_assert(sizeof(RotaryParameters) == 112, "as in src/operations/rotary.rs");

constexpr int WARPS = 8, MAX_HEAD = 256, SLOTS = 16;
// A half that is no number.
constexpr uint16_t NO_HALF = 0x7E00;

DEVICE bool is_number(float value) { return value == value; }

DEVICE uint16_t to_half(float value) { return f32_to_f16(fminf(fmaxf(value, -65504.0f), 65504.0f)); }

// Keys and values are always numbers: no number becomes the largest, and E4M3's codes for none are never written.
DEVICE void store(uint8_t* base, size_t at, float value, bool e4m3) {
    if (e4m3) {
        base[at] = f32_to_e4m3(value);
    } else {
        reinterpret_cast<uint16_t*>(base)[at] = to_half(value);
    }
}

KERNEL(rotate_and_store, RotaryParameters, WARPS* WARP) {
    __shared__ float turned[WARPS][MAX_HEAD];
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const uint32_t index = blockIdx.y * WARPS + warp, all = p.heads + 2 * p.kv_heads;
    if (index >= all) return;
    const uint32_t row = blockIdx.x;
    const float* from = p.qkv.at + (static_cast<size_t>(row) * all + index) * p.head;
    float* head = turned[warp];
    const bool is_query = index < p.heads, is_value = index >= p.heads + p.kv_heads;
    const float* norm = is_query ? p.query_norm.at : is_value ? nullptr : p.key_norm.at;
    float squares = 0.0f;
    for (uint32_t e = lane; e < p.head; e += WARP) {
        head[e] = from[e];
        squares += from[e] * from[e];
    }
    if (norm) {
        float scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(p.head) + p.epsilon);
        for (uint32_t e = lane; e < p.head; e += WARP) head[e] = head[e] * scale * norm[e];
    }
    __syncwarp();
    if (!is_value) {
        const float* cosines = p.cosines.at + static_cast<size_t>(row) * p.pairs;
        const float* sines = p.sines.at + static_cast<size_t>(row) * p.pairs;
        for (uint32_t pair = lane; pair < p.pairs; pair += WARP) {
            uint32_t first = p.interleaved ? 2 * pair : pair, second = p.interleaved ? first + 1 : pair + p.pairs;
            float a = head[first], b = head[second];
            head[first] = a * cosines[pair] - b * sines[pair];
            head[second] = b * cosines[pair] + a * sines[pair];
        }
    }
    __syncwarp();
    if (is_query) {
        uint16_t* out = p.queries.at + (static_cast<size_t>(row) * p.heads + index) * p.head_stride;
        // What is kept is a number, for slots that are not seen are multiplied by 0. Where a key or a value of this row
        // is none, its queries are, and so is what they attend to.
        const size_t kv = static_cast<size_t>(row) * all + p.heads + index / (p.heads / p.kv_heads);
        const float *key = p.qkv.at + kv * p.head, *value = key + static_cast<size_t>(p.kv_heads) * p.head;
        for (uint32_t e = lane; e < p.head_stride; e += WARP) {
            if (e >= p.head) {
                out[e] = 0;
            } else if (is_number(head[e]) && is_number(key[e]) && is_number(value[e])) {
                out[e] = to_half(head[e] * p.query_scale);
            } else {
                out[e] = NO_HALF;
            }
        }
        return;
    }
    const uint2 place = p.places.at[row];
    const uint32_t kv_head = (index - p.heads) % p.kv_heads;
    const size_t block = static_cast<size_t>(place.x) * p.kv_heads + kv_head;
    for (uint32_t e = lane; e < p.head_stride; e += WARP) {
        float value = e < p.head ? head[e] : 0.0f;
        if (is_value) {
            store(p.values.at, (block * p.head_stride + e) * SLOTS + place.y, value, p.e4m3);
        } else {
            store(p.keys.at, (block * SLOTS + place.y) * p.head_stride + e, value, p.e4m3);
        }
    }
}
