/* Run with another user's rights it must not listen to the environment of whoever started it: prints
 * how many threads there are and whether the rights are another's. Linked to the library. */
#include "check.h"
#include <dirent.h>
#include <malloc.h>
#include <sys/auxv.h>

int main(int argc, char **argv) {
    begin(argc, argv);
    free(malloc(hide(100)));
    /* The agent would have started long before. */
    usleep(100000);
    DIR *tasks = opendir("/proc/self/task");
    REQUIRE(tasks != NULL);
    int threads = 0;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) threads += entry->d_name[0] != '.';
    closedir(tasks);
    printf("threads %d secure %lu\n", threads, getauxval(AT_SECURE));
    return finish();
}
