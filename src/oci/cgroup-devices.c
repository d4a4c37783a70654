/*
 * oci/cgroup-devices.c: which device nodes a container may use: lists on v1, a small BPF program on v2. Rules count in their order, the
 * last match wins; the devices that every container has are appended.
 */
#include "base/fd.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ALL_ACCESS = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE };

struct rule {
    bool allow;
    char type; /* a, b, c */
    int64_t major, minor; /* -1: all */
    unsigned access;      /* BPF_DEVCG_ACC_* */
};

static const struct rule always[] = {
    { true, 'c', -1, -1, BPF_DEVCG_ACC_MKNOD },
    { true, 'b', -1, -1, BPF_DEVCG_ACC_MKNOD },
    { true, 'c', 1, 3, 7 }, /* null */
    { true, 'c', 1, 5, 7 }, /* zero */
    { true, 'c', 1, 7, 7 }, /* full */
    { true, 'c', 1, 8, 7 }, /* random */
    { true, 'c', 1, 9, 7 }, /* urandom */
    { true, 'c', 5, 0, 7 }, /* tty */
    { true, 'c', 5, 1, 7 }, /* console */
    { true, 'c', 5, 2, 7 }, /* ptmx */
    { true, 'c', 136, -1, 7 }, /* pts */
};

static int rule_of(const struct oci_device_rule *d, struct rule *ret, size_t i, struct err *e)
{
    struct rule r = { .allow = d->allow, .type = 'a', .major = d->major ? *d->major : -1, .minor = d->minor ? *d->minor : -1, .access = 0 };
    if (!str_empty(d->type)) {
        if (d->type[1] || !strchr("abcu", d->type[0])) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.resources.devices[%zu].type: '%s' is none of a, b, c", i, d->type);
        }
        r.type = d->type[0] == 'u' ? 'c' : d->type[0];
    }
    for (const char *p = str_empty(d->access) ? "rwm" : d->access; *p; p++) {
        unsigned bit = *p == 'r' ? BPF_DEVCG_ACC_READ : *p == 'w' ? BPF_DEVCG_ACC_WRITE : *p == 'm' ? BPF_DEVCG_ACC_MKNOD : 0;
        if (!bit) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.resources.devices[%zu].access: '%s' is made of other letters than r, w, m", i, d->access);
        }
        r.access |= bit;
    }
    if (r.major > INT32_MAX || r.minor > INT32_MAX) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.resources.devices[%zu]: no such device number", i);
    }
    *ret = r;
    return 0;
}

static bool is_everything(const struct rule *r)
{
    return r->type == 'a' && r->major < 0 && r->minor < 0 && r->access == ALL_ACCESS;
}

static int rules_of(const struct oci_device_rule *d, size_t n, struct rule **ret, size_t *ret_n, struct err *e)
{
    CLEANUP_FREE struct rule *all = calloc(n + ARRAY_LEN(always), sizeof(*all));
    if (!all) {
        return err_oom(e);
    }
    for (size_t i = 0; i < n; i++) {
        int r = rule_of(&d[i], &all[i], i, e);
        if (r < 0) {
            return r;
        }
    }
    memcpy(all + n, always, sizeof(always));
    *ret_n = n + ARRAY_LEN(always);
    *ret = PTR_STEAL(all);
    return 0;
}

static struct bpf_insn jump_ne(unsigned reg, int32_t value)
{
    struct bpf_insn i = { .code = BPF_JMP | BPF_JNE | BPF_K, .imm = value };
    i.dst_reg = reg & 0xfu;
    return i;
}

/*
 * Appends the test of one rule; every failed condition jumps behind it. Register 3 holds what is asked for and was not allowed yet:
 * an allowing rule takes its letters away and ends when nothing is left, a denying one ends when one of its letters is left.
 * Returns the number of instructions.
 */
static size_t rule_code(const struct rule *r, struct bpf_insn *out)
{
    size_t n = 0;
    if (r->type != 'a') {
        out[n++] = jump_ne(BPF_REG_2, r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    }
    if (r->major >= 0) {
        out[n++] = jump_ne(BPF_REG_4, (int32_t)r->major);
    }
    if (r->minor >= 0) {
        out[n++] = jump_ne(BPF_REG_5, (int32_t)r->minor);
    }
    if (r->access != ALL_ACCESS && r->allow) {
        out[n++] = (struct bpf_insn){ .code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = BPF_REG_3, .imm = (int32_t)(ALL_ACCESS & ~r->access) };
        out[n++] = jump_ne(BPF_REG_3, 0);
    } else if (r->access != ALL_ACCESS) {
        out[n++] = (struct bpf_insn){ .code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_3 };
        out[n++] = (struct bpf_insn){ .code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = BPF_REG_1, .imm = (int32_t)r->access };
        out[n++] = (struct bpf_insn){ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_1, .imm = 0 };
    }
    out[n++] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = r->allow };
    out[n++] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
    for (size_t i = 0; i < n; i++) {
        if (BPF_CLASS(out[i].code) == BPF_JMP && BPF_OP(out[i].code) != BPF_EXIT) {
            out[i].off = (int16_t)(n - i - 1);
        }
    }
    return n;
}

int device_program(const struct oci_device_rule *d, size_t n_rules, struct bpf_insn **ret, size_t *ret_len, struct err *e)
{
    CLEANUP_FREE struct rule *all = NULL;
    size_t n;
    int r = rules_of(d, n_rules, &all, &n, e);
    if (r < 0) {
        return r;
    }
    struct bpf_insn *code = calloc(n * 8 + 8, sizeof(*code));
    if (!code) {
        return err_oom(e);
    }
    /* struct bpf_cgroup_dev_ctx: access_type (type in the low half, access in the high one), major, minor. */
    const struct bpf_insn head[] = {
        { .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_1, .off = 0 },
        { .code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = BPF_REG_3, .src_reg = BPF_REG_2 },
        { .code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = BPF_REG_2, .imm = 0xffff },
        { .code = BPF_ALU | BPF_RSH | BPF_K, .dst_reg = BPF_REG_3, .imm = 16 },
        { .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_4, .src_reg = BPF_REG_1, .off = 4 },
        { .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_5, .src_reg = BPF_REG_1, .off = 8 },
    };
    memcpy(code, head, sizeof(head));
    size_t len = ARRAY_LEN(head);
    bool closed = false;
    for (size_t i = n; i-- > 0 && !closed;) {
        len += rule_code(&all[i], code + len);
        /* What matches everything ends the search: code behind it would be unreachable, which the kernel refuses. */
        closed = is_everything(&all[i]);
    }
    if (!closed) {
        code[len++] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 };
        code[len++] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
    }
    *ret = code;
    *ret_len = len;
    return 0;
}

static int bpf(int cmd, union bpf_attr *a)
{
    return (int)syscall(SYS_bpf, cmd, a, sizeof(*a));
}

static int attached_ids(int dir, uint32_t ids[64], uint32_t *n)
{
    union bpf_attr a = { 0 };
    a.query.target_fd = (uint32_t)dir;
    a.query.attach_type = BPF_CGROUP_DEVICE;
    a.query.prog_ids = (uint64_t)(uintptr_t)ids;
    a.query.prog_cnt = 64;
    if (bpf(BPF_PROG_QUERY, &a) < 0) {
        return -errno;
    }
    *n = a.query.prog_cnt;
    return 0;
}

static void detach(int dir, uint32_t id)
{
    union bpf_attr a = { 0 };
    a.prog_id = id;
    CLEANUP_FD int fd = bpf(BPF_PROG_GET_FD_BY_ID, &a);
    if (fd >= 0) {
        union bpf_attr d = { 0 };
        d.target_fd = (uint32_t)dir;
        d.attach_bpf_fd = (uint32_t)fd;
        d.attach_type = BPF_CGROUP_DEVICE;
        (void)bpf(BPF_PROG_DETACH, &d);
    }
}

static int devices_v2(const struct oci_cgroup *cg, int dir, const struct oci_resources *res, struct err *e)
{
    CLEANUP_FREE struct bpf_insn *code = NULL;
    size_t len;
    int r = device_program(res->devices.v, res->devices.n, &code, &len, e);
    if (r < 0) {
        return r;
    }
    union bpf_attr a = { 0 };
    a.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    a.insn_cnt = (uint32_t)len;
    a.insns = (uint64_t)(uintptr_t)code;
    a.license = (uint64_t)(uintptr_t) "Apache-2.0";
    CLEANUP_FD int prog = bpf(BPF_PROG_LOAD, &a);
    if (prog < 0) {
        return (errno == EPERM || errno == EACCES) && cg->tolerant ? 0 : err_sys(e, errno, "linux.resources.devices: load the BPF program");
    }
    uint32_t old[64], n = 0;
    (void)attached_ids(dir, old, &n);
    union bpf_attr t = { 0 };
    t.target_fd = (uint32_t)dir;
    t.attach_bpf_fd = (uint32_t)prog;
    t.attach_type = BPF_CGROUP_DEVICE;
    t.attach_flags = BPF_F_ALLOW_MULTI;
    if (bpf(BPF_PROG_ATTACH, &t) < 0) {
        return (errno == EPERM || errno == EACCES) && cg->tolerant ? 0 : err_sys(e, errno, "linux.resources.devices: attach the BPF program");
    }
    /* All attached programs have to agree: the old ones go only when the new one is there, so that no moment is without. */
    for (uint32_t i = 0; i < n; i++) {
        detach(dir, old[i]);
    }
    return 0;
}

static int rule_text(const struct rule *r, char type, char *out, size_t size)
{
    char major[24] = "*", minor[24] = "*";
    if (r->major >= 0) {
        snprintf(major, sizeof(major), "%lld", (long long)r->major);
    }
    if (r->minor >= 0) {
        snprintf(minor, sizeof(minor), "%lld", (long long)r->minor);
    }
    return snprintf(out, size, "%c %s:%s %s%s%s", type, major, minor, r->access & BPF_DEVCG_ACC_READ ? "r" : "",
                    r->access & BPF_DEVCG_ACC_WRITE ? "w" : "", r->access & BPF_DEVCG_ACC_MKNOD ? "m" : "");
}

/* The kernel takes everything that begins with an "a" for all devices: a narrower rule is written for both types. */
static int rule_write(const struct rule *r, const int fds[2], bool tolerant, struct err *e)
{
    static const char all[] = "a", char_only[] = "c", block_only[] = "b", both[] = "cb";
    const char *types = is_everything(r) ? all : r->type == 'c' ? char_only : r->type == 'b' ? block_only : both;
    for (; *types; types++) {
        char text[80];
        int len = *types == 'a' ? snprintf(text, sizeof(text), "a") : rule_text(r, *types, text, sizeof(text));
        if (write(fds[r->allow], text, (size_t)len) < 0 && !(tolerant && (errno == EPERM || errno == EACCES))) {
            return err_sys(e, errno, "linux.resources.devices: %s '%s'", r->allow ? "allow" : "deny", text);
        }
    }
    return 0;
}

static int devices_v1(const struct oci_cgroup *cg, int dir, const struct oci_resources *res, struct err *e)
{
    static const struct rule nothing = { false, 'a', -1, -1, ALL_ACCESS };
    CLEANUP_FREE struct rule *all = NULL;
    size_t n, first = 0;
    int r = rules_of(res->devices.v, res->devices.n, &all, &n, e);
    CLEANUP_FD int allow = openat(dir, "devices.allow", O_WRONLY | O_CLOEXEC);
    CLEANUP_FD int deny = openat(dir, "devices.deny", O_WRONLY | O_CLOEXEC);
    const int fds[2] = { deny, allow };
    if (r == 0 && (allow < 0 || deny < 0)) {
        return err_sys(e, errno, "linux.resources.devices: open the device lists");
    }
    /* What comes before the last rule for everything has no effect. Without one a new cgroup would have all of its parent's. */
    for (size_t i = 0; r == 0 && i < n; i++) {
        first = is_everything(&all[i]) ? i : first;
    }
    if (r == 0 && !is_everything(&all[first])) {
        r = rule_write(&nothing, fds, cg->tolerant, e);
    }
    bool open = r == 0 && is_everything(&all[first]) && all[first].allow;
    for (size_t i = first; r == 0 && i < n; i++) {
        /* Where all are allowed the kernel counts exceptions: allowing one once more would be one. */
        if (i == first || !open || !all[i].allow) {
            r = rule_write(&all[i], fds, cg->tolerant, e);
        }
    }
    return r;
}

int cgroup_devices_apply(struct oci_cgroup *cg, const struct oci_resources *res, struct err *e)
{
    bool v2;
    int dir = cgroup_dir(cg, "devices", &v2);
    if (dir < 0) {
        return 0;
    }
    return v2 ? devices_v2(cg, dir, res, e) : devices_v1(cg, dir, res, e);
}
