/* Work for the compiler, and for the program it makes: a table of strings that grows, with a sum at the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry { char *key; size_t count; struct entry *next; };
static struct entry **table;
static size_t buckets = 16, entries;

static size_t hash(const char *text) {
    size_t h = 1469598103934665603u;
    while (*text) h = (h ^ (unsigned char)*text++) * 1099511628211u;
    return h;
}

static void grow(void) {
    size_t old = buckets;
    struct entry **new_table = calloc(buckets *= 2, sizeof *new_table);
    for (size_t i = 0; i < old; i++)
        for (struct entry *e = table[i], *next; e; e = next) {
            next = e->next;
            e->next = new_table[hash(e->key) % buckets];
            new_table[hash(e->key) % buckets] = e;
        }
    free(table);
    table = new_table;
}

static void count(const char *key) {
    struct entry *e = table[hash(key) % buckets];
    while (e && strcmp(e->key, key)) e = e->next;
    if (!e) {
        if (++entries > buckets) grow();
        e = malloc(sizeof *e);
        e->key = strdup(key);
        e->count = 0;
        e->next = table[hash(key) % buckets];
        table[hash(key) % buckets] = e;
    }
    e->count++;
}

int main(void) {
    table = calloc(buckets, sizeof *table);
    char *line = NULL;
    size_t room = 0, sum = 0;
    for (unsigned n = 0; n < 300000; n++) {
        size_t need = 1 + n % 3000;
        if (need > room) line = realloc(line, room = need * 2);
        snprintf(line, room, "k%u", n * 7919u % 65536u);
        count(line);
    }
    for (size_t i = 0; i < buckets; i++)
        for (struct entry *e = table[i]; e; e = e->next) sum += e->count * hash(e->key);
    printf("%zu entries, sum %zx\n", entries, sum);
    return 0;
}
