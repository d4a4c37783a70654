/*
 * cmd/tare-oci-ps.c: ps. The default table is made from /proc, so that it needs no ps program; with options of its own ps is asked, and
 * what is not the container's is left out.
 */
#include "cmd/tare-oci.h"

#include "base/fd.h"
#include "base/num.h"
#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* ---- our own table, as ps -ef has it ------------------------------------------------------------------------ */

struct row {
    char state;
    int ppid, tty;
    unsigned long long ticks, start; /* CPU time and start after boot */
};

/* The name in /proc/PID/stat may hold anything, ')' too: what follows the last one counts. */
static bool read_row(int dir, char *name, size_t len, struct row *r)
{
    CLEANUP_BUF struct buf b = { 0 };
    unsigned long long user, system;
    char *open, *close;
    if (file_read(dir, "stat", 4096, &b, NULL) < 0 || !(open = strchr(buf_str(&b), '(')) || !(close = strrchr(open, ')'))) {
        return false;
    }
    snprintf(name, len, "[%.*s]", (int)(close - open - 1), open + 1);
    if (sscanf(close + 1, " %c %d %*d %*d %d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu", &r->state, &r->ppid,
               &r->tty, &user, &system, &r->start) != 6) {
        return false;
    }
    r->ticks = user + system;
    return true;
}

static void add_user(int dir, struct buf *out)
{
    struct stat st = { 0 };
    (void)!fstat(dir, &st);
    char number[16];
    snprintf(number, sizeof(number), "%u", st.st_uid);
    /* Names come from the file alone: a static program has no other sources. */
    FILE *f = fopen("/etc/passwd", "re");
    const struct passwd *p = NULL;
    while (f && (p = fgetpwent(f)) && p->pw_uid != st.st_uid) {
    }
    buf_addf(out, "%-8.8s ", p ? p->pw_name : number);
    if (f) {
        fclose(f);
    }
}

static void add_tty(int tty, struct buf *out)
{
    unsigned major_no = (unsigned)tty >> 8 & 0xfff, minor_no = ((unsigned)tty & 0xff) | ((unsigned)tty >> 12 & 0xfff00);
    char name[32] = "?";
    if (major_no >= 136 && major_no <= 143) {
        snprintf(name, sizeof(name), "pts/%u", (major_no - 136) << 20 | minor_no);
    } else if (tty) {
        snprintf(name, sizeof(name), "%u,%u", major_no, minor_no);
    }
    buf_addf(out, "%-8s ", name);
}

static void add_start(unsigned long long start, long hz, struct buf *out)
{
    struct timespec up;
    char text[16] = "?";
    struct tm tm;
    clock_gettime(CLOCK_BOOTTIME, &up);
    time_t now = time(NULL), at = now - up.tv_sec + (time_t)(start / (unsigned long long)hz);
    if (localtime_r(&at, &tm)) {
        (void)!strftime(text, sizeof(text), now - at < 24 * 3600 ? "%H:%M" : "%b%d", &tm);
    }
    buf_addf(out, "%-5s ", text);
}

/* The arguments, with blanks between them and nothing that could drive a terminal; the name of one that has none. */
static void add_command(int dir, const char *name, struct buf *out)
{
    CLEANUP_BUF struct buf b = { 0 };
    const char *text = name;
    size_t n = strlen(name);
    if (file_read(dir, "cmdline", 64 << 10, &b, NULL) == 0 && b.len > 0) {
        text = b.data;
        n = b.data[b.len - 1] ? b.len : b.len - 1;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        buf_addc(out, c == 0 ? ' ' : c < 32 || c == 127 ? '?' : (char)c);
    }
    buf_addc(out, '\n');
}

static void add_process(pid_t pid, struct buf *out)
{
    char path[32], name[80];
    struct row r;
    long hz = sysconf(_SC_CLK_TCK);
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    CLEANUP_FD int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || !read_row(dir, name, sizeof(name), &r)) {
        return; /* it has ended meanwhile */
    }
    struct timespec up;
    clock_gettime(CLOCK_BOOTTIME, &up);
    unsigned long long seconds = r.ticks / (unsigned long long)hz, age = (unsigned long long)up.tv_sec * (unsigned long long)hz - r.start;
    add_user(dir, out);
    buf_addf(out, "%7d %7d %2llu ", (int)pid, r.ppid, age > 0 && r.ticks < age ? r.ticks * 100 / age : 0);
    add_start(r.start, hz, out);
    add_tty(r.tty, out);
    buf_addf(out, "%02llu:%02llu:%02llu ", seconds / 3600, seconds / 60 % 60, seconds % 60);
    add_command(dir, name, out);
}

/* ---- ps with options ---------------------------------------------------------------------------------------- */

static bool has_pid(const pid_t *pids, size_t n, const char *text)
{
    uint32_t pid;
    for (size_t i = 0; num_u32(text, &pid) == 0 && i < n; i++) {
        if (pids[i] == (pid_t)pid) {
            return true;
        }
    }
    return false;
}

/* The n-th word of a line, copied; "" when there are fewer. */
static void nth_word(const char *line, size_t n, char *out, size_t len)
{
    for (;; n--) {
        line += strspn(line, " \t");
        size_t word = strcspn(line, " \t\n");
        if (n == 0 || word == 0) {
            snprintf(out, len, "%.*s", (int)word, line);
            return;
        }
        line += word;
    }
}

/* ps's output without the processes that are not the container's. */
static int filter(char *text, const pid_t *pids, size_t n, struct buf *out, struct err *e)
{
    size_t column = SIZE_MAX;
    char word[64];
    for (char *line = strtok_r(text, "\n", &text); line; line = strtok_r(NULL, "\n", &text)) {
        bool header = column == SIZE_MAX;
        for (size_t i = 0; header && column == SIZE_MAX && i < 64; i++) {
            nth_word(line, i, word, sizeof(word));
            if (strcmp(word, "PID") == 0) {
                column = i;
            }
        }
        if (column == SIZE_MAX) {
            return err_set(e, EINVAL, ERR_INVALID, "ps shows no column PID with these options");
        }
        nth_word(line, column, word, sizeof(word));
        if (header || has_pid(pids, n, word)) {
            buf_addf(out, "%s\n", line);
        }
    }
    return 0;
}

static int run_ps(int argc, char **argv, const pid_t *pids, size_t n, struct buf *out, struct err *e)
{
    CLEANUP_STRV char **words = NULL;
    CLEANUP_BUF struct buf text = { 0 };
    CLEANUP_BUF struct buf errors = { 0 };
    int r = strv_push(&words, "ps");
    for (int i = 0; r == 0 && i < argc; i++) {
        r = strv_push(&words, argv[i]);
    }
    if (r < 0) {
        return err_oom(e);
    }
    const struct spawn_options o = { .path = "ps", .argv = words };
    int code = 0;
    r = spawn_run(&o, NULL, 0, 64 << 20, 30000, &text, &errors, &code, e);
    if (r < 0) {
        return err_wrap(e, "ps");
    }
    if (code != 0) {
        return err_set(e, EINVAL, ERR_INVALID, "ps failed: %.*s", (int)strcspn(buf_str(&errors), "\n"), buf_str(&errors));
    }
    return text.len > 0 ? filter(text.data, pids, n, out, e) : 0;
}

int rt_ps(void *globals, void *args, int argc, char **argv)
{
    const struct rt *g = globals;
    const struct rt_list_args *a = args;
    struct err e = { 0 };
    CLEANUP_OCI_CONTAINER struct oci_container *k = NULL;
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    CLEANUP_FREE pid_t *pids = NULL;
    CLEANUP_BUF struct buf out = { 0 };
    size_t n = 0;
    if (rt_check_format(a->format, &e) < 0 || oci_load(g->root, argv[0], &k, &e) < 0 ||
        oci_cgroup_open(k->cgroup, &cg, &e) < 0 || oci_cgroup_pids(cg, &pids, &n, &e) < 0) {
        return rt_fail(g, 1, &e);
    }
    if (str_eq(a->format, "json")) {
        buf_addc(&out, '[');
        for (size_t i = 0; i < n; i++) {
            buf_addf(&out, "%s%d", i ? "," : "", (int)pids[i]);
        }
        buf_adds(&out, "]\n");
    } else if (argc == 1) {
        buf_adds(&out, "UID          PID    PPID  C STIME TTY          TIME CMD\n");
        for (size_t i = 0; i < n; i++) {
            add_process(pids[i], &out);
        }
    } else if (run_ps(argc - 1, argv + 1, pids, n, &out, &e) < 0) {
        return rt_fail(g, 1, &e);
    }
    return rt_print(g, &out);
}
