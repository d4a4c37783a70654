/* oci/test-seccomp.c: profiles that compile, those that must not, the cache, and what a loaded filter answers. */
#include "base/test.h"

#include "base/fd.h"
#include "oci/seccomp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROFILE(rest) "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X86\"]," rest "}"
#define ALLOW(names) PROFILE("\"syscalls\":[{\"names\":[" names "],\"action\":\"SCMP_ACT_ALLOW\"}]")

static int compile(const char *text, const char *cache, struct seccomp_prog *p, struct err *e)
{
    struct oci_seccomp s = { 0 };
    int r = json_parse(&oci_seccomp_type, text, strlen(text), &s, e);
    if (r == 0) {
        r = seccomp_compile(&s, cache, p, e);
        json_free(&oci_seccomp_type, &s);
    }
    return r;
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *field;
    } t[] = {
        { "{\"defaultAction\":\"ALLOW\"}", "linux.seccomp.defaultAction" },
        { "{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", "linux.seccomp.defaultAction" },
        { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"X\"]}", "linux.seccomp.flags" },
        { "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"X\"]}", "linux.seccomp.architectures" },
        { PROFILE("\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"errnoRet\":1}]"), "syscalls[0]" },
        { PROFILE("\"syscalls\":[{\"names\":[\"write\"],\"action\":\"SCMP_ACT_NOTIFY\"}]"), "syscalls[0]" },
        { PROFILE("\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":6,\"value\":0,"
                  "\"op\":\"SCMP_CMP_EQ\"}]}]"), "index 6" },
        { PROFILE("\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":0,\"value\":0,"
                  "\"op\":\"EQ\"}]}]"), "operator 'EQ'" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct err e = { 0 };
        struct seccomp_prog p = { 0 };
        CHECK_EQ(compile(t[i].text, NULL, &p, &e), -EINVAL);
        assert_non_null(strstr(e.text, t[i].field));
    }
}

static void test_cache(void **state)
{
    (void)state;
    char dir[] = "/tmp/tare-test-seccomp-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct err e = { 0 };
    struct seccomp_prog a = { 0 }, b = { 0 }, c = { 0 };
    CHECK_EQ(compile(ALLOW("\"read\",\"nosuchcall\""), dir, &a, &e), 0);
    assert_null(a.mapped);
    CHECK_EQ(compile(ALLOW("\"read\",\"nosuchcall\""), dir, &b, &e), 0);
    assert_non_null(b.mapped);
    CHECK_EQ(a.len, b.len);
    assert_memory_equal(a.code, b.code, a.len * sizeof(struct sock_filter));
    /* A file that somebody else could write is not used, nor is one that is cut short. */
    DIR *d = opendir(dir);
    struct dirent *ent;
    while ((ent = readdir(d))) {
        if (str_ends(ent->d_name, ".bpf")) {
            CHECK_EQ(fchmodat(dirfd(d), ent->d_name, 0666, 0), 0);
        }
    }
    CHECK_EQ(compile(ALLOW("\"read\",\"nosuchcall\""), dir, &c, &e), 0);
    assert_null(c.mapped);
    closedir(d);
    seccomp_prog_done(&a);
    seccomp_prog_done(&b);
    seccomp_prog_done(&c);
    CHECK_EQ(dir_remove_all(AT_FDCWD, dir, &e), 0);
}

/* The errno that a call gives under the filter, in a child. */
static int answer(const struct seccomp_prog *p, long nr, long arg)
{
    pid_t pid = fork();
    if (pid == 0) {
        int listener;
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (seccomp_prog_load(p, &listener) < 0) {
            _exit(255);
        }
        long r = syscall(nr, arg, 0, 0, 0, 0, 0);
        syscall(SYS_exit_group, r < 0 ? errno : 0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_answers(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct seccomp_prog p = { 0 };
    CHECK_EQ(compile(PROFILE("\"defaultErrnoRet\":13,\"syscalls\":[{\"names\":[\"exit_group\",\"getpid\",\"userfaultfd\"],"
                             "\"action\":\"SCMP_ACT_ALLOW\"},{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":["
                             "{\"index\":0,\"value\":8,\"op\":\"SCMP_CMP_EQ\"},{\"index\":0,\"value\":4294967295,\"op\":\"SCMP_CMP_EQ\"}]}]"),
                     NULL, &p, &e), 0);
    CHECK_EQ(answer(&p, SYS_getpid, 0), 0);
    CHECK_EQ(answer(&p, SYS_getppid, 0), EACCES);
    CHECK_EQ(answer(&p, SYS_personality, 0xffffffff), 0);
    CHECK_EQ(answer(&p, SYS_personality, 1), EACCES);
    CHECK_EQ(answer(&p, SYS_clone3, 0), ENOSYS); /* newer than all that is named */
    seccomp_prog_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
