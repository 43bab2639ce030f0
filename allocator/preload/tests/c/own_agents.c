/* Four processes by fork, which allocate, and wait until standard input ends. Prints their numbers. */
#include "check.h"
#include <sys/wait.h>

static void say_pid(void) {
    char text[20];
    int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
    REQUIRE(write(1, text, (size_t)length) == length);
    close(1);
}

static void wait_for_the_end(void) {
    free(malloc(100000));
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    for (int child = 0; child < 2; child++) {
        if (fork() != 0) continue;
        pid_t own = child == 0 ? fork() : -1;
        say_pid();
        wait_for_the_end();
        if (own > 0) CHECK(waitpid(own, NULL, 0) == own);
        return finish();
    }
    say_pid();
    wait_for_the_end();
    while (wait(NULL) > 0) {
    }
    return finish();
}
