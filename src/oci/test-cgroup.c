/* oci/test-cgroup.c: the device program, by an interpreter and by the kernel's verifier. */
#include "base/test.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { R = BPF_DEVCG_ACC_READ, W = BPF_DEVCG_ACC_WRITE, M = BPF_DEVCG_ACC_MKNOD, CHR = BPF_DEVCG_DEV_CHAR, BLK = BPF_DEVCG_DEV_BLOCK };

static uint64_t alu(uint8_t op, uint64_t a, uint64_t b)
{
    switch (op) {
    case BPF_MOV:
        return b;
    case BPF_AND:
        return a & b;
    case BPF_RSH:
        return a >> (b & 31);
    default:
        fail_msg("unexpected operation %u", op);
        return 0;
    }
}

/* Runs the few instructions that the generator uses. */
static int interpret(const struct bpf_insn *code, size_t len, const uint32_t ctx[3])
{
    uint64_t reg[11] = { 0 };
    size_t steps = 0;
    for (size_t pc = 0; pc < len && steps++ < 10000; pc++) {
        const struct bpf_insn *i = &code[pc];
        uint64_t operand = BPF_SRC(i->code) == BPF_X ? reg[i->src_reg] : (uint64_t)(int64_t)i->imm;
        switch (BPF_CLASS(i->code)) {
        case BPF_LDX:
            assert_true(i->off % 4 == 0 && i->off >= 0 && i->off <= 8);
            reg[i->dst_reg] = ctx[i->off / 4];
            break;
        case BPF_ALU:
            reg[i->dst_reg] = (uint32_t)alu(BPF_OP(i->code), (uint32_t)reg[i->dst_reg], (uint32_t)operand);
            break;
        case BPF_ALU64:
            reg[i->dst_reg] = alu(BPF_OP(i->code), reg[i->dst_reg], operand);
            break;
        case BPF_JMP:
            if (BPF_OP(i->code) == BPF_EXIT) {
                return (int)reg[0];
            }
            if (BPF_OP(i->code) == BPF_JNE ? reg[i->dst_reg] != operand : reg[i->dst_reg] == operand) {
                pc += (size_t)i->off;
            }
            break;
        default:
            fail_msg("unexpected class %u", BPF_CLASS(i->code));
        }
    }
    fail_msg("the program runs out of its end");
    return -1;
}

static int64_t fuse_major = 10, fuse_minor = 229, sda = 8, big = 1 << 19;
static char any[] = "a", chr[] = "c", blk[] = "b", rd[] = "r", wr[] = "w", all[] = "rwm", none[] = "";

struct question {
    uint32_t type, access, major, minor;
    int want;
};

static void ask(const struct oci_device_rule *rules, size_t n, const struct question *q, size_t n_q)
{
    struct err e = { 0 };
    CLEANUP_FREE struct bpf_insn *code = NULL;
    size_t len = 0;
    CHECK_EQ(device_program(rules, n, &code, &len, &e), 0);
    for (size_t i = 0; i < n_q; i++) {
        const uint32_t ctx[3] = { q[i].access << 16 | q[i].type, q[i].major, q[i].minor };
        if (interpret(code, len, ctx) != q[i].want) {
            fail_msg("question %zu: %u:%u access %u", i, q[i].major, q[i].minor, q[i].access);
        }
    }
    union bpf_attr a = { 0 };
    a.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    a.insn_cnt = (uint32_t)len;
    a.insns = (uint64_t)(uintptr_t)code;
    a.license = (uint64_t)(uintptr_t) "Apache-2.0";
    int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
    if (fd < 0 && errno != EPERM && errno != ENOSYS) {
        fail_msg("the kernel refuses the program: %s", strerrorname_np(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void test_default(void **state)
{
    (void)state;
    static const struct question q[] = {
        { CHR, R | W, 1, 3, 1 }, { CHR, R, 1, 11, 0 },   { CHR, M, 1, 11, 1 },  { BLK, M, 8, 0, 1 },      { BLK, R, 8, 0, 0 },
        { CHR, R, 136, 77, 1 },  { CHR, R | M, 1, 11, 0 }, { CHR, W, 10, 229, 0 }, { BLK, R | W, 1, 3, 0 }, { CHR, R | W | M, 5, 2, 1 },
    };
    ask(NULL, 0, q, ARRAY_LEN(q));
    const struct oci_device_rule deny = { .allow = false, .type = none, .access = all };
    ask(&deny, 1, q, ARRAY_LEN(q));
}

static void test_rules_in_order(void **state)
{
    (void)state;
    const struct oci_device_rule rules[] = {
        { .allow = false, .access = all },
        { .allow = true, .type = chr, .major = &fuse_major, .minor = &fuse_minor, .access = rd },
        { .allow = true, .type = chr, .major = &fuse_major, .minor = &fuse_minor, .access = wr },
        { .allow = true, .type = blk, .major = &sda, .access = all },
        { .allow = false, .type = blk, .major = &sda, .minor = &fuse_minor, .access = wr },
        { .allow = true, .type = any, .major = &big, .access = rd },
    };
    static const struct question q[] = {
        { CHR, R, 10, 229, 1 }, { CHR, R | W, 10, 229, 1 }, { CHR, R | W | M, 10, 229, 1 }, { CHR, R, 10, 228, 0 },
        { BLK, R | W, 8, 1, 1 }, { BLK, W, 8, 229, 0 },      { BLK, R | W, 8, 229, 0 },      { BLK, R, 8, 229, 1 },
        { BLK, R, 1 << 19, 3, 1 }, { CHR, R, 1 << 19, 3, 1 }, { CHR, W, 1 << 19, 3, 0 },
    };
    ask(rules, ARRAY_LEN(rules), q, ARRAY_LEN(q));
}

static void test_privileged(void **state)
{
    (void)state;
    const struct oci_device_rule rules[] = {
        { .allow = false, .access = all },
        { .allow = true, .type = any, .access = all },
        { .allow = false, .type = blk, .major = &sda, .access = all },
    };
    static const struct question q[] = { { CHR, R | W | M, 77, 1, 1 }, { BLK, R, 8, 0, 0 }, { BLK, M, 8, 0, 1 }, { BLK, R | W, 9, 0, 1 } };
    ask(rules, ARRAY_LEN(rules), q, ARRAY_LEN(q));
}

static void test_bad_rules(void **state)
{
    (void)state;
    int64_t huge = 1ll << 40;
    char bad[] = "x";
    const struct oci_device_rule t[] = {
        { .type = bad, .access = all }, { .type = chr, .access = bad }, { .type = chr, .major = &huge, .access = all },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct err e = { 0 };
        struct bpf_insn *code = NULL;
        size_t len;
        CHECK_EQ(device_program(&t[i], 1, &code, &len, &e), -EINVAL);
        assert_non_null(strstr(e.text, "linux.resources.devices[0]"));
    }
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const bad[] = { "/a/../b", "..", "/", "//", "/a/./b", "/.." };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = { 0 };
        struct oci_cgroup *cg = NULL;
        CHECK_EQ(oci_cgroup_create(bad[i], "x", false, NULL, &cg, &e), -EINVAL);
        assert_non_null(strstr(e.text, "linux.cgroupsPath"));
        assert_null(cg);
    }
    static const char *const texts[] = { "", "cgroupfs:a", "nothing:/a", "/a" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct err e = { 0 };
        struct oci_cgroup *cg = NULL;
        CHECK_EQ(oci_cgroup_open(texts[i], &cg, &e), -EINVAL);
    }
}

static void test_systemd_names(void **state)
{
    (void)state;
    static const struct {
        const char *in, *unit, *path;
    } good[] = {
        { "system.slice:tare:abc", "tare-abc.scope", "/system.slice/tare-abc.scope" },
        { "a-b-c.slice:p:n", "p-n.scope", "/a.slice/a-b.slice/a-b-c.slice/p-n.scope" },
        { "-.slice::n", "n.scope", "/n.scope" },
        { "machine.slice:libpod:0123", "libpod-0123.scope", "/machine.slice/libpod-0123.scope" },
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct err e = { 0 };
        CLEANUP(systemd_names_done) struct systemd_names n = { 0 };
        CHECK_EQ(systemd_names_parse(good[i].in, "id", &n, &e), 0);
        assert_string_equal(n.unit, good[i].unit);
        assert_string_equal(n.path, good[i].path);
    }
    static const char *const bad[] = { "/a/b", "a:b", "a.slice:b", "a.slice:b:", "a.slice:b:c:d", "a/b.slice:c:d", "x:c:d",
                                       "--.slice:c:d", "a-.slice:c:d", "a.slice:c:../d", "a.slice:c:d e", ".slice:a:b", "a.slice:b:c.slice" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = { 0 };
        struct systemd_names n = { 0 };
        if (systemd_names_parse(bad[i], "id", &n, &e) >= 0) {
            fail_msg("%s is accepted", bad[i]);
        }
        assert_non_null(strstr(e.text, "linux.cgroupsPath"));
    }
}

static void check_list(char **list, const char *const *want)
{
    for (size_t i = 0; want[i]; i++) {
        assert_true(i < strv_len(list));
        assert_string_equal(list[i], want[i]);
    }
}

static void test_systemd_limits(void **state)
{
    (void)state;
    static const char json[] =
        "{\"memory\":{\"limit\":1000,\"swap\":3000},\"cpu\":{\"shares\":1024,\"quota\":10000,\"period\":30000,\"cpus\":\"0-2,9\"},"
        "\"pids\":{\"limit\":-1},\"blockIO\":{\"weight\":1000},\"unified\":{\"memory.high\":\"max\",\"io.max\":\"x\"}}";
    static const char *const want[] = { "MemoryMax=uint64 1000", "MemorySwapMax=uint64 2000", "CPUWeight=uint64 100",
                                        "CPUQuotaPeriodUSec=uint64 30000", "CPUQuotaPerSecUSec=uint64 340000", "AllowedCPUs=[byte 7, 2]",
                                        "TasksMax=uint64 18446744073709551615", "IOWeight=uint64 10000",
                                        "MemoryHigh=uint64 18446744073709551615", NULL };
    struct oci_resources r = { 0 };
    struct err e = { 0 };
    CLEANUP_STRV char **list = NULL;
    CHECK_EQ(json_parse(&oci_resources_type, json, sizeof(json) - 1, &r, &e), 0);
    CHECK_EQ(systemd_limits(&r, true, &list, &e), 0);
    check_list(list, want);
    CHECK_EQ(strv_len(list), ARRAY_LEN(want) - 1);
    json_free(&oci_resources_type, &r);
}

static void test_systemd_annotations(void **state)
{
    (void)state;
    static const char *const want[] = { "TimeoutStopUSec=uint64 1500000", "Description='x'", NULL };
    static const char *const bad[][2] = { { "org.systemd.property.", "1" }, { "org.systemd.property.a b", "1" },
                                          { "org.systemd.property.XSec", "-1" }, { "org.systemd.property.XSec", "1x" } };
    struct err e = { 0 };
    CLEANUP_STRV char **list = NULL;
    CLEANUP(str_map_done) struct str_map m = { 0 };
    CHECK_EQ(str_map_set(&m, "org.systemd.property.TimeoutStopSec", "1.5"), 0);
    CHECK_EQ(str_map_set(&m, "other", "x"), 0);
    CHECK_EQ(str_map_set(&m, "org.systemd.property.Description", "'x'"), 0);
    CHECK_EQ(systemd_annotations(&m, &list, &e), 0);
    check_list(list, want);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(str_map_done) struct str_map one = { 0 };
        CLEANUP_STRV char **rest = NULL;
        CHECK_EQ(str_map_set(&one, bad[i][0], bad[i][1]), 0);
        CHECK_EQ(systemd_annotations(&one, &rest, &e), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),   cmocka_unit_test(test_rules_in_order), cmocka_unit_test(test_privileged),
        cmocka_unit_test(test_bad_rules), cmocka_unit_test(test_paths), cmocka_unit_test(test_systemd_names),
        cmocka_unit_test(test_systemd_limits), cmocka_unit_test(test_systemd_annotations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
