// Rows of a packed table: out[i] = table[ids[i]] * scale, or added to what is there.
//
// Shapes: ids [rows], below the table's rows; out float [rows, out_stride]. Numerics: as the table's form says, in
// float. A warp reads a tile of all 16 rows of the strip and keeps one: it is once a step.
#include "forms.cuh"

struct EmbedParameters {
    Address<const uint8_t> table;
    Address<const uint32_t> ids;
    Address<float> out;
    uint32_t table_rows, columns, out_stride, add;
    // Added to every id: the place of the first position in tables of positions.
    uint32_t first_id;
    float scale;
};
static_assert(sizeof(EmbedParameters) == 48, "as in src/operations/embed.rs");

constexpr int WARPS = 8;

template <class Form>
DEVICE void embed(const EmbedParameters& p) {
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const uint32_t id = p.ids.at[blockIdx.x] + p.first_id;
    if (id >= p.table_rows) return;
    const int tiles = (p.columns + Form::columns - 1) / Form::columns;
    const int row = id % STRIP_ROWS;
    const uint8_t* strip = p.table.at + id / STRIP_ROWS * (static_cast<size_t>(tiles) * Form::bytes);
    float* out = p.out.at + static_cast<size_t>(blockIdx.x) * p.out_stride;
    for (int tile = warp; tile < tiles; tile += WARPS) {
        typename Form::Tile now = Form::load(strip, tiles, tile, lane);
        UNROLL for (int step = 0; step < Form::columns / STEP; ++step) {
            float four[4] = {};
            UNROLL for (int part = 0; part < Form::parts; ++part) {
                uint32_t a[4];
                Form::fragment(now, step, part, a);
                uint32_t first = row < 8 ? a[0] : a[1], second = row < 8 ? a[2] : a[3];
                four[0] += bf16_low(first);
                four[1] += bf16_high(first);
                four[2] += bf16_low(second);
                four[3] += bf16_high(second);
            }
            Scales scales = {{1.0f, 1.0f}, {0.0f, 0.0f}};
            if (Form::group) scales = Form::scales(now, step / (Form::group ? Form::group : 1));
            if (g != row % 8) continue;
            UNROLL for (int i = 0; i < 4; ++i) {
                uint32_t column = tile * Form::columns + column_of(Form::pairs, step, t, 0, 0) + i;
                if (column >= p.columns) continue;
                float value = (scales.row[row / 8] * four[i] + scales.minimum[row / 8]) * p.scale;
                out[column] = p.add ? out[column] + value : value;
            }
        }
    }
}

#define EMBEDDINGS(name, Form) \
    KERNEL(embed_##name, EmbedParameters, WARPS* WARP) { embed<Form>(p); }
FOR_EVERY_FORM(EMBEDDINGS)
