/* What is freed is no block: it lies inside one, or is none of this allocator's; or it is freed as another size. */
#define _GNU_SOURCE
#include "attacks.h"

#include <dlfcn.h>
#include <string.h>

enum { SMALL = 64, MIDDLE = 40000, LARGE = 1 << 20 };
/* So many are taken then: also those who hand out last what was freed first come to it. */
enum { MANY = 30000 };

/* Frees what lies so many bytes inside a block that is held, among others that are. The block holds what no allocator wrote. */
static _Noreturn void interior(size_t bytes, size_t offset)
{
    for (int neighbours = 0; neighbours < 4; neighbours++)
        hold(take(bytes), bytes);
    char *block = take(bytes);
    memset(block, 0x41, bytes);
    hold(block, bytes);
    hold(take(bytes), bytes);
    attack_begins(block, bytes);
    give(block + offset);
    conclude(bytes, bytes == SMALL ? MANY : bytes == MIDDLE ? 1000 : 50);
}

static void small_8(void)
{
    interior(SMALL, 8);
}

static void small_16(void)
{
    interior(SMALL, 16);
}

static void small_half(void)
{
    interior(SMALL, SMALL / 2);
}

static void middle_16(void)
{
    interior(MIDDLE, 16);
}

static void middle_half(void)
{
    interior(MIDDLE, MIDDLE / 2);
}

static void large_16(void)
{
    interior(LARGE, 16);
}

static void large_page(void)
{
    interior(LARGE, 4096);
}

static void large_half(void)
{
    interior(LARGE, LARGE / 2);
}

/* What the C library keeps before a block, made up inside of one. */
static void forge_header(char *at, size_t bytes)
{
    /* Its sizes include 16 bytes, and say that what is below is in use. */
    write_word(at - 8, (bytes + 16) | 1);
    write_word(at + bytes + 8, (bytes + 16) | 1);
}

static void interior_forged(void)
{
    char *block = take(256);
    hold(block, 256);
    hold(take(256), 256);
    forge_header(block + 64, SMALL);
    attack_begins(block, 256);
    give(block + 64);
    conclude(SMALL, MANY);
}

static char target[512] __attribute__((aligned(64)));

static _Noreturn void foreign(void *address)
{
    hold(take(SMALL), SMALL);
    hold(address, SMALL);
    attack_begins(address, SMALL);
    give(address);
    conclude(SMALL, MANY);
}

static void stack(void)
{
    char here[512] __attribute__((aligned(64)));
    memset(here, 0x41, sizeof here);
    foreign(here + 128);
}

static void stack_forged(void)
{
    char here[512] __attribute__((aligned(64)));
    memset(here, 0, sizeof here);
    forge_header(here + 128, SMALL);
    foreign(here + 128);
}

static void statics(void)
{
    foreign(target + 128);
}

static void statics_forged(void)
{
    forge_header(target + 128, SMALL);
    foreign(target + 128);
}

static void mapping(void)
{
    foreign((char *)pages(1 << 16) + 64);
}

static void code(void)
{
    foreign((void *)((uintptr_t)code & ~(uintptr_t)15));
}

static void page_zero(void)
{
    foreign((void *)(uintptr_t)16);
}

static void no_address(void)
{
    foreign((void *)(uintptr_t)0x8000000000000000);
}

static void kernel(void)
{
    foreign((void *)(uintptr_t)0xffff888000000040);
}

/* Of the C library in another namespace, whose heap is one of its own. */
static void other_allocator(void)
{
    void *library = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW | RTLD_LOCAL);
    void *(*other_malloc)(size_t) = library ? (void *(*)(size_t))dlsym(library, "malloc") : NULL;
    if (!other_malloc)
        finish(NOT_HERE);
    other_malloc(SMALL);
    foreign(other_malloc(SMALL));
}

/* C++'s operator delete with a size: 64 bytes are freed as so many. */
static _Noreturn void sized(size_t bytes)
{
    void (*operator_delete)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "_ZdlPvm");
    void *(*operator_new)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znwm");
    if (!operator_delete || !operator_new)
        finish(NOT_HERE);
    char *block = operator_new(SMALL);
    for (int neighbours = 0; neighbours < 100; neighbours++) {
        hold(operator_new(SMALL), SMALL);
        if (neighbours == 50)
            block = operator_new(SMALL);
    }
    attack_begins(block, SMALL);
    operator_delete(block, bytes);
    conclude(bytes, MANY);
}

static void sized_larger(void)
{
    sized(1024);
}

static void sized_smaller(void)
{
    sized(16);
}

/* C23's free_sized. */
static void free_sized_larger(void)
{
    void (*free_sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    if (!free_sized)
        finish(NOT_HERE);
    char *block = take(SMALL);
    hold(take(SMALL), SMALL);
    attack_begins(block, SMALL);
    free_sized(block, 1024);
    conclude(1024, MANY);
}

/* Sizes that overflow: whoever gets a block has less than was asked for. */
static void sizes(void)
{
    extern void *calloc(size_t, size_t), *reallocarray(void *, size_t, size_t), *malloc(size_t), *aligned_alloc(size_t, size_t);
    void *got[] = {
        calloc(SIZE_MAX / 2, 4),  calloc(SIZE_MAX / 16 + 2, 16),  reallocarray(NULL, SIZE_MAX / 8, 16), malloc(SIZE_MAX),
        malloc(SIZE_MAX - 15),    malloc((size_t)PTRDIFF_MAX + 1), aligned_alloc(64, SIZE_MAX - 63),     aligned_alloc(4096, SIZE_MAX - 1),
    };
    for (size_t at = 0; at < sizeof got / sizeof *got; at++)
        if (got[at])
            finish(WENT_THROUGH);
    finish(IGNORED);
}

const struct attack invalid_attacks[] = {
    {"interior-8", small_8, 1, "free of 8 B inside 64 B"},
    {"interior-16", small_16, 1, "free of 16 B inside 64 B"},
    {"interior-half", small_half, 1, "free of the middle of 64 B"},
    {"interior-middle-16", middle_16, 1, "free of 16 B inside 40,000 B"},
    {"interior-middle-half", middle_half, 1, "free of the middle of 40,000 B"},
    {"interior-large-16", large_16, 1, "free of 16 B inside 1 MiB"},
    {"interior-large-page", large_page, 1, "free of a page inside 1 MiB"},
    {"interior-large-half", large_half, 1, "free of the middle of 1 MiB"},
    {"interior-forged", interior_forged, 1, "free inside 256 B, glibc's sizes forged around it"},
    {"foreign-stack", stack, 1, "free of a part of the stack"},
    {"foreign-stack-forged", stack_forged, 1, "free of a part of the stack, glibc's sizes forged around it"},
    {"foreign-static", statics, 1, "free of a static"},
    {"foreign-static-forged", statics_forged, 1, "free of a static, glibc's sizes forged around it"},
    {"foreign-mapping", mapping, 1, "free of a part of a mapping"},
    {"foreign-code", code, 1, "free of code"},
    {"foreign-page-zero", page_zero, 1, "free of address 16"},
    {"foreign-no-address", no_address, 1, "free of an address that cannot be"},
    {"foreign-kernel", kernel, 1, "free of an address of the kernel's"},
    {"foreign-allocator", other_allocator, 1, "free of another allocator's block"},
    {"sized-larger", sized_larger, 1, "C++ delete of 64 B as 1,024"},
    {"sized-smaller", sized_smaller, 1, "C++ delete of 64 B as 16"},
    {"free-sized-larger", free_sized_larger, 1, "free_sized of 64 B as 1,024"},
    {"size-overflow", sizes, 1, "sizes that overflow, eight ways"},
    {0},
};
