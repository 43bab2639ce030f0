/* Fills blocks with bytes that depend on a seed and on the place, and finds the first that changed. */
#ifndef PATTERN_H
#define PATTERN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

__attribute__((unused)) static inline uint64_t pattern_word(uint64_t seed, size_t index) {
    return (seed + index) * 0x9e3779b97f4a7c15u;
}

__attribute__((unused)) static void fill(void *block, size_t bytes, uint64_t seed) {
    unsigned char *at = (unsigned char *)block;
    size_t words = bytes / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t word = pattern_word(seed, i);
        memcpy(at + 8 * i, &word, 8);
    }
    uint64_t last = pattern_word(seed, words);
    memcpy(at + 8 * words, &last, bytes % 8);
}

/* Whether the first `bytes` are as `fill` left them. */
__attribute__((unused)) static int intact(const void *block, size_t bytes, uint64_t seed) {
    const unsigned char *at = (const unsigned char *)block;
    size_t words = bytes / 8;
    uint64_t differences = 0;
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, at + 8 * i, 8);
        differences |= word ^ pattern_word(seed, i);
    }
    uint64_t last = pattern_word(seed, words);
    return differences == 0 && memcmp(at + 8 * words, &last, bytes % 8) == 0;
}

__attribute__((unused)) static int all_zero(const void *block, size_t bytes) {
    const unsigned char *at = (const unsigned char *)block;
    uint64_t bits = 0;
    size_t words = bytes / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, at + 8 * i, 8);
        bits |= word;
    }
    for (size_t i = 8 * words; i < bytes; i++) bits |= at[i];
    return bits == 0;
}

/* A small generator; each thread has a state of its own. */
__attribute__((unused)) static inline uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
