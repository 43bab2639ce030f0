/* What every test program begins with: the checks, and the proof that it runs on lfalloc.
 *
 * A failed CHECK prints where and what, is counted, and the program goes on; main returns
 * finish(), which is 1 then. With --glibc as the last argument the program runs on the C library's
 * allocator: what only lfalloc promises is left out (ours() is 0). Prints by write(2), since the
 * programs close descriptors, filter system calls and run in signal handlers. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_failures;
static int check_on_glibc;

__attribute__((unused)) static void say(const char *text) {
    ssize_t written = write(2, text, strlen(text));
    (void)written;
}

/* Not inlined: it is the cold side of every check. */
__attribute__((noinline, unused)) static void check_failed(const char *file, int line,
                                                           const char *what) {
    char text[512];
    /* Hundreds of thousands of one failure tell no more than the first few. */
    if (__atomic_add_fetch(&check_failures, 1, __ATOMIC_RELAXED) > 20) return;
    snprintf(text, sizeof text, "%s:%d: %s\n", file, line, what);
    say(text);
}

#define CHECK(condition)                                                  \
    do {                                                                  \
        if (!(condition)) check_failed(__FILE__, __LINE__, #condition);   \
    } while (0)

/* For what the rest of the program cannot do without. */
#define REQUIRE(condition)                                                \
    do {                                                                  \
        if (!(condition)) {                                               \
            check_failed(__FILE__, __LINE__, #condition);                 \
            _exit(1);                                                     \
        }                                                                 \
    } while (0)

/* Hides a value from the compiler, so that neither a warning nor an optimisation knows it. */
__attribute__((unused)) static inline size_t hide(size_t value) {
    __asm__ volatile("" : "+r"(value));
    return value;
}

__attribute__((unused)) static inline void *hide_pointer(void *pointer) {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

__attribute__((unused)) static int ours(void) { return !check_on_glibc; }

/* First thing in main: which allocator this is. */
__attribute__((unused)) static void begin(int argc, char **argv) {
    check_on_glibc = argc > 1 && strcmp(argv[argc - 1], "--glibc") == 0;
    if (check_on_glibc) return;
    Dl_info info;
    memset(&info, 0, sizeof info);
    void *malloc_here = dlsym(RTLD_DEFAULT, "malloc");
    REQUIRE(dlsym(RTLD_DEFAULT, "lfalloc_totals") != NULL);
    REQUIRE(malloc_here != NULL && dladdr(malloc_here, &info) != 0);
    REQUIRE(info.dli_fname != NULL && strstr(info.dli_fname, "lfalloc") != NULL);
}

__attribute__((unused)) static int finish(void) {
    return __atomic_load_n(&check_failures, __ATOMIC_RELAXED) != 0;
}

#endif
