// Products of few rows of activations with a matrix: out[m, n] = sum over k of input[m, k] * weights[n, k].
//
// Shapes: input is bfloat16 [tokens, input_stride], a row filled up with zeros to whole tiles; out is float
// [tokens, out_stride]. Numerics: weights as bfloat16 exactly (halves and floats as two), sums in float by `mma`.
//
// A block has one strip of 16 rows of weights and its warps take the strip's tiles in turn, so that the block reads
// memory in order and every byte of weights once. A sum's order is a matter of the number of columns alone: what else
// is in the batch changes no bit. With `tiles` the rows are of a mixture's experts: a tile names its expert and rows.
//
// Source: split of the inner dimension over warps as in "stream-K" (arXiv 2301.03598), dequantisation by bits as in
// "Who Says Elephants Can't Run" (arXiv 2211.10017).
#include "forms.cuh"

constexpr int WARPS = 8;

struct ExpertTile {
    uint32_t expert, first, count, unused;
};

struct ProductParameters {
    Address<const uint8_t> weights;
    Address<const uint16_t> input;
    Address<float> out;
    // [rows], or null.
    Address<const float> bias;
    // [gridDim.y], or null where the matrix is one.
    Address<const ExpertTile> tiles;
    // Row of the input of each row of a tile, or null where they are the same.
    Address<const uint32_t> input_rows;
    // From one expert's matrix to the next.
    uint64_t expert_bytes;
    uint32_t rows, columns, tokens, input_stride, out_stride;
    // 1: the product is added to what is there.
    uint32_t add;
};
static_assert(sizeof(ProductParameters) == 80, "as in src/operations/product.rs");

template <class Form, int TILES>
DEVICE void product(const ProductParameters& p) {
    constexpr int TOKENS = 8 * TILES;
    __shared__ float sums[WARPS][TOKENS][STRIP_ROWS];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    uint32_t first = blockIdx.y * TOKENS, count = p.tokens, expert = 0;
    if (p.tiles.at) {
        ExpertTile tile = p.tiles.at[blockIdx.y];
        first = tile.first;
        count = tile.first + tile.count;
        expert = tile.expert;
    }
    if (first >= count) return;
    const int tiles = (p.columns + Form::columns - 1) / Form::columns;
    const uint8_t* strip =
        p.weights.at + expert * p.expert_bytes + blockIdx.x * (static_cast<size_t>(tiles) * Form::bytes);

    const uint16_t* input[TILES];
    UNROLL for (int i = 0; i < TILES; ++i) {
        uint32_t token = first + 8 * i + g;
        input[i] = nullptr;
        if (token < count) {
            size_t row = p.input_rows.at ? p.input_rows.at[token] : token;
            input[i] = p.input.at + row * p.input_stride;
        }
    }

    // The next tile is under way while this one is multiplied, where registers are left for it.
    constexpr bool AHEAD = TILES < 8;
    float sum[TILES][4] = {};
    typename Form::Tile now, next;
    if (AHEAD && warp < tiles) now = Form::load(strip, tiles, warp, lane);
    for (int tile = warp; tile < tiles; tile += WARPS) {
        if (!AHEAD) now = Form::load(strip, tiles, tile, lane);
        if (AHEAD && tile + WARPS < tiles) next = Form::load(strip, tiles, tile + WARPS, lane);
        constexpr int STEPS = Form::columns / STEP, GROUP = Form::group ? Form::group : STEPS;
        UNROLL for (int group = 0; group < STEPS / GROUP; ++group) {
            float part[TILES][4] = {};
            float ones[TILES][4] = {};
            UNROLL for (int s = 0; s < GROUP; ++s) {
                const int step = group * GROUP + s;
                uint2 b[TILES];
                UNROLL for (int i = 0; i < TILES; ++i) {
                    b[i] = {0, 0};
                    if (input[i]) {
                        const uint16_t* at = input[i] + tile * Form::columns + column_of(Form::pairs, step, t, 0, 0);
                        b[i] = *reinterpret_cast<const uint2*>(at);
                    }
                }
                UNROLL for (int part_of = 0; part_of < Form::parts; ++part_of) {
                    uint32_t a[4];
                    Form::fragment(now, step, part_of, a);
                    UNROLL for (int i = 0; i < TILES; ++i) mma_bf16(Form::group ? part[i] : sum[i], a, b[i]);
                }
                if (Form::minimum) {
                    const uint32_t a[4] = {ONES, ONES, ONES, ONES};
                    UNROLL for (int i = 0; i < TILES; ++i) mma_bf16(ones[i], a, b[i]);
                }
            }
            if (Form::group) {
                Scales scales = Form::scales(now, group);
                UNROLL for (int i = 0; i < TILES; ++i) {
                    UNROLL for (int j = 0; j < 4; ++j) {
                        sum[i][j] += scales.row[j / 2] * part[i][j];
                        if (Form::minimum) sum[i][j] += scales.minimum[j / 2] * ones[i][j];
                    }
                }
            }
        }
        if (AHEAD) now = next;
    }

    UNROLL for (int i = 0; i < TILES; ++i) {
        UNROLL for (int j = 0; j < 4; ++j) sums[warp][8 * i + 2 * t + j % 2][g + j / 2 * 8] = sum[i][j];
    }
    __syncthreads();
    for (int at = threadIdx.x; at < TOKENS * STRIP_ROWS; at += blockDim.x) {
        uint32_t token = first + at / STRIP_ROWS, row = blockIdx.x * STRIP_ROWS + at % STRIP_ROWS;
        if (token >= count || row >= p.rows) continue;
        float total = p.bias.at ? p.bias.at[row] : 0.0f;
        UNROLL for (int w = 0; w < WARPS; ++w) total += sums[w][at / STRIP_ROWS][at % STRIP_ROWS];
        float* out = p.out.at + static_cast<size_t>(token) * p.out_stride + row;
        *out = p.add ? *out + total : total;
    }
}

#define PRODUCTS(name, Form)                                                                         \
    KERNEL(product_##name##_8, ProductParameters, WARPS* WARP) { product<Form, 1>(p); }   \
    KERNEL(product_##name##_16, ProductParameters, WARPS* WARP) { product<Form, 2>(p); }  \
    KERNEL(product_##name##_64, ProductParameters, WARPS* WARP) { product<Form, 8>(p); }
FOR_EVERY_FORM(PRODUCTS)
