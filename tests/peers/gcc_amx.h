/* Forced into every C++ file of llama.cpp (install.sh), so that its AMX kernels work under older GCCs.
 *
 * GCC before 11.5, 12.4, 13.3 and 14 tells its optimiser that _tile_loadconfig() reads 8 bytes of the tile
 * configuration, which has 64; the stores to the rest are dropped as dead, and `ldtilecfg` faults on what
 * it finds there (GCC bug 114098). Debian 12's GCC is one of these, and then llama.cpp, built natively on a
 * CPU with AMX, dies at its first prompt of two tokens. The alternative, building the peer without AMX,
 * would have us measured against a slower llama.cpp than the one people run.
 */
#if defined(__GNUC__) && !defined(__clang__) && defined(__AMX_TILE__)
#include <immintrin.h>
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg\t%X0" : : "m"(*(const char(*)[64])(config)))
#endif
