// CUDA's words for a host compiler. A block's threads are fibers of one host thread: they take turns at barriers, so
// that a barrier that only some threads reach, or a shuffle with a thread that has left, is an error and not luck.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __device__
#define __shared__ static thread_local
#define DEVICE [[maybe_unused]] inline
#define UNROLL

struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct Dimensions {
    unsigned x, y, z;
};

extern thread_local Dimensions threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

using Body = void (*)(const void* parameters);

// A kernel says its name, its largest block and the size of what it takes.
struct Registration {
    Registration(const char* name, unsigned threads, size_t parameter_bytes, Body body);
};

constexpr int SLOT_BYTES = 16;

void* dynamic_shared();
void sync_block();
void sync_warp();
// Where the lanes of this thread's warp leave values for each other, `[32][SLOT_BYTES]`.
uint8_t* slots();
// The fragments of a warp's `mma`, as floats: a is [16][16], b [16][8].
float* fragment_a();
float* fragment_b();
unsigned lane();

template <class T>
T shuffle(T value, unsigned from) {
    static_assert(sizeof(T) <= SLOT_BYTES, "a slot holds the value");
    std::memcpy(slots() + lane() * SLOT_BYTES, &value, sizeof(T));
    sync_warp();
    T found;
    std::memcpy(&found, slots() + (from % 32) * SLOT_BYTES, sizeof(T));
    sync_warp();
    return found;
}

float half_to_float(uint16_t bits);
uint16_t float_to_half(float value);
uint16_t float_to_bfloat(float value);
inline float bfloat_to_float(uint16_t bits) {
    uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
}

void mma(float (&d)[4], const uint32_t (&a)[4], uint2 b, float (*decode)(uint16_t));

}  // namespace emulator

#define KERNEL(name, Parameters, threads)                                                                     \
    static void name(const Parameters& p);                                                                    \
    static const emulator::Registration registration_##name(                                                  \
        #name, threads, sizeof(Parameters), [](const void* p) { name(*static_cast<const Parameters*>(p)); }); \
    static void name([[maybe_unused]] const Parameters& p)

#define DYNAMIC_SHARED(Type, name) Type* name = static_cast<Type*>(emulator::dynamic_shared())

static inline void __syncthreads() { emulator::sync_block(); }
static inline void __syncwarp() { emulator::sync_warp(); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return emulator::shuffle(value, emulator::lane() ^ static_cast<unsigned>(mask));
}

template <class T>
T __shfl_sync(unsigned, T value, int from) {
    return emulator::shuffle(value, static_cast<unsigned>(from));
}

static inline unsigned __ballot_sync(unsigned, bool predicate) {
    unsigned result = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
        result |= emulator::shuffle<uint32_t>(predicate, lane) << lane;
    }
    return result;
}

static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
using std::min;

// Threads of a block take turns, never in the middle of this.
static inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long more) {
    unsigned long long before = *at;
    *at += more;
    return before;
}

DEVICE uint4 load_streaming(const uint4* at) { return *at; }
DEVICE uint2 load_streaming(const uint2* at) { return *at; }

DEVICE uint32_t pack_bf16(float low, float high) {
    return emulator::float_to_bfloat(low) | static_cast<uint32_t>(emulator::float_to_bfloat(high)) << 16;
}

DEVICE uint32_t pack_f16(float low, float high) {
    return emulator::float_to_half(low) | static_cast<uint32_t>(emulator::float_to_half(high)) << 16;
}

DEVICE float f16_to_f32(uint16_t bits) { return emulator::half_to_float(bits); }

DEVICE uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
    auto part = [&](int shift) {
        double product = static_cast<double>(emulator::bfloat_to_float(static_cast<uint16_t>(a >> shift))) *
                         emulator::bfloat_to_float(static_cast<uint16_t>(b >> shift));
        double sum = product + emulator::bfloat_to_float(static_cast<uint16_t>(c >> shift));
        return static_cast<uint32_t>(emulator::float_to_bfloat(static_cast<float>(sum))) << shift;
    };
    return part(0) | part(16);
}

DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint2 b) {
    emulator::mma(d, a, b, emulator::bfloat_to_float);
}

DEVICE void mma_f16(float (&d)[4], const uint32_t (&a)[4], uint2 b) {
    emulator::mma(d, a, b, emulator::half_to_float);
}
