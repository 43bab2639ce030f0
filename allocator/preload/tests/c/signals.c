/* The handler of each of four threads' timers allocates, resizes and frees a thousand times a second,
 * on a small stack of its own, whatever the thread is in the middle of; with the argument `jump` it
 * jumps out of it. */
#include "check.h"
#include "pattern.h"
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

enum { threads = 4, slots = 32 };

/* Blocks go from handlers to threads and back. */
static _Atomic(unsigned char *) shared[slots];
static atomic_int stop, handled;
static __thread sigjmp_buf target;
static __thread volatile sig_atomic_t may_jump;
static atomic_int jumps;

/* The first byte says how long it is, in units of 64 bytes. */
static unsigned char *make(uint64_t *state) {
    size_t units = random_next(state) % 200 + 1;
    if (random_next(state) % 50 == 0) units = 255;
    unsigned char *block = malloc(units * 64);
    REQUIRE(block != NULL);
    block[0] = (unsigned char)units;
    memset(block + 1, (int)units, units * 64 - 1);
    return block;
}

static void end(unsigned char *block) {
    if (block == NULL) return;
    size_t units = block[0];
    CHECK(block[units * 64 - 1] == units && block[units * 32] == units);
    block = realloc(block, units * 100);
    REQUIRE(block != NULL);
    CHECK(block[0] == units && block[units * 64 - 1] == units);
    free(block);
}

static void swap(uint64_t *state) {
    size_t slot = random_next(state) % slots;
    end(atomic_exchange(&shared[slot], make(state)));
}

static void handler(int number) {
    (void)number;
    int before = errno;
    uint64_t state = (uint64_t)atomic_fetch_add(&handled, 1) * 977 + 1;
    for (int i = 0; i < 3; i++) swap(&state);
    void *large = malloc(300000);
    REQUIRE(large != NULL);
    ((char *)large)[299999] = 1;
    free(large);
    void *zero = calloc(10, 100);
    REQUIRE(zero != NULL);
    CHECK(all_zero(zero, 1000));
    free(zero);
    errno = before;
    if (may_jump) {
        may_jump = 0;
        siglongjmp(target, 1);
    }
}

static void alternate_stack(void) {
    size_t bytes = (size_t)sysconf(_SC_MINSIGSTKSZ) + 8192;
    /* Its lower end is guarded: an overflow is no silent one. */
    size_t rounded = (bytes + 4095) / 4096 * 4096;
    char *area = mmap(NULL, rounded + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);
    REQUIRE(area != MAP_FAILED && mprotect(area, 4096, PROT_NONE) == 0);
    stack_t stack = {.ss_sp = area + 4096 + (rounded - bytes) / 16 * 16, .ss_size = bytes};
    stack.ss_size = (size_t)(area + 4096 + rounded - (char *)stack.ss_sp);
    REQUIRE(sigaltstack(&stack, NULL) == 0);
}

/* One for each thread: a signal to the process would mostly go to main. */
static timer_t thousand_a_second(void) {
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
    event._sigev_un._tid = gettid();
    struct itimerspec interval = {{0, 1000000}, {0, 1000000}};
    REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    REQUIRE(timer_settime(timer, 0, &interval, NULL) == 0);
    return timer;
}

static void *work(void *argument) {
    alternate_stack();
    timer_t timer = thousand_a_second();
    uint64_t state = (uintptr_t)argument * 7919;
    while (!atomic_load(&stop)) {
        for (int i = 0; i < 100; i++) swap(&state);
        free(malloc(200000 + random_next(&state) % 100000));
    }
    REQUIRE(timer_delete(timer) == 0);
    return NULL;
}

static void *jump(void *argument) {
    alternate_stack();
    timer_t timer = thousand_a_second();
    uint64_t state = (uintptr_t)argument * 104729;
    while (!atomic_load(&stop)) {
        if (sigsetjmp(target, 1) == 0) {
            may_jump = 1;
            /* Left in the middle: what it held is lost, and nothing else. */
            while (!atomic_load(&stop)) {
                void *blocks[8];
                for (int i = 0; i < 8; i++) blocks[i] = malloc(random_next(&state) % 5000);
                for (int i = 0; i < 8; i++) free(blocks[i]);
            }
            may_jump = 0;
        } else
            atomic_fetch_add(&jumps, 1);
    }
    REQUIRE(timer_delete(timer) == 0);
    return NULL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
    int jumping = argc > 1 && strcmp(argv[1], "jump") == 0;
    pthread_t thread[threads];
    for (uintptr_t i = 0; i < threads; i++)
        REQUIRE(pthread_create(&thread[i], NULL, jumping ? jump : work, (void *)(i + 1)) == 0);
    nanosleep(&(struct timespec){.tv_nsec = 800 * 1000000}, NULL);
    atomic_store(&stop, 1);
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    CHECK(atomic_load(&handled) > 200);
    if (jumping) CHECK(atomic_load(&jumps) > 100);
    for (int i = 0; i < slots; i++) end(atomic_load(&shared[i]));
    return finish();
}
