/*
 * oci/seccomp-compile.c: a profile as a BPF program, by libseccomp, as a binary tree (a linear list of Docker's profile costs each
 * system call more). In front of it come a few instructions of ours: a call that is newer than anything the profile names is answered with
 * ENOSYS, so that a libc falls back to the older call instead of meeting the profile's EPERM.
 */
#include "oci/seccomp-compile.h"

#include "base/fd.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

enum { X32_BIT = 0x40000000, PROGRAM_MAX = 4096 /* instructions: BPF_MAXINSNS */ };

struct name_value {
    const char *name;
    uint32_t value;
};

static const struct name_value actions[] = {
    { "SCMP_ACT_KILL", SCMP_ACT_KILL },
    { "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
    { "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
    { "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
    { "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0) },
    { "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0) },
    { "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
    { "SCMP_ACT_LOG", SCMP_ACT_LOG },
    { "SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY },
};

static const struct name_value operators[] = {
    { "SCMP_CMP_NE", SCMP_CMP_NE }, { "SCMP_CMP_LT", SCMP_CMP_LT }, { "SCMP_CMP_LE", SCMP_CMP_LE },
    { "SCMP_CMP_EQ", SCMP_CMP_EQ }, { "SCMP_CMP_GE", SCMP_CMP_GE }, { "SCMP_CMP_GT", SCMP_CMP_GT },
    { "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
};

static const struct name_value archs[] = {
    { "SCMP_ARCH_X86", SCMP_ARCH_X86 },
    { "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64 },
    { "SCMP_ARCH_X32", SCMP_ARCH_X32 },
    { "SCMP_ARCH_ARM", SCMP_ARCH_ARM },
    { "SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64 },
    { "SCMP_ARCH_MIPS", SCMP_ARCH_MIPS },
    { "SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64 },
    { "SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32 },
    { "SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL },
    { "SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64 },
    { "SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32 },
    { "SCMP_ARCH_PPC", SCMP_ARCH_PPC },
    { "SCMP_ARCH_PPC64", SCMP_ARCH_PPC64 },
    { "SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE },
    { "SCMP_ARCH_S390", SCMP_ARCH_S390 },
    { "SCMP_ARCH_S390X", SCMP_ARCH_S390X },
    { "SCMP_ARCH_PARISC", SCMP_ARCH_PARISC },
    { "SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64 },
    { "SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64 },
};

static const struct name_value flags_known[] = {
    { "SECCOMP_FILTER_FLAG_TSYNC", 0 }, /* one thread: nothing to synchronise */
    { "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
    { "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
    { "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV },
};

static const struct name_value *find(const struct name_value *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(table[i].name, name)) {
            return &table[i];
        }
    }
    return NULL;
}

#define NAMES_OF(function, table)                                                                  \
    const char *const *function(void)                                                              \
    {                                                                                              \
        return table##_names;                                                                      \
    }

static const char *const actions_names[] = { "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                                             "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE",
                                             "SCMP_ACT_TRAP", NULL };
static const char *const operators_names[] = { "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                                               "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE", NULL };
static const char *const archs_names[] = { "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64",
                                           "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64",
                                           "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64",
                                           "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64",
                                           "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_X32", "SCMP_ARCH_X86",
                                           "SCMP_ARCH_X86_64", NULL };
static const char *const flags_names[] = { "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                                           "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", NULL };
NAMES_OF(seccomp_actions, actions)
NAMES_OF(seccomp_operators, operators)
NAMES_OF(seccomp_archs, archs)
NAMES_OF(seccomp_flags_known, flags)

int seccomp_flags_parse(const struct oci_seccomp *s, unsigned *ret, struct err *e)
{
    /* Without the field runc switches the speculation mitigation off, which costs more than the filter does. */
    unsigned flags = s->flags ? 0 : SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    for (char **v = s->flags; v && *v; v++) {
        const struct name_value *f = find(flags_known, ARRAY_LEN(flags_known), *v);
        if (!f) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.seccomp.flags: '%s' is not known", *v);
        }
        flags |= f->value;
    }
    *ret = flags;
    return 0;
}

/* The number of an action with its data; errno is EPERM unless it is given, as the specification has it. */
static int action_of(const char *name, const uint32_t *errno_ret, uint32_t *ret, struct err *e)
{
    const struct name_value *a = find(actions, ARRAY_LEN(actions), name);
    if (!a) {
        return err_set(e, EINVAL, ERR_INVALID, "action '%s' is not known", name);
    }
    bool has_data = a->value == SCMP_ACT_ERRNO(0) || a->value == SCMP_ACT_TRACE(0);
    if (errno_ret && !has_data) {
        return err_set(e, EINVAL, ERR_INVALID, "errnoRet does not go with %s", name);
    }
    if (errno_ret && *errno_ret > 0xffff) {
        return err_set(e, EINVAL, ERR_INVALID, "errnoRet %u is out of range", *errno_ret);
    }
    *ret = has_data ? a->value | (errno_ret ? *errno_ret : EPERM) : a->value;
    return 0;
}

static int add_archs(scmp_filter_ctx f, const struct oci_seccomp *s, struct err *e)
{
    for (char **v = s->architectures; v && *v; v++) {
        const struct name_value *a = find(archs, ARRAY_LEN(archs), *v);
        if (!a) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.seccomp.architectures: '%s' is not known", *v);
        }
        int r = seccomp_arch_add(f, a->value);
        if (r < 0 && r != -EEXIST) {
            return err_sys(e, -r, "linux.seccomp.architectures: %s", *v);
        }
    }
    return 0;
}

static int compare_of(const struct oci_seccomp_arg *a, struct scmp_arg_cmp *ret, struct err *e)
{
    const struct name_value *op = find(operators, ARRAY_LEN(operators), a->op);
    if (!op) {
        return err_set(e, EINVAL, ERR_INVALID, "operator '%s' is not known", a->op);
    }
    if (a->index > 5) {
        return err_set(e, EINVAL, ERR_INVALID, "index %u: a system call has six arguments", a->index);
    }
    *ret = (struct scmp_arg_cmp){ .arg = a->index, .op = (enum scmp_compare)op->value, .datum_a = a->value, .datum_b = a->value_two };
    return 0;
}

/* Conditions on different arguments have to hold together; several on one argument are alternatives (as runc reads them). */
static int add_name(scmp_filter_ctx f, uint32_t action, int nr, const struct scmp_arg_cmp *args, unsigned n)
{
    unsigned seen = 0;
    bool alternatives = false;
    for (unsigned i = 0; i < n; i++) {
        alternatives = alternatives || (seen & (1u << args[i].arg));
        seen |= 1u << args[i].arg;
    }
    int r = 0;
    if (!alternatives) {
        r = seccomp_rule_add_array(f, action, nr, n, args);
    }
    for (unsigned i = 0; alternatives && r == 0 && i < n; i++) {
        r = seccomp_rule_add_array(f, action, nr, 1, &args[i]);
    }
    /* The same rule twice is no error; neither is a call that one of the architectures does not have. */
    return r == -EEXIST || r == -EDOM ? 0 : r;
}

static int add_rule(scmp_filter_ctx f, const struct oci_seccomp_rule *rule, uint32_t default_action, int *max, struct err *e)
{
    struct scmp_arg_cmp args[12];
    uint32_t action;
    int r = action_of(rule->action, rule->errno_ret, &action, e);
    if (r == 0 && rule->args.n > ARRAY_LEN(args)) {
        r = err_set(e, E2BIG, ERR_INVALID, "args: more than %zu conditions", ARRAY_LEN(args));
    }
    for (size_t i = 0; r == 0 && i < rule->args.n; i++) {
        r = compare_of(&rule->args.v[i], &args[i], e);
    }
    if (r < 0) {
        return r;
    }
    for (char **v = rule->names; *v; v++) {
        int nr = seccomp_syscall_resolve_name(*v);
        if (nr == __NR_SCMP_ERROR) {
            continue; /* newer than the library here, or of another architecture: the default action holds */
        }
        if (action == SCMP_ACT_NOTIFY && str_eq(*v, "write")) {
            return err_set(e, EINVAL, ERR_INVALID, "SCMP_ACT_NOTIFY cannot be used for write: sending the listener needs it");
        }
        *max = nr > *max ? nr : *max;
        if (action == default_action) {
            continue;
        }
        r = add_name(f, action, nr, args, (unsigned)rule->args.n);
        if (r < 0) {
            return err_sys(e, -r, "system call %s", *v);
        }
    }
    return 0;
}

/* libseccomp writes only to a descriptor. */
static int export_bpf(scmp_filter_ctx f, struct buf *out, struct err *e)
{
    CLEANUP_FD int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "create a memfd");
    }
    int r = seccomp_export_bpf(f, fd);
    if (r < 0) {
        return err_sys(e, -r, "compile linux.seccomp");
    }
    if (lseek(fd, 0, SEEK_SET) < 0) {
        return err_sys(e, errno, "rewind");
    }
    r = fd_read_all(fd, out, PROGRAM_MAX * sizeof(struct sock_filter));
    return r < 0 ? err_sys(e, -r, "read the compiled filter") : 0;
}

static uint32_t native_audit_arch(void)
{
#if defined(__x86_64__)
    return AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
    return AUDIT_ARCH_AARCH64;
#else
    return 0;
#endif
}

/* Only where the profile refuses by default: one that allows has to keep allowing what is new. */
static void add_newer_calls(struct buf *out, uint32_t default_action, int max)
{
    uint32_t arch = native_audit_arch();
    bool refuses = default_action == SCMP_ACT_KILL_PROCESS || default_action == SCMP_ACT_KILL_THREAD ||
                   (default_action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO;
    if (!arch || !refuses || max <= 0) {
        return;
    }
    const struct sock_filter newer_calls[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)max, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    buf_add(out, newer_calls, sizeof(newer_calls));
}

static int build(scmp_filter_ctx f, const struct oci_seccomp *s, uint32_t action, struct buf *out, struct err *e)
{
    int max = -1;
    int r = add_archs(f, s, e);
    for (size_t i = 0; r == 0 && i < s->syscalls.n; i++) {
        r = add_rule(f, &s->syscalls.v[i], action, &max, e);
        if (r < 0) {
            err_wrap(e, "linux.seccomp.syscalls[%zu]", i);
        }
    }
    if (r < 0) {
        return r;
    }
    seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree; the list works too where it is refused */
    add_newer_calls(out, action, max);
    r = export_bpf(f, out, e);
    if (r == 0 && buf_failed(out)) {
        return err_oom(e);
    }
    if (r == 0 && out->len / sizeof(struct sock_filter) > PROGRAM_MAX) {
        return err_set(e, E2BIG, ERR_INVALID, "linux.seccomp: the compiled filter has more than %d instructions", PROGRAM_MAX);
    }
    return r;
}

int seccomp_build(const struct oci_seccomp *s, struct buf *out, struct err *e)
{
    uint32_t action;
    int r = action_of(s->default_action, s->default_errno_ret, &action, e);
    if (r < 0) {
        return err_wrap(e, "linux.seccomp.defaultAction");
    }
    if (action == SCMP_ACT_NOTIFY) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default");
    }
    scmp_filter_ctx f = seccomp_init(action);
    if (!f) {
        return err_set(e, EINVAL, ERR_UNSUPPORTED, "linux.seccomp.defaultAction: %s does not work on this kernel", s->default_action);
    }
    r = build(f, s, action, out, e);
    seccomp_release(f);
    return r;
}
