#include "emulator.hpp"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

thread_local Dimensions threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
namespace {

constexpr size_t STACK_BYTES = 128 << 10;
constexpr size_t SHARED_BYTES = 227 << 10;
constexpr unsigned LANES = 32;

struct Kernel {
    unsigned threads;
    size_t parameter_bytes;
    Body body;
};

std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

enum class State { Ready, AtWarp, AtBlock, Done };

struct Fiber {
    jmp_buf registers;
    State state = State::Done;
    bool begun = false;
    std::unique_ptr<char[]> stack;
};

struct Warp {
    uint8_t slots[LANES * SLOT_BYTES];
    float a[16 * 16];
    float b[16 * 8];
};

// One block under way on this host thread.
struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::unique_ptr<uint8_t[]> shared{new uint8_t[SHARED_BYTES]};
    jmp_buf scheduler;
    ucontext_t beginning;
    unsigned current = 0;
    Body body = nullptr;
    const void* parameters = nullptr;
    const char* name = "";
};

thread_local std::unique_ptr<Block> block;

[[noreturn]] void live() {
    for (;;) {
        block->body(block->parameters);
        block->fibers[block->current].state = State::Done;
        if (_setjmp(block->fibers[block->current].registers) == 0) _longjmp(block->scheduler, 1);
    }
}

void wait(State state) {
    Fiber& fiber = block->fibers[block->current];
    fiber.state = state;
    if (_setjmp(fiber.registers) == 0) _longjmp(block->scheduler, 1);
}

// Runs fiber `index` until it waits or ends.
void resume(unsigned index) {
    Block& b = *block;
    Fiber& fiber = b.fibers[index];
    b.current = index;
    threadIdx = {index, 0, 0};
    if (_setjmp(b.scheduler) != 0) return;
    if (fiber.begun) _longjmp(fiber.registers, 1);
    fiber.begun = true;
    fiber.stack.reset(new char[STACK_BYTES]);
    getcontext(&b.beginning);
    b.beginning.uc_stack.ss_sp = fiber.stack.get();
    b.beginning.uc_stack.ss_size = STACK_BYTES;
    b.beginning.uc_link = nullptr;
    makecontext(&b.beginning, live, 0);
    setcontext(&b.beginning);
}

// Runs a warp until all its threads wait for the block or are done; false at a barrier that not all reach.
bool run_warp(unsigned warp, unsigned threads) {
    Block& b = *block;
    unsigned first = warp * LANES, last = std::min(threads, first + LANES);
    for (;;) {
        unsigned at_warp = 0, at_block = 0;
        for (unsigned index = first; index < last; ++index) {
            if (b.fibers[index].state == State::Ready) resume(index);
            at_warp += b.fibers[index].state == State::AtWarp;
            at_block += b.fibers[index].state == State::AtBlock;
        }
        if (at_warp == 0) return true;
        if (at_warp != last - first) return false;
        for (unsigned index = first; index < last; ++index) b.fibers[index].state = State::Ready;
    }
}

bool run_block(unsigned threads) {
    Block& b = *block;
    for (unsigned index = 0; index < threads; ++index) b.fibers[index].state = State::Ready;
    for (;;) {
        unsigned waiting = 0, done = 0;
        for (unsigned warp = 0; warp * LANES < threads; ++warp) {
            if (!run_warp(warp, threads)) return false;
        }
        for (unsigned index = 0; index < threads; ++index) {
            waiting += b.fibers[index].state == State::AtBlock;
            done += b.fibers[index].state == State::Done;
        }
        if (done == threads) return true;
        // A block's barrier counts all its threads: one that has left breaks it, whatever some cards let pass.
        if (waiting != threads) return false;
        for (unsigned index = 0; index < threads; ++index) b.fibers[index].state = State::Ready;
    }
}

// A kernel outside its buffers, each of which `emulator_allocate` ends at a page that nobody may touch; or a vector at
// an address that is no multiple of its size, for which the compiler has put a trap.
void fault(int signal, siginfo_t* info, void*) {
    char text[256];
    const char* what = signal == SIGILL ? "a load or store is not aligned to its size, near" : "in no buffer is the address";
    int length = snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u), thread %u: %s %p\n",
                          block ? block->name : "(none)", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, what,
                          info->si_addr);
    if (write(2, text, static_cast<size_t>(length)) < 0) abort();
    abort();
}

void watch_faults() {
    static bool watched = [] {
        struct sigaction action = {};
        action.sa_sigaction = fault;
        action.sa_flags = SA_SIGINFO;
        return sigaction(SIGSEGV, &action, nullptr) == 0 && sigaction(SIGILL, &action, nullptr) == 0;
    }();
    (void)watched;
}

}  // namespace

Registration::Registration(const char* name, unsigned threads, size_t parameter_bytes, Body body) {
    kernels()[name] = {threads, parameter_bytes, body};
}

void* dynamic_shared() { return block->shared.get(); }
unsigned lane() { return threadIdx.x % LANES; }
uint8_t* slots() { return block->warps[threadIdx.x / LANES].slots; }
float* fragment_a() { return block->warps[threadIdx.x / LANES].a; }
float* fragment_b() { return block->warps[threadIdx.x / LANES].b; }

// `threadIdx` is the host thread's: it is set anew for whoever goes on.
void sync_block() { wait(State::AtBlock); }
void sync_warp() { wait(State::AtWarp); }

float half_to_float(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                      : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                      : std::ldexp(static_cast<float>(fraction | 1024), exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

uint16_t float_to_half(float value) {
    uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    float magnitude = std::fabs(value);
    if (std::isnan(value)) return sign | 0x7E00;
    if (magnitude >= 65520.0f) return sign | 0x7C00;
    if (magnitude < 0x1p-14f) return sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f));
    uint32_t bits;
    std::memcpy(&bits, &magnitude, 4);
    bits += 0xFFF + ((bits >> 13) & 1);
    return sign | static_cast<uint16_t>((bits >> 13) - (112u << 10));
}

uint16_t float_to_bfloat(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 64);
    return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

void mma(float (&d)[4], const uint32_t (&a)[4], uint2 b, float (*decode)(uint16_t)) {
    unsigned g = lane() / 4, t = lane() % 4;
    auto put_a = [&](unsigned row, unsigned column, uint32_t pair) {
        fragment_a()[row * 16 + column] = decode(static_cast<uint16_t>(pair));
        fragment_a()[row * 16 + column + 1] = decode(static_cast<uint16_t>(pair >> 16));
    };
    put_a(g, 2 * t, a[0]);
    put_a(g + 8, 2 * t, a[1]);
    put_a(g, 2 * t + 8, a[2]);
    put_a(g + 8, 2 * t + 8, a[3]);
    auto put_b = [&](unsigned row, uint32_t pair) {
        fragment_b()[row * 8 + g] = decode(static_cast<uint16_t>(pair));
        fragment_b()[(row + 1) * 8 + g] = decode(static_cast<uint16_t>(pair >> 16));
    };
    put_b(2 * t, b.x);
    put_b(2 * t + 8, b.y);
    sync_warp();
    auto dot = [&](unsigned row, unsigned column) {
        float sum = 0.0f;
        for (unsigned k = 0; k < 16; ++k) sum += fragment_a()[row * 16 + k] * fragment_b()[k * 8 + column];
        return sum;
    };
    d[0] += dot(g, 2 * t);
    d[1] += dot(g, 2 * t + 1);
    d[2] += dot(g + 8, 2 * t);
    d[3] += dot(g + 8, 2 * t + 1);
    sync_warp();
}

}  // namespace emulator

using namespace emulator;

// Why a launch was refused, or nothing: a name that is not there, a block or a struct of another size, a barrier.
extern "C" const char* emulator_launch(const char* name, const unsigned* grid, unsigned threads,
                                       unsigned shared_bytes, const void* parameters, size_t parameter_bytes) {
    auto found = kernels().find(name);
    if (found == kernels().end()) return "there is no such kernel";
    const Kernel& kernel = found->second;
    if (parameter_bytes != kernel.parameter_bytes) return "its parameters are of another size";
    if (threads == 0 || threads > kernel.threads) return "its block has more threads than it was built for";
    if (threads % LANES != 0) return "its block is not of whole warps";
    if (shared_bytes > SHARED_BYTES) return "it asks for more shared memory than a block has";
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0) return "its grid is empty";
    if (grid[1] > 65535 || grid[2] > 65535) return "its grid is larger than a card's";
    watch_faults();
    if (!block) block.reset(new Block);
    Block& b = *block;
    if (b.fibers.size() < threads) b.fibers.resize(threads);
    b.warps.resize((threads + LANES - 1) / LANES);
    b.body = kernel.body;
    b.parameters = parameters;
    b.name = found->first.c_str();
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    for (unsigned z = 0; z < grid[2]; ++z) {
        for (unsigned y = 0; y < grid[1]; ++y) {
            for (unsigned x = 0; x < grid[0]; ++x) {
                blockIdx = {x, y, z};
                // What the last block left must not help this one.
                std::memset(b.shared.get(), 0xA5, shared_bytes);
                if (!run_block(threads)) {
                    block.reset();
                    return "some of its threads wait at a barrier that others do not reach";
                }
            }
        }
    }
    return nullptr;
}

// Memory that ends where nobody may write or read; null where there is none.
extern "C" void* emulator_allocate(size_t bytes) {
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_t rounded = (bytes + 15) / 16 * 16;
    size_t pages = (rounded + page - 1) / page * page;
    char* start = static_cast<char*>(mmap(nullptr, pages + page, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (start == MAP_FAILED) return nullptr;
    if (mprotect(start + pages, page, PROT_NONE) != 0) return nullptr;
    return start + pages - rounded;
}

extern "C" void emulator_free(void* memory, size_t bytes) {
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_t rounded = (bytes + 15) / 16 * 16;
    size_t pages = (rounded + page - 1) / page * page;
    munmap(static_cast<char*>(memory) + rounded - pages, pages + page);
}

// Names of all kernels, each with a line break.
extern "C" const char* emulator_kernels() {
    static std::string names = [] {
        std::string all;
        for (auto& entry : kernels()) all += entry.first + "\n";
        return all;
    }();
    return names.c_str();
}
