// A packed matrix as plain bfloat16, row by row: what cuBLASLt multiplies at prefill.
//
// Shapes: out is [rows, out_stride], columns past the matrix' own are written as zeros by the form. Numerics: scale
// times quant in float, then to nearest bfloat16; `part` 1 gives what the first leaves of a float or a half.
#include "forms.cuh"

struct ExpandParameters {
    Address<const uint8_t> weights;
    Address<uint16_t> out;
    uint32_t rows, columns, out_stride, part;
};
static_assert(sizeof(ExpandParameters) == 32, "as in src/operations/expand.rs");

constexpr int WARPS = 8;

template <class Form>
DEVICE void expand(const ExpandParameters& p) {
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const int tiles = (p.columns + Form::columns - 1) / Form::columns;
    const uint8_t* strip = p.weights.at + blockIdx.x * (static_cast<size_t>(tiles) * Form::bytes);
    for (int tile = blockIdx.y * WARPS + warp; tile < tiles; tile += gridDim.y * WARPS) {
        typename Form::Tile now = Form::load(strip, tiles, tile, lane);
        constexpr int STEPS = Form::columns / STEP;
        UNROLL for (int step = 0; step < STEPS; ++step) {
            uint32_t a[4];
            Form::fragment(now, step, static_cast<int>(p.part), a);
            Scales scales = {{1.0f, 1.0f}, {0.0f, 0.0f}};
            if (Form::group) scales = Form::scales(now, step / (Form::group ? Form::group : 1));
            UNROLL for (int high = 0; high < 2; ++high) {
                uint32_t row = blockIdx.x * STRIP_ROWS + g + 8 * high;
                uint32_t column = tile * Form::columns + column_of(Form::pairs, step, t, 0, 0);
                if (row >= p.rows || column >= p.out_stride) continue;
                float scale = scales.row[high], minimum = scales.minimum[high];
                uint2 four;
                four.x = pack_bf16(scale * bf16_low(a[high]) + minimum, scale * bf16_high(a[high]) + minimum);
                four.y = pack_bf16(scale * bf16_low(a[2 + high]) + minimum, scale * bf16_high(a[2 + high]) + minimum);
                *reinterpret_cast<uint2*>(p.out.at + static_cast<size_t>(row) * p.out_stride + column) = four;
            }
        }
    }
}

#define EXPANSIONS(name, Form) \
    KERNEL(expand_##name, ExpandParameters, WARPS* WARP) { expand<Form>(p); }
FOR_EVERY_FORM(EXPANSIONS)
