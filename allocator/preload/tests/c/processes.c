/* Every other way to start a process, and handlers of fork that allocate. Run again with `child` it
 * is the program that is started. */
#include "check.h"
#include "pattern.h"
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>

extern char **environ;
static char *self;

static void expect_status(pid_t child, int expected) {
    int status;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == expected);
}

static void some_work(void) {
    for (size_t size = 1; size < 1 << 20; size = size * 2 + 1) {
        void *block = malloc(size);
        REQUIRE(block != NULL);
        memset(block, 1, size);
        free(block);
    }
}

static atomic_int stop;
static void *work(void *argument) {
    (void)argument;
    while (!atomic_load(&stop)) some_work();
    return NULL;
}

static void spawn(void) {
    char *arguments[] = {self, "child", check_on_glibc ? "--glibc" : NULL, NULL};
    pid_t child;
    REQUIRE(posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0);
    expect_status(child, 42);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    posix_spawn_file_actions_addclose(&actions, 3);
    REQUIRE(posix_spawnp(&child, self, &actions, NULL, arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    expect_status(child, 42);
    CHECK(posix_spawn(&child, "/nonexistent/program", NULL, NULL, arguments, environ) == ENOENT);
}

static void vforks(void) {
    char *arguments[] = {self, "child", check_on_glibc ? "--glibc" : NULL, NULL};
    for (volatile int i = 0; i < 10; i++) {
        pid_t child = vfork();
        if (child == 0) {
            execve(self, arguments, environ);
            _exit(127);
        }
        expect_status(child, 42);
        child = vfork();
        if (child == 0) {
            execve("/nonexistent/program", arguments, environ);
            _exit(127);
        }
        expect_status(child, 127);
        child = vfork();
        if (child == 0) _exit(i);
        expect_status(child, i);
    }
    /* The parent goes on when the child has ended, or has become another program. */
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    pid_t child = vfork();
    if (child == 0) {
        usleep(50000);
        _exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
    }
    struct pollfd written_to = {.fd = ends[0], .events = POLLIN};
    CHECK(poll(&written_to, 1, 0) == 1);
    expect_status(child, 0);
    close(ends[0]);
    close(ends[1]);
    if (!ours()) return;
    /* It copies the memory, since a child that shared the parent's memory would share its magazines: what the
     * child does to memory stays in the child, and it may allocate. */
    static volatile int written;
    volatile int on_stack = 0;
    void *block = malloc(100);
    fill(block, 100, 5);
    for (volatile int i = 0; i < 20; i++) {
        pid_t child = vfork();
        if (child == 0) {
            written = 1;
            on_stack = 1;
            some_work();
            memset(block, 0, 100);
            free(block);
            /* Every block that is taken here is free in the parent. */
            for (int j = 0; j < 1000; j++) memset(malloc(100), 0, 100);
            _exit(finish() ? 1 : 9);
        }
        expect_status(child, 9);
        CHECK(written == 0 && on_stack == 0);
        CHECK(intact(block, 100, 5));
        some_work();
    }
    free(block);
}

static void shells(void) {
    CHECK(system("exit 7") == 7 << 8);
    CHECK(system("true") == 0);
    FILE *stream = popen("echo one; echo two; exit 3", "r");
    REQUIRE(stream != NULL);
    char *line = NULL;
    size_t room = 0;
    CHECK(getline(&line, &room, stream) == 4 && strcmp(line, "one\n") == 0);
    CHECK(getline(&line, &room, stream) == 4 && strcmp(line, "two\n") == 0);
    CHECK(getline(&line, &room, stream) == -1);
    CHECK(pclose(stream) == 3 << 8);
    free(line);
    stream = popen("cat >/dev/null", "w");
    REQUIRE(stream != NULL);
    for (int i = 0; i < 10000; i++) fprintf(stream, "line %d\n", i);
    CHECK(pclose(stream) == 0);
}

/* daemon(3) forks and lets the parent end, so another process tells through a pipe. */
static void daemons(void) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    void *block = malloc(3000);
    fill(block, 3000, 8);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        REQUIRE(daemon(1, 1) == 0);
        some_work();
        CHECK(intact(block, 3000, 8));
        free(block);
        char answer = finish() ? 'n' : 'y';
        REQUIRE(write(ends[1], &answer, 1) == 1);
        _exit(0);
    }
    close(ends[1]);
    expect_status(child, 0);
    char answer = 0;
    CHECK(read(ends[0], &answer, 1) == 1 && answer == 'y');
    close(ends[0]);
    free(block);
}

static void *handed_over;
static int prepared, parents, children;

static void prepare(void) {
    prepared++;
    some_work();
    handed_over = malloc(700);
    fill(handed_over, 700, (uint64_t)prepared);
}

static void in_parent(void) {
    parents++;
    CHECK(intact(handed_over, 700, (uint64_t)prepared));
    free(handed_over);
    some_work();
}

static void in_child(void) {
    children++;
    CHECK(intact(handed_over, 700, (uint64_t)prepared));
    free(handed_over);
    some_work();
    /* More threads than forked: the child has none of the others. */
}

static void handlers(void) {
    REQUIRE(pthread_atfork(prepare, in_parent, in_child) == 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            some_work();
            CHECK(children == 1 && parents == i);
            if (i % 2) exit(finish());
            _exit(finish());
        }
        expect_status(child, 0);
    }
    CHECK(prepared == 50 && parents == 50);
    /* They may want what whoever calls vfork holds. */
    pid_t child = vfork();
    if (child == 0) _exit(0);
    expect_status(child, 0);
    CHECK(prepared == 50 && parents == 50);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    self = argv[0];
    if (argc > 1 && strcmp(argv[1], "child") == 0) {
        some_work();
        return finish() ? 1 : 42;
    }
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) REQUIRE(pthread_create(&threads[i], NULL, work, NULL) == 0);
    spawn();
    vforks();
    shells();
    daemons();
    handlers();
    atomic_store(&stop, 1);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return finish();
}
