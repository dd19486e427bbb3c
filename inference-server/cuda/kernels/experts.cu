// Mixtures of experts (arXiv 2101.03961): which experts a row goes to, rows sorted by expert for `product`'s tiles,
// and what they made added to the stream. Nothing here depends on a race: slots are by expert, then by row.
#include "numbers.cuh"

constexpr int WARPS = 8;

// The `chosen` likeliest of a row's scores, of equal ones the first, with their share of the softmax over all, or over
// the chosen with `normalized`. Shapes: scores float [rows, experts]; experts and shares [rows, chosen]. A warp a row.
struct RouteParameters {
    Address<const float> scores;
    Address<uint32_t> experts;
    Address<float> shares;
    uint32_t rows, count, chosen, normalized;
};
static_assert(sizeof(RouteParameters) == 40, "as in src/operations/experts.rs");

KERNEL(route, RouteParameters, WARPS* WARP) {
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= p.rows) return;
    const float* scores = p.scores.at + static_cast<size_t>(row) * p.count;
    float greatest = -INFINITY;
    for (uint32_t e = lane; e < p.count; e += WARP) greatest = fmaxf(greatest, scores[e]);
    greatest = warp_max(greatest);
    float total = 0.0f;
    for (uint32_t e = lane; e < p.count; e += WARP) total += expf(scores[e] - greatest);
    total = warp_sum(total);
    // Each turn takes the best that is worse than the last: by score, then by number.
    float last = INFINITY, sum = 0.0f;
    uint32_t last_expert = 0;
    for (uint32_t turn = 0; turn < p.chosen; ++turn) {
        float best = -INFINITY;
        uint32_t expert = 0xFFFFFFFF;
        for (uint32_t e = lane; e < p.count; e += WARP) {
            float score = scores[e];
            bool left = turn == 0 || score < last || (score == last && e > last_expert);
            if (left && (expert == 0xFFFFFFFF || score > best)) {
                best = score;
                expert = e;
            }
        }
        UNROLL for (int mask = WARP / 2; mask > 0; mask /= 2) {
            float other = __shfl_xor_sync(0xFFFFFFFFu, best, mask);
            uint32_t other_expert = __shfl_xor_sync(0xFFFFFFFFu, expert, mask);
            bool better = other_expert != 0xFFFFFFFF &&
                          (expert == 0xFFFFFFFF || other > best || (other == best && other_expert < expert));
            if (better) {
                best = other;
                expert = other_expert;
            }
        }
        // Scores that are no numbers leave none: any will do, for the share is no number either.
        if (expert == 0xFFFFFFFF) expert = turn;
        last = best;
        last_expert = expert;
        float share = expf(best - greatest) / total;
        sum += share;
        if (lane == 0) {
            p.experts.at[row * p.chosen + turn] = expert;
            p.shares.at[row * p.chosen + turn] = share;
        }
    }
    __syncwarp();
    if (p.normalized) {
        for (uint32_t turn = lane; turn < p.chosen; turn += WARP) p.shares.at[row * p.chosen + turn] /= sum;
    }
}

// Slots of all (row, choice) pairs, sorted by expert. `counts` first, then `place`, a warp an expert.
struct SortParameters {
    // [rows * chosen], as `route` left them.
    Address<const uint32_t> experts;
    // [count].
    Address<uint32_t> counts;
    // [rows * chosen]: the row that a slot is of, and the slot that a pair has.
    Address<uint32_t> rows_of;
    Address<uint32_t> slots_of;
    // [tiles]: expert, first slot, slots, 0; of those that are left over, no slots.
    Address<uint4> tiles;
    uint32_t pairs, count, chosen, tile_count, tile_rows, unused;
};
static_assert(sizeof(SortParameters) == 64, "as in src/operations/experts.rs");

KERNEL(sort_counts, SortParameters, WARP) {
    uint32_t found = 0;
    for (uint32_t first = 0; first < p.pairs; first += WARP) {
        uint32_t at = first + threadIdx.x;
        found += __popc(__ballot_sync(0xFFFFFFFFu, at < p.pairs && p.experts.at[at] == blockIdx.x));
    }
    if (threadIdx.x == 0) p.counts.at[blockIdx.x] = found;
}

KERNEL(sort_places, SortParameters, WARP) {
    const uint32_t lane = threadIdx.x, expert = blockIdx.x;
    uint32_t slot = 0, tile = 0, all = 0;
    for (uint32_t e = 0; e < p.count; ++e) {
        uint32_t count = p.counts.at[e], tiles = (count + p.tile_rows - 1) / p.tile_rows;
        if (e < expert) {
            slot += count;
            tile += tiles;
        }
        all += tiles;
    }
    const uint32_t own = p.counts.at[expert];
    for (uint32_t index = lane; index * p.tile_rows < own; index += WARP) {
        uint32_t rest = own - index * p.tile_rows;
        p.tiles.at[tile + index] = {expert, slot + index * p.tile_rows, rest < p.tile_rows ? rest : p.tile_rows, 0};
    }
    if (expert == 0) {
        for (uint32_t index = all + lane; index < p.tile_count; index += WARP) p.tiles.at[index] = {0, 0, 0, 0};
    }
    for (uint32_t first = 0; first < p.pairs; first += WARP) {
        uint32_t at = first + lane;
        bool mine = at < p.pairs && p.experts.at[at] == expert;
        uint32_t all_mine = __ballot_sync(0xFFFFFFFFu, mine);
        if (mine) {
            uint32_t place = slot + __popc(all_mine & ((1u << lane) - 1));
            p.rows_of.at[place] = at / p.chosen;
            p.slots_of.at[at] = place;
        }
        slot += __popc(all_mine);
    }
}

// stream[row] += sum over choices of share * made[slot], in the order of choice. A block of y is 256 columns of a row.
struct CombineParameters {
    Address<const float> made;
    Address<const uint32_t> slots_of;
    Address<const float> shares;
    Address<float> stream;
    uint32_t columns, chosen;
};
static_assert(sizeof(CombineParameters) == 40, "as in src/operations/experts.rs");

KERNEL(combine_experts, CombineParameters, 256) {
    const uint32_t row = blockIdx.x, column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= p.columns) return;
    float sum = p.stream.at[static_cast<size_t>(row) * p.columns + column];
    for (uint32_t turn = 0; turn < p.chosen; ++turn) {
        uint32_t pair = row * p.chosen + turn;
        sum += p.shares.at[pair] * p.made.at[static_cast<size_t>(p.slots_of.at[pair]) * p.columns + column];
    }
    p.stream.at[static_cast<size_t>(row) * p.columns + column] = sum;
}
