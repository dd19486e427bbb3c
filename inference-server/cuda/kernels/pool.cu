// One vector of a sequence's rows: their mean, the first or the last, with length 1 where asked.
//
// Shapes: rows float [_, columns]; sequences [gridDim.x] of first row and rows; out float [sequences, columns].
// Numerics: sums in float, rows in order. A block a sequence.
#include "numbers.cuh"

struct PoolParameters {
    Address<const float> rows;
    Address<const uint2> sequences;
    Address<float> out;
    uint32_t columns;
    // 0 mean, 1 first, 2 last.
    uint32_t kind;
    uint32_t normalized, unused;
};
static_assert(sizeof(PoolParameters) == 40, "as in src/operations/pool.rs");

KERNEL(pool, PoolParameters, 256) {
    __shared__ float scratch[WARP];
    const uint2 sequence = p.sequences.at[blockIdx.x];
    float* out = p.out.at + static_cast<size_t>(blockIdx.x) * p.columns;
    const uint32_t first = p.kind == 2 ? sequence.x + sequence.y - 1 : sequence.x;
    const uint32_t count = p.kind == 0 ? sequence.y : 1;
    float squares = 0.0f;
    for (uint32_t column = threadIdx.x; column < p.columns; column += blockDim.x) {
        float sum = 0.0f;
        for (uint32_t row = 0; row < count; ++row) sum += p.rows.at[static_cast<size_t>(first + row) * p.columns + column];
        sum /= static_cast<float>(count);
        out[column] = sum;
        squares += sum * sum;
    }
    if (!p.normalized) return;
    float length = sqrtf(block_sum(squares, scratch));
    float factor = length > 0.0f ? 1.0f / length : 0.0f;
    for (uint32_t column = threadIdx.x; column < p.columns; column += blockDim.x) out[column] *= factor;
}
