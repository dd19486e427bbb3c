// Low-rank adapters (arXiv 2106.09685), each row with its own (arXiv 2310.18547): out += scale * up * (down * input).
//
// Shapes: input bfloat16 [rows, input_stride]; of_row [rows], an adapter or NONE; inner float [rows, inner_stride]; out
// float [rows, out_stride], from `out_column` on. Of an adapter, down is float [rank, columns], up float [rank, rows]
// (turned, so that neighbours read neighbours). Numerics: in float, in a fixed order.
#include "numbers.cuh"

constexpr uint32_t NONE = 0xFFFFFFFF;
constexpr int WARPS = 8;

struct Adapter {
    // Null where the adapter has nothing for this matrix.
    Address<const float> down;
    Address<const float> up;
    uint32_t rank;
    float scale;
};

struct LoraParameters {
    Address<const Adapter> adapters;
    Address<const uint32_t> of_row;
    Address<const uint16_t> input;
    Address<float> inner;
    Address<float> out;
    uint32_t columns, input_stride, inner_stride, rows, out_stride, out_column;
};
static_assert(sizeof(LoraParameters) == 64, "as in src/operations/lora.rs");

DEVICE bool has(const LoraParameters& p, uint32_t row, Adapter& adapter) {
    uint32_t index = p.of_row.at[row];
    if (index == NONE) return false;
    adapter = p.adapters.at[index];
    return adapter.down.at != nullptr;
}

// A warp of a block is one place of the inner vector; blocks of y are eight.
KERNEL(lora_down, LoraParameters, WARPS* WARP) {
    Adapter adapter;
    if (!has(p, blockIdx.x, adapter)) return;
    const uint32_t place = blockIdx.y * WARPS + threadIdx.x / WARP;
    if (place >= adapter.rank) return;
    const uint16_t* input = p.input.at + static_cast<size_t>(blockIdx.x) * p.input_stride;
    const float* down = adapter.down.at + static_cast<size_t>(place) * p.columns;
    float sum = 0.0f;
    for (uint32_t column = threadIdx.x % WARP; column < p.columns; column += WARP) {
        sum += down[column] * bf16_to_f32(input[column]);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) p.inner.at[static_cast<size_t>(blockIdx.x) * p.inner_stride + place] = sum;
}

// A thread is one element of the result.
KERNEL(lora_up, LoraParameters, 256) {
    Adapter adapter;
    if (!has(p, blockIdx.x, adapter)) return;
    const uint32_t element = blockIdx.y * blockDim.x + threadIdx.x;
    if (element >= p.rows) return;
    const float* inner = p.inner.at + static_cast<size_t>(blockIdx.x) * p.inner_stride;
    float sum = 0.0f;
    for (uint32_t place = 0; place < adapter.rank; ++place) {
        sum += adapter.up.at[static_cast<size_t>(place) * p.rows + element] * inner[place];
    }
    p.out.at[static_cast<size_t>(blockIdx.x) * p.out_stride + p.out_column + element] += adapter.scale * sum;
}
