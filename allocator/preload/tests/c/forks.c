/* Forks while eight threads allocate: the child allocates at once, everything, forks in turn, and
 * ends in both ways. */
#include "check.h"
#include "pattern.h"
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { threads = 8, forks = 200 };
static atomic_int stop;

static void *work(void *argument) {
    uint64_t state = (uintptr_t)argument * 7919;
    void *blocks[100] = {0};
    for (int round = 0; !atomic_load_explicit(&stop, memory_order_relaxed); round++) {
        /* Leaves the processors to the children now and then. */
        if (round % 2000 == 1999) usleep(1000);
        size_t i = random_next(&state) % 100;
        free(blocks[i]);
        size_t size = random_next(&state) % 1000;
        if (i == 0) size *= 300;
        blocks[i] = malloc(size);
        REQUIRE(blocks[i] != NULL);
        memset(blocks[i], 0x77, size < 2000 ? size : 2000);
    }
    for (int i = 0; i < 100; i++) free(blocks[i]);
    return NULL;
}

/* Some of each size; they are the child's alone, so what it wrote stays. */
static void all_sizes(uint64_t seed) {
    enum { sizes = 60, each = 3 };
    void *blocks[sizes][each];
    size_t bytes[sizes], size = 1;
    for (int i = 0; i < sizes; i++) {
        bytes[i] = size;
        for (int j = 0; j < each; j++) {
            blocks[i][j] = malloc(size);
            REQUIRE(blocks[i][j] != NULL);
            fill(blocks[i][j], size < 5000 ? size : 5000, seed + (uint64_t)(i * each + j));
        }
        size += size / 4 + 8;
    }
    for (int i = 0; i < sizes; i++)
        for (int j = 0; j < each; j++) {
            CHECK(intact(blocks[i][j], bytes[i] < 5000 ? bytes[i] : 5000,
                         seed + (uint64_t)(i * each + j)));
            free(blocks[i][j]);
        }
}

static void *in_a_thread(void *argument) {
    all_sizes((uintptr_t)argument);
    return NULL;
}

static void expect_success(pid_t child) {
    int status;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    pthread_t thread[threads];
    for (uintptr_t i = 0; i < threads; i++)
        REQUIRE(pthread_create(&thread[i], NULL, work, (void *)(i + 1)) == 0);
    void *from_parent = malloc(5000);
    for (int round = 0; round < forks; round++) {
        fill(from_parent, 5000, (uint64_t)round);
        /* _Fork runs no handlers, so the C library's own malloc might not work in its child. */
        pid_t child = ours() && round % 3 == 0 ? _Fork() : fork();
        if (child == 0) {
            all_sizes(1);
            CHECK(intact(from_parent, 5000, (uint64_t)round));
            free(from_parent);
            if (round % 5 == 0) {
                pid_t grandchild = fork();
                if (grandchild == 0) {
                    all_sizes(2);
                    _exit(finish());
                }
                all_sizes(3);
                expect_success(grandchild);
            }
            if (round % 7 == 0 && round % 3 != 0) {
                pthread_t another;
                REQUIRE(pthread_create(&another, NULL, in_a_thread, (void *)4) == 0);
                pthread_join(another, NULL);
            }
            if (round % 2 == 0) _exit(finish());
            exit(finish());
        }
        expect_success(child);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    CHECK(intact(from_parent, 5000, forks - 1));
    free(from_parent);
    return finish();
}
