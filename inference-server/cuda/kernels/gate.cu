// Activations: out = activation(gate) * up, or activation(input) where nothing is gated.
//
// Shapes: input float [rows, 2 * columns] (gates, then ups) or [rows, columns]; out bfloat16 [rows, out_stride],
// filled up with zeros. Numerics: in float. Sources: SiLU arXiv 1702.03118, GELU arXiv 1606.08415, GLU 2002.05202.
#include "numbers.cuh"

struct GateParameters {
    Address<const float> input;
    Address<uint16_t> out;
    uint32_t columns, out_stride;
    // 0 SiLU, 1 GELU by tanh, 2 GELU by erf.
    uint32_t activation;
    uint32_t gated;
};
static_assert(sizeof(GateParameters) == 32, "as in src/operations/gate.rs");

DEVICE float activate(uint32_t activation, float x) {
    if (activation == 0) return x / (1.0f + expf(-x));
    if (activation == 1) return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    return 0.5f * x * (1.0f + erff(x * 0.70710678118f));
}

KERNEL(gate, GateParameters, 256) {
    const uint32_t width = p.gated ? 2 * p.columns : p.columns;
    const float* input = p.input.at + static_cast<size_t>(blockIdx.x) * width;
    uint16_t* out = p.out.at + static_cast<size_t>(blockIdx.x) * p.out_stride;
    for (uint32_t at = blockIdx.y * blockDim.x + threadIdx.x; at < p.out_stride; at += gridDim.y * blockDim.x) {
        float value = 0.0f;
        if (at < p.columns) {
            value = activate(p.activation, input[at]);
            if (p.gated) value *= input[p.columns + at];
        }
        out[at] = f32_to_bf16(value);
    }
}
