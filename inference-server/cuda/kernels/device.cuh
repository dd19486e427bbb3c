// What the hardware does in one instruction, by name. The only place with inline PTX. On a machine without a GPU the
// same names are the emulator's (`emulator/src/emulator.hpp`), so that every kernel here is also a host program.
#pragma once

#if defined(WEIGHBRIDGE_EMULATED)
#include "emulator.hpp"
#else

typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;

// A kernel takes one struct by value. `threads` is the most that a block has.
#define KERNEL(name, Parameters, threads) \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Parameters p)

// The block's dynamic shared memory.
#define DYNAMIC_SHARED(Type, name)                  \
    extern __shared__ uint4 dynamic_shared_bytes[]; \
    Type* name = reinterpret_cast<Type*>(dynamic_shared_bytes)

#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define INFINITY __int_as_float(0x7F800000)

// Reads what is read once: it does not push out what is read again.
DEVICE uint4 load_streaming(const uint4* at) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at));
    return v;
}

DEVICE uint2 load_streaming(const uint2* at) {
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(at));
    return v;
}

// Two floats to bfloat16, to nearest even: `low` in the lower half.
DEVICE uint32_t pack_bf16(float low, float high) {
    uint32_t d;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}

// Two floats to IEEE half, to nearest even.
DEVICE uint32_t pack_f16(float low, float high) {
    uint32_t d;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}

DEVICE float f16_to_f32(uint16_t bits) {
    float d;
    asm("cvt.f32.f16 %0, %1;" : "=f"(d) : "h"(bits));
    return d;
}

// a * b + c in both halves, bfloat16; subnormal numbers are kept.
DEVICE uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// d += a * b of a warp, `mma.m16n8k16` (PTX ISA 9.7.14.5.8): lane 4g + t holds rows g and g + 8.
DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint2 b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

DEVICE void mma_f16(float (&d)[4], const uint32_t (&a)[4], uint2 b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

#endif

// A device address as the host passes it, 8 bytes.
template <class T>
struct Address {
    T* at;
};
