// Normalisation of rows: root mean square (arXiv 1910.07467) or layer (arXiv 1607.06450).
//
// Shapes: input float [rows, columns]; out float [rows, columns] and rounded [rows, rounded_stride] bfloat16, each or
// both; rounded is filled up with zeros. With `add`, the normalised row is added to out: a branch joins the stream.
// Numerics: sums in float, over a block in a fixed order. A block a row; out may be the input.
#include "numbers.cuh"

struct NormParameters {
    Address<const float> input;
    Address<const float> weight;
    // Null for root mean square, which has none.
    Address<const float> bias;
    Address<float> out;
    Address<uint16_t> rounded;
    uint32_t columns, rounded_stride;
    // 1: the mean is taken off.
    uint32_t layer;
    uint32_t add;
    float epsilon;
    uint32_t unused;
};
static_assert(sizeof(NormParameters) == 64, "as in src/operations/norm.rs");

KERNEL(normalize, NormParameters, 1024) {
    __shared__ float scratch[WARP];
    const float* input = p.input.at + static_cast<size_t>(blockIdx.x) * p.columns;
    float mean = 0.0f;
    if (p.layer) {
        for (uint32_t column = threadIdx.x; column < p.columns; column += blockDim.x) mean += input[column];
        mean = block_sum(mean, scratch) / static_cast<float>(p.columns);
    }
    float squares = 0.0f;
    for (uint32_t column = threadIdx.x; column < p.columns; column += blockDim.x) {
        float x = input[column] - mean;
        squares += x * x;
    }
    float variance = block_sum(squares, scratch) / static_cast<float>(p.columns);
    float scale = 1.0f / sqrtf(variance + p.epsilon);
    float* out = p.out.at ? p.out.at + static_cast<size_t>(blockIdx.x) * p.columns : nullptr;
    uint16_t* rounded = p.rounded.at ? p.rounded.at + static_cast<size_t>(blockIdx.x) * p.rounded_stride : nullptr;
    for (uint32_t column = threadIdx.x; column < p.columns; column += blockDim.x) {
        float value = (input[column] - mean) * scale * p.weight.at[column];
        if (p.bias.at) value += p.bias.at[column];
        if (out) out[column] = p.add ? out[column] + value : value;
        if (rounded) rounded[column] = f32_to_bf16(value);
    }
    if (rounded) {
        for (uint32_t column = p.columns + threadIdx.x; column < p.rounded_stride; column += blockDim.x) {
            rounded[column] = 0;
        }
    }
}
