/* One measurement: `PROGRAM WORKLOAD MILLISECONDS LIBRARY`, as a line of JSON; `PROGRAM list` names the workloads.
 *
 * LIBRARY is the file that malloc and free must come from, and `-` stands for the C library itself: otherwise nothing is
 * measured. */
#define _GNU_SOURCE
#include "bench.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Rounds that are measured, if there is time for them, and in any case. */
enum { ROUNDS = 15, LEAST_ROUNDS = 3 };

static const struct work *const all[] = {small_works, churn_works, resize_works, memory_works, thread_works};
enum { FILES = sizeof all / sizeof *all };

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    _exit(1);
}

void *pages(size_t bytes)
{
    void *found = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED)
        fail("no memory for the workload itself");
    return found;
}

/* Whether a function of this name comes from that library. */
static int comes_from(const char *function, const char *library)
{
    Dl_info found, system;
    char there[PATH_MAX], wanted[PATH_MAX];
    void *address = dlsym(RTLD_DEFAULT, function);
    if (!address || !dladdr(address, &found))
        return 0;
    if (!strcmp(library, "-"))
        return dladdr(dlsym(RTLD_DEFAULT, "qsort"), &system) && found.dli_fbase == system.dli_fbase;
    return realpath(found.dli_fname, there) && realpath(library, wanted) && !strcmp(there, wanted);
}

/* A figure of /proc/self, in bytes; 0 without one. */
static unsigned long long bytes_of(const char *file, const char *name)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *lines = fopen(file, "r");
    while (lines && fgets(line, sizeof line, lines))
        if (!strncmp(line, name, strlen(name)))
            kib = strtoull(line + strlen(name), NULL, 10);
    if (lines)
        fclose(lines);
    return kib << 10;
}

static unsigned long long resident(void)
{
    return bytes_of("/proc/self/smaps_rollup", "Rss:");
}

static int by_size(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static void measure(const struct work *work, uint64_t time_ns)
{
    unsigned long long start = resident(), held, freed, peak;
    double ns[ROUNDS];
    uint64_t operations = 1, warmed_up = 0, total = 0, elapsed = 0;
    int rounds = 0;
    if (work->start)
        work->start(work);
    /* The last round that warms up is as long as those that count. */
    for (;;) {
        struct done done = work->round(work, operations);
        warmed_up += done.ns;
        if (done.ns * 2 < time_ns / (ROUNDS + 2)) {
            uint64_t factor = time_ns / (ROUNDS + 2) / (done.ns + 1);
            operations *= factor < 2 ? 2 : factor > 10 ? 10 : factor;
        } else if (warmed_up >= time_ns / 3) {
            break;
        }
    }
    while (rounds < ROUNDS && (rounds < LEAST_ROUNDS || elapsed <= time_ns)) {
        struct done done = work->round(work, operations);
        ns[rounds++] = (double)done.ns / (double)done.operations;
        total += done.operations;
        elapsed += done.ns;
    }
    held = resident();
    if (work->end)
        work->end(work);
    freed = resident();
    peak = bytes_of("/proc/self/status", "VmHWM:");
    qsort(ns, (size_t)rounds, sizeof *ns, by_size);
    printf("{\"ns\":%.4f,\"least_ns\":%.4f,\"rounds\":%d,\"operations\":%llu,"
           "\"memory\":{\"start\":%llu,\"peak\":%llu,\"held\":%llu,\"live\":0,\"freed\":%llu,\"purged\":null},"
           "\"latency_ns\":null}\n",
           (ns[rounds / 2] + ns[(rounds - 1) / 2]) / 2, ns[0], rounds, (unsigned long long)total, start,
           peak > held ? peak : held, held, freed);
}

int main(int count, char **arguments)
{
    int is_list = count == 2 && !strcmp(arguments[1], "list");
    if (!is_list && count != 4)
        fail("the arguments are WORKLOAD MILLISECONDS LIBRARY, or list");
    if (!is_list && !(comes_from("malloc", arguments[3]) && comes_from("free", arguments[3])))
        fail("malloc and free are not those of the library");
    for (int file = 0; file < FILES; file++) {
        for (const struct work *work = all[file]; work->name; work++) {
            if (is_list) {
                puts(work->name);
            } else if (!strcmp(work->name, arguments[1])) {
                measure(work, strtoull(arguments[2], NULL, 10) * 1000000);
                return 0;
            }
        }
    }
    if (!is_list)
        fail("there is no such workload");
    return 0;
}
