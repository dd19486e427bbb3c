// From a row of logits to a token, without the row leaving the card: penalties and biases, temperature, min-p, top-k,
// top-p (arXiv 1904.09751), a draw, and log probabilities.
//
// Shapes: logits float [rows, vocabulary]. Numerics: weights in units of 2^-44, whose sums are the same in any
// order, so that a number drawn gives the same token always. Of equal logits the lowest id comes first.
#include "numbers.cuh"

constexpr int THREADS = 1024;
constexpr uint32_t NOTHING = 0xFFFFFFFF;
// Weights below e^-30 of the greatest are dropped: a vocabulary of them is less than one unit in the last place.
constexpr float NEGLIGIBLE = -30.0f;

// One logit made less or more likely: divided (positive) or multiplied (negative) by `repetition`, then `add` added.
struct Edit {
    uint32_t row, token;
    float repetition, add;
};

struct EditParameters {
    Address<float> logits;
    Address<const Edit> edits;
    uint32_t count, vocabulary;
};
static_assert(sizeof(EditParameters) == 24, "as in src/operations/sample.rs");

KERNEL(edit_logits, EditParameters, 256) {
    uint32_t at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= p.count) return;
    Edit edit = p.edits.at[at];
    if (edit.token >= p.vocabulary) return;
    float* logit = p.logits.at + static_cast<size_t>(edit.row) * p.vocabulary + edit.token;
    float value = *logit > 0.0f ? *logit / edit.repetition : *logit * edit.repetition;
    *logit = value + edit.add;
}

struct Settings {
    // 0 takes the likeliest.
    float temperature;
    float top_p, min_p;
    // 0: all.
    uint32_t top_k;
    // 0 ..< 1.
    double draw;
};

struct SampleParameters {
    Address<const float> logits;
    Address<const Settings> settings;
    // [rows]; NOTHING where no logit is finite.
    Address<uint32_t> tokens;
    uint32_t vocabulary, unused;
};
static_assert(sizeof(SampleParameters) == 32, "as in src/operations/sample.rs");

DEVICE bool finite(float x) { return fabsf(x) < INFINITY; }

// Exponents are at most 0: their bits without the sign are the greater, the less likely.
DEVICE uint32_t key_of(float exponent) { return ~(f32_to_bits(exponent) & 0x7FFFFFFF); }

DEVICE uint64_t weight_of(float exponent) {
    // e^-30 is one unit still, and a vocabulary of 2^19 of the greatest does not overflow.
    return static_cast<uint64_t>(static_cast<double>(expf(exponent)) * 0x1p44);
}

struct Row {
    const float* logits;
    uint32_t vocabulary;
    float most, temperature, least;

    // False where the token can't be drawn.
    DEVICE bool exponent(uint32_t token, float& out) const {
        float logit = logits[token];
        out = (logit - most) / temperature;
        return finite(logit) && out >= least;
    }
};

// The key of the last that is kept, from the likeliest on: until `wanted` units are, where one weighs `measure`. What
// is above the key weighs `above` in the end.
template <class Measure>
DEVICE uint32_t threshold(const Row& row, uint64_t wanted, uint64_t* histogram, uint64_t* above, Measure measure) {
    __shared__ uint32_t prefix;
    __shared__ uint64_t taken;
    if (threadIdx.x == 0) {
        prefix = 0;
        taken = 0;
    }
    for (int shift = 24; shift >= 0; shift -= 8) {
        __syncthreads();
        for (uint32_t bin = threadIdx.x; bin < 256; bin += blockDim.x) histogram[bin] = 0;
        __syncthreads();
        const uint32_t known = shift == 24 ? 0 : 0xFFFFFFFF << (shift + 8);
        for (uint32_t token = threadIdx.x; token < row.vocabulary; token += blockDim.x) {
            float exponent;
            if (!row.exponent(token, exponent)) continue;
            uint32_t key = key_of(exponent);
            if ((key & known) != (prefix & known)) continue;
            atomicAdd(reinterpret_cast<unsigned long long*>(&histogram[key >> shift & 255]),
                      static_cast<unsigned long long>(measure(exponent)));
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            // The last bin that holds anything, should rounding leave `wanted` out of reach.
            uint32_t bin = 256, lowest = 0;
            uint64_t sum = taken, before = taken;
            while (bin > 0) {
                --bin;
                if (histogram[bin] == 0) continue;
                lowest = bin;
                before = sum;
                sum += histogram[bin];
                if (sum >= wanted) break;
            }
            prefix |= lowest << shift;
            taken = before;
        }
    }
    __syncthreads();
    *above = taken;
    const uint32_t found = prefix;
    __syncthreads();
    return found;
}

// Sums of `own` over all threads before this one, and of all.
DEVICE uint64_t sums_before(uint64_t own, uint64_t* scratch, uint64_t* total) {
    __syncthreads();
    scratch[threadIdx.x] = own;
    __syncthreads();
    for (uint32_t step = 1; step < blockDim.x; step *= 2) {
        uint64_t more = threadIdx.x >= step ? scratch[threadIdx.x - step] : 0;
        __syncthreads();
        scratch[threadIdx.x] += more;
        __syncthreads();
    }
    *total = scratch[blockDim.x - 1];
    return threadIdx.x == 0 ? 0 : scratch[threadIdx.x - 1];
}

KERNEL(sample, SampleParameters, THREADS) {
    __shared__ float scratch[WARP];
    __shared__ uint64_t histogram[THREADS];
    const Settings settings = p.settings.at[blockIdx.x];
    Row row = {p.logits.at + static_cast<size_t>(blockIdx.x) * p.vocabulary, p.vocabulary, 0.0f, 1.0f, 0.0f};
    uint32_t* out = p.tokens.at + blockIdx.x;

    float most = -INFINITY;
    for (uint32_t token = threadIdx.x; token < p.vocabulary; token += blockDim.x) {
        if (finite(row.logits[token])) most = fmaxf(most, row.logits[token]);
    }
    most = block_max(most, scratch);
    if (most == -INFINITY) {
        if (threadIdx.x == 0) *out = NOTHING;
        return;
    }
    row.most = most;
    const bool greedy = settings.temperature == 0.0f;
    row.temperature = greedy ? 1.0f : settings.temperature;
    row.least = greedy ? 0.0f : fmaxf(settings.min_p > 0.0f ? logf(settings.min_p) : NEGLIGIBLE, NEGLIGIBLE);

    // What is above `key` is kept, and of what is at it the first `ties`.
    uint32_t key = 0;
    uint64_t ties = ~0ull, above = 0;
    if (greedy) {
        key = key_of(0.0f);
        ties = 1;
    } else if (settings.top_k > 0 && settings.top_k < p.vocabulary) {
        key = threshold(row, settings.top_k, histogram, &above, [](float) { return 1ull; });
        ties = settings.top_k - above;
    }
    if (!greedy && settings.top_p < 1.0f) {
        uint64_t own = 0, kept;
        uint64_t at_key = 0;
        for (uint32_t token = threadIdx.x; token < p.vocabulary; token += blockDim.x) {
            float exponent;
            if (!row.exponent(token, exponent) || key_of(exponent) < key) continue;
            if (key_of(exponent) > key) own += weight_of(exponent);
            else ++at_key;
        }
        sums_before(own, histogram, &kept);
        uint64_t equal;
        sums_before(at_key, histogram, &equal);
        const float tie = bits_to_f32(~key & 0x7FFFFFFF);
        kept += (equal < ties ? equal : ties) * (equal ? weight_of(-tie) : 0);
        uint64_t wanted = static_cast<uint64_t>(static_cast<double>(kept) * settings.top_p);
        if (wanted == 0) wanted = 1;
        uint32_t nucleus = threshold(row, wanted, histogram, &above, [](float e) { return weight_of(e); });
        if (nucleus >= key) {
            uint64_t one = weight_of(-bits_to_f32(~nucleus & 0x7FFFFFFF));
            uint64_t needed = one ? (wanted - above + one - 1) / one : 1;
            ties = nucleus > key || needed < ties ? needed : ties;
            key = nucleus;
        }
    }

    // Each thread has a run of ids: first how many ties come before it, then what weighs before it.
    const uint32_t length = (p.vocabulary + blockDim.x - 1) / blockDim.x, first = threadIdx.x * length;
    const uint32_t last = first + length < p.vocabulary ? first + length : p.vocabulary;
    uint64_t equal = 0, total;
    for (uint32_t token = first; token < last; ++token) {
        float exponent;
        equal += row.exponent(token, exponent) && key_of(exponent) == key;
    }
    const uint64_t ties_before = sums_before(equal, histogram, &total);
    auto kept = [&](uint32_t token, uint64_t& tie, float& exponent) {
        if (!row.exponent(token, exponent) || key_of(exponent) < key) return false;
        return key_of(exponent) > key || tie++ < ties;
    };
    uint64_t own = 0, tie = ties_before;
    for (uint32_t token = first; token < last; ++token) {
        float exponent;
        if (kept(token, tie, exponent)) own += weight_of(exponent);
    }
    uint64_t sum = sums_before(own, histogram, &total);
    const uint64_t at = static_cast<uint64_t>(static_cast<double>(total) * settings.draw);
    tie = ties_before;
    for (uint32_t token = first; token < last; ++token) {
        float exponent;
        if (!kept(token, tie, exponent)) continue;
        uint64_t weight = weight_of(exponent);
        // One thread's run holds the place.
        if (at >= sum && at < sum + weight) *out = token;
        sum += weight;
    }
}

// Log probabilities of given tokens, and the likeliest alternatives, best first. Shapes: tokens [rows]; logprobs float
// [rows]; top_ids and top_logprobs [rows, top]. A block a row.
struct LogprobParameters {
    Address<const float> logits;
    Address<const uint32_t> tokens;
    Address<float> logprobs;
    Address<uint32_t> top_ids;
    Address<float> top_logprobs;
    uint32_t vocabulary, top;
};
static_assert(sizeof(LogprobParameters) == 48, "as in src/operations/sample.rs");

KERNEL(log_probabilities, LogprobParameters, THREADS) {
    __shared__ float scratch[WARP];
    __shared__ float best_of[WARP];
    __shared__ uint32_t id_of[WARP];
    const float* logits = p.logits.at + static_cast<size_t>(blockIdx.x) * p.vocabulary;
    float most = -INFINITY;
    for (uint32_t token = threadIdx.x; token < p.vocabulary; token += blockDim.x) most = fmaxf(most, logits[token]);
    most = block_max(most, scratch);
    float sum = 0.0f;
    for (uint32_t token = threadIdx.x; token < p.vocabulary; token += blockDim.x) sum += expf(logits[token] - most);
    const float log_sum = most + logf(block_sum(sum, scratch));
    if (threadIdx.x == 0) {
        uint32_t token = p.tokens.at[blockIdx.x];
        p.logprobs.at[blockIdx.x] = token < p.vocabulary ? logits[token] - log_sum : -INFINITY;
    }
    float last = INFINITY;
    uint32_t last_id = 0;
    for (uint32_t turn = 0; turn < p.top; ++turn) {
        float best = -INFINITY;
        uint32_t id = NOTHING;
        for (uint32_t token = threadIdx.x; token < p.vocabulary; token += blockDim.x) {
            float logit = logits[token];
            bool left = turn == 0 || logit < last || (logit == last && token > last_id);
            if (left && (id == NOTHING || logit > best)) {
                best = logit;
                id = token;
            }
        }
        auto better = [](float a, uint32_t a_id, float b, uint32_t b_id) {
            return a_id != NOTHING && (b_id == NOTHING || a > b || (a == b && a_id < b_id));
        };
        UNROLL for (int mask = WARP / 2; mask > 0; mask /= 2) {
            float other = __shfl_xor_sync(0xFFFFFFFFu, best, mask);
            uint32_t other_id = __shfl_xor_sync(0xFFFFFFFFu, id, mask);
            if (better(other, other_id, best, id)) {
                best = other;
                id = other_id;
            }
        }
        __syncthreads();
        if (threadIdx.x % WARP == 0) {
            best_of[threadIdx.x / WARP] = best;
            id_of[threadIdx.x / WARP] = id;
        }
        __syncthreads();
        for (uint32_t warp = 0; warp < blockDim.x / WARP; ++warp) {
            if (better(best_of[warp], id_of[warp], best, id)) {
                best = best_of[warp];
                id = id_of[warp];
            }
        }
        last = best;
        last_id = id;
        if (threadIdx.x == 0) {
            p.top_ids.at[static_cast<size_t>(blockIdx.x) * p.top + turn] = id;
            p.top_logprobs.at[static_cast<size_t>(blockIdx.x) * p.top + turn] = best - log_sum;
        }
    }
}
