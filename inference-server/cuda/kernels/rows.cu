// Copies and conversions of rows.
#include "numbers.cuh"

// Floats as the bfloat16 rows that products read. Shapes: input float [rows, input_stride], out [rows, out_stride],
// filled up with zeros past `columns`. A block a row.
struct ConvertParameters {
    Address<const float> input;
    Address<uint16_t> out;
    uint32_t columns, input_stride, out_stride, unused;
};
static_assert(sizeof(ConvertParameters) == 32, "as in src/operations/rows.rs");

KERNEL(convert_rows, ConvertParameters, 256) {
    const float* input = p.input.at + static_cast<size_t>(blockIdx.x) * p.input_stride;
    uint16_t* out = p.out.at + static_cast<size_t>(blockIdx.x) * p.out_stride;
    for (uint32_t column = threadIdx.x; column < p.out_stride; column += blockDim.x) {
        out[column] = column < p.columns ? f32_to_bf16(input[column]) : 0;
    }
}

// out[i] = input[index[i]], rows of `words` of 32 bits. Input and out are not the same memory. A block a row.
struct GatherParameters {
    Address<const uint32_t> input;
    Address<uint32_t> out;
    Address<const uint32_t> index;
    uint32_t words, unused;
};
static_assert(sizeof(GatherParameters) == 32, "as in src/operations/rows.rs");

KERNEL(gather_rows, GatherParameters, 256) {
    const uint32_t* input = p.input.at + static_cast<size_t>(p.index.at[blockIdx.x]) * p.words;
    uint32_t* out = p.out.at + static_cast<size_t>(blockIdx.x) * p.words;
    for (uint32_t word = threadIdx.x; word < p.words; word += blockDim.x) out[word] = input[word];
}

// values = cap * tanh(values / cap), [rows, columns] (Gemma 2, arXiv 2408.00118). Blocks of x are rows.
struct CapParameters {
    Address<float> values;
    uint32_t columns;
    float cap;
};
static_assert(sizeof(CapParameters) == 16, "as in src/operations/rows.rs");

KERNEL(cap_rows, CapParameters, 256) {
    float* row = p.values.at + static_cast<size_t>(blockIdx.x) * p.columns;
    for (uint32_t at = blockIdx.y * blockDim.x + threadIdx.x; at < p.columns; at += gridDim.y * blockDim.x) {
        row[at] = p.cap * tanhf(row[at] / p.cap);
    }
}

// values[row] += bias, [rows, columns] of rows of `stride`: what the library's products leave out.
struct BiasParameters {
    Address<float> values;
    Address<const float> bias;
    uint32_t columns, stride;
};
static_assert(sizeof(BiasParameters) == 24, "as in src/operations/rows.rs");

KERNEL(add_bias, BiasParameters, 256) {
    float* row = p.values.at + static_cast<size_t>(blockIdx.x) * p.stride;
    for (uint32_t at = blockIdx.y * blockDim.x + threadIdx.x; at < p.columns; at += gridDim.y * blockDim.x) {
        row[at] += p.bias.at[at];
    }
}
