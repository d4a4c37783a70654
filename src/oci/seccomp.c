/*
 * oci/seccomp.c: the cache of compiled filters, and loading one. A file of the cache holds the whole profile that it was made from,
 * which is compared: the hash only finds the file, so a collision costs a compilation and can never load a foreign filter.
 */
#include "oci/seccomp.h"

#include "base/fd.h"
#include "oci/seccomp-compile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CACHE_MAGIC = 0x73657474, CACHE_VERSION = 1, CACHE_FILE_MAX = 4 << 20 };

/* What a file of the cache begins with; then the profile's key, padding to 8 bytes, and the instructions. */
struct cache_head {
    uint32_t magic, version;
    uint32_t key_len, n_instructions;
};

static size_t code_offset(size_t key_len)
{
    return (sizeof(struct cache_head) + key_len + 7) & ~(size_t)7;
}

void seccomp_prog_done(struct seccomp_prog *p)
{
    if (p->mapped) {
        munmap(p->mapped, p->mapped_len);
    } else {
        free(p->code);
    }
    *p = (struct seccomp_prog){ 0 };
}

static void key_str(struct buf *b, const char *s)
{
    if (s) {
        buf_addc(b, '+');
        buf_add(b, s, strlen(s) + 1);
    } else {
        buf_addc(b, '-');
    }
}

static void key_num(struct buf *b, uint64_t v)
{
    buf_add(b, &v, sizeof(v));
}

static void key_strs(struct buf *b, char *const *v)
{
    key_num(b, strv_len(v));
    for (; v && *v; v++) {
        key_str(b, *v);
    }
}

static void key_errno(struct buf *b, const uint32_t *v)
{
    key_num(b, v ? 1 + (uint64_t)*v : 0);
}

/* Everything that the program depends on, in a form that two different profiles cannot share. */
static void make_key(const struct oci_seccomp *s, struct buf *b)
{
    const struct scmp_version *v = seccomp_version();
    key_num(b, v ? (uint64_t)v->major << 40 | (uint64_t)v->minor << 20 | v->micro : 0);
    key_str(b, TARE_VERSION);
    key_str(b, s->default_action);
    key_errno(b, s->default_errno_ret);
    key_strs(b, s->architectures);
    key_num(b, s->syscalls.n);
    for (size_t i = 0; i < s->syscalls.n; i++) {
        const struct oci_seccomp_rule *r = &s->syscalls.v[i];
        key_strs(b, r->names);
        key_str(b, r->action);
        key_errno(b, r->errno_ret);
        key_num(b, r->args.n);
        for (size_t k = 0; k < r->args.n; k++) {
            key_num(b, r->args.v[k].index);
            key_num(b, r->args.v[k].value);
            key_num(b, r->args.v[k].value_two);
            key_str(b, r->args.v[k].op);
        }
    }
}

/* FNV-1a: a name for a file, nothing more. */
static uint64_t hash(const struct buf *b)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < b->len; i++) {
        h = (h ^ (unsigned char)b->data[i]) * 0x100000001b3u;
    }
    return h;
}

/* A file that others could have written is not used. */
static bool trusted(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 022) && st->st_size > 0 && st->st_size <= CACHE_FILE_MAX;
}

static bool cache_matches(const char *map, size_t len, const struct buf *key)
{
    struct cache_head h;
    if (len < sizeof(h)) {
        return false;
    }
    memcpy(&h, map, sizeof(h));
    size_t at = code_offset(key->len);
    return h.magic == CACHE_MAGIC && h.version == CACHE_VERSION && h.key_len == key->len && h.n_instructions > 0 &&
           h.n_instructions <= BPF_MAXINSNS && len == at + h.n_instructions * sizeof(struct sock_filter) &&
           memcmp(map + sizeof(h), key->data, key->len) == 0;
}

static bool cache_get(int dir, const char *name, const struct buf *key, struct seccomp_prog *p)
{
    CLEANUP_FD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !trusted(&st)) {
        return false;
    }
    size_t len = (size_t)st.st_size;
    char *map = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED) {
        return false;
    }
    if (!cache_matches(map, len, key)) {
        munmap(map, len);
        return false;
    }
    size_t at = code_offset(key->len);
    p->mapped = map;
    p->mapped_len = len;
    p->code = (struct sock_filter *)(void *)(map + at);
    p->len = (len - at) / sizeof(struct sock_filter);
    return true;
}

static void cache_put(int dir, const char *name, const struct buf *key, const struct buf *code)
{
    static const char zeros[8];
    struct cache_head h = { CACHE_MAGIC, CACHE_VERSION, (uint32_t)key->len, (uint32_t)(code->len / sizeof(struct sock_filter)) };
    CLEANUP_BUF struct buf b = { 0 };
    buf_add(&b, &h, sizeof(h));
    buf_add(&b, key->data, key->len);
    buf_add(&b, zeros, code_offset(key->len) - sizeof(h) - key->len);
    buf_add(&b, code->data, code->len);
    struct err ignored = { 0 };
    if (!buf_failed(&b) && b.len <= CACHE_FILE_MAX && file_replace(dir, name, b.data, b.len, 0600, false, &ignored) < 0) {
        return; /* full or read-only: it is compiled again next time */
    }
}

static int cache_open(const char *cache)
{
    CLEANUP_FD int dir = open(cache, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (dir < 0 && mkdir(cache, 0700) == 0) {
        dir = open(cache, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (dir < 0 || fstat(dir, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022)) {
        return -1;
    }
    return fd_steal(&dir);
}

static bool uses_notify(const struct oci_seccomp *s)
{
    for (size_t i = 0; i < s->syscalls.n; i++) {
        if (str_eq(s->syscalls.v[i].action, "SCMP_ACT_NOTIFY")) {
            return true;
        }
    }
    return false;
}

int seccomp_compile(const struct oci_seccomp *s, const char *cache, struct seccomp_prog *ret, struct err *e)
{
    struct seccomp_prog p = { .notify = uses_notify(s) };
    int r = seccomp_flags_parse(s, &p.flags, e);
    if (r < 0) {
        return r;
    }
    CLEANUP_BUF struct buf key = { 0 };
    CLEANUP_BUF struct buf code = { 0 };
    CLEANUP_FD int dir = cache ? cache_open(cache) : -1;
    char name[32] = "";
    if (dir >= 0) {
        make_key(s, &key);
        if (buf_failed(&key)) {
            return err_oom(e);
        }
        snprintf(name, sizeof(name), "%016llx.bpf", (unsigned long long)hash(&key));
    }
    if (dir >= 0 && cache_get(dir, name, &key, &p)) {
        *ret = p;
        return 0;
    }
    r = seccomp_build(s, &code, e);
    if (r < 0) {
        return r;
    }
    if (dir >= 0) {
        cache_put(dir, name, &key, &code);
    }
    p.len = code.len / sizeof(struct sock_filter);
    p.code = (struct sock_filter *)(void *)buf_steal(&code);
    *ret = p;
    return 0;
}

int seccomp_prog_load(const struct seccomp_prog *p, int *ret_listener)
{
    *ret_listener = -1;
    if (!p->code) {
        return 0;
    }
    struct sock_fprog prog = { .len = (unsigned short)p->len, .filter = p->code };
    unsigned flags = p->flags;
    if (p->notify) {
        flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
    } else {
        flags &= ~(unsigned)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV; /* the kernel takes it only with a listener */
    }
    long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
    if (r < 0) {
        return -errno;
    }
    if (p->notify) {
        *ret_listener = (int)r; /* close-on-exec from birth */
    }
    return 0;
}
