/*
 * tests/fuzz/replay.c: runs a fuzz target over files and folders of inputs without libFuzzer, so that every corpus is replayed
 * by the ordinary test run. With -n COUNT it also tries COUNT simple mutations of each input, from a fixed seed.
 */
#include "base/fd.h"
#include "base/num.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Flips, overwrites, cuts or doubles a piece: enough to leave the beaten path of each seed. */
static void mutate(struct buf *b, uint64_t *rnd)
{
    static const uint8_t special[] = { 0, 0xff, 0x7f, 0x80, '"', '{', '/', '.', '\n', ' ' };
    for (uint64_t i = next_random(rnd) % 4 + 1; i > 0 && b->len > 0; i--) {
        size_t at = (size_t)(next_random(rnd) % b->len);
        uint8_t *p = (uint8_t *)b->data + at;
        switch (next_random(rnd) % 4) {
        case 0:
            *p = (uint8_t)(*p ^ (1u << (next_random(rnd) % 8)));
            break;
        case 1:
            *p = special[next_random(rnd) % ARRAY_LEN(special)];
            break;
        case 2:
            b->len = at;
            b->data[at] = '\0';
            break;
        default: {
            size_t n = b->len - at < 32 ? b->len - at : 32;
            uint8_t piece[32];
            memcpy(piece, p, n);
            buf_add(b, piece, n);
        }
        }
    }
}

static int run_file(int dirfd, const char *name, uint64_t mutations, size_t *count)
{
    CLEANUP_BUF struct buf b = { 0 };
    struct err e = { 0 };
    if (file_read(dirfd, name, 64 << 20, &b, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)buf_str(&b), b.len);
    ++*count;
    uint64_t rnd = 0x9e3779b97f4a7c15u;
    for (uint64_t i = 0; i < mutations; i++) {
        CLEANUP_BUF struct buf m = { 0 };
        buf_add(&m, buf_str(&b), b.len);
        mutate(&m, &rnd);
        LLVMFuzzerTestOneInput((const uint8_t *)buf_str(&m), m.len);
        ++*count;
    }
    return 0;
}

static int run_path(const char *path, uint64_t mutations, size_t *count)
{
    DIR *d = opendir(path);
    if (!d) {
        return run_file(AT_FDCWD, path, mutations, count);
    }
    int r = 0;
    struct dirent *ent;
    while (r == 0 && (ent = readdir(d))) {
        if (ent->d_name[0] != '.') {
            r = run_file(dirfd(d), ent->d_name, mutations, count);
        }
    }
    closedir(d);
    return r;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    uint64_t mutations = 0;
    for (int i = 1; i < argc; i++) {
        if (str_eq(argv[i], "-n") && i + 1 < argc) {
            if (num_u64(argv[++i], &mutations) < 0) {
                fprintf(stderr, "-n: not a number: %s\n", argv[i]);
                return 2;
            }
        } else if (run_path(argv[i], mutations, &count) != 0) {
            return 1;
        }
    }
    printf("%zu inputs\n", count);
    return count ? 0 : 1;
}
