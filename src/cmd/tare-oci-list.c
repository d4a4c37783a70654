/* cmd/tare-oci-list.c: list and ps. */
#include "cmd/tare-oci.h"

#include "base/num.h"
#include "sys/spawn.h"

#include <errno.h>
#include <stdio.h>

static int check_format(const char *format, struct err *e)
{
    if (str_eq(format, "table") || str_eq(format, "json")) {
        return 0;
    }
    return err_set(e, EINVAL, ERR_INVALID, "--format: \"%.64s\" is neither table nor json", format);
}

enum { COLUMNS = 6 };

/* Rows of COLUMNS strings each, the columns as wide as their longest value and two blanks. */
static void add_table(char *const *cells, struct buf *out)
{
    size_t width[COLUMNS] = { 0 };
    for (size_t i = 0; cells && cells[i]; i++) {
        size_t n = strlen(cells[i]);
        if (n > width[i % COLUMNS]) {
            width[i % COLUMNS] = n;
        }
    }
    for (size_t i = 0; cells && cells[i]; i++) {
        bool last = i % COLUMNS == COLUMNS - 1;
        if (last) {
            buf_addf(out, "%s\n", cells[i]);
        } else {
            buf_addf(out, "%-*s", (int)width[i % COLUMNS] + 2, cells[i]);
        }
    }
}

static int add_row(char ***cells, const struct oci_container *k)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", k->status == OCI_STOPPED ? 0 : (int)k->pid);
    const char *const row[COLUMNS] = { k->id, pid, oci_status_name(k->status), k->bundle, k->created, k->owner };
    for (size_t i = 0; i < COLUMNS; i++) {
        int r = strv_push(cells, row[i] ? row[i] : "");
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* One container in the asked form; one that cannot be read (being created or removed) is told of and left out. */
static int list_one(const struct rt *g, const struct rt_list_args *a, const char *id, char ***cells, struct buf *out,
                    struct err *e)
{
    CLEANUP_OCI_CONTAINER struct oci_container *k = NULL;
    struct err why = { 0 };
    if (a->quiet) {
        buf_addf(out, "%s\n", id);
        return 0;
    }
    if (oci_load(g->root, id, &k, &why) < 0) {
        if (why.kind != ERR_NOT_FOUND) {
            rt_warn(g, why.text);
        }
        return 0;
    }
    if (str_eq(a->format, "table")) {
        return add_row(cells, k) < 0 ? err_oom(e) : 0;
    }
    buf_adds(out, out->len > 1 ? "," : "");
    return oci_state_json(k, out, e);
}

int rt_list(void *globals, void *args, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const struct rt *g = globals;
    const struct rt_list_args *a = args;
    struct err e = { 0 };
    CLEANUP_STRV char **ids = NULL;
    CLEANUP_STRV char **cells = NULL;
    CLEANUP_BUF struct buf out = { 0 };
    static const char *const header[COLUMNS] = { "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER" };
    bool json = str_eq(a->format, "json") && !a->quiet;
    int r = check_format(a->format, &e);
    r = r < 0 ? r : oci_list(g->root, &ids, &e);
    for (size_t i = 0; r == 0 && i < COLUMNS; i++) {
        r = strv_push(&cells, header[i]) < 0 ? err_oom(&e) : 0;
    }
    buf_adds(&out, json ? "[" : "");
    for (char **id = ids; r == 0 && id && *id; id++) {
        r = list_one(g, a, *id, &cells, &out, &e);
    }
    if (r < 0) {
        return rt_fail(g, 1, &e);
    }
    buf_adds(&out, json ? "]\n" : "");
    if (!a->quiet && !json) {
        add_table(cells, &out);
    }
    return rt_print(g, &out);
}

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
    if (r == 0 && argc == 0) {
        r = strv_push(&words, "-ef");
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
    if (check_format(a->format, &e) < 0 || oci_load(g->root, argv[0], &k, &e) < 0 ||
        oci_cgroup_open(k->cgroup, &cg, &e) < 0 || oci_cgroup_pids(cg, &pids, &n, &e) < 0) {
        return rt_fail(g, 1, &e);
    }
    if (str_eq(a->format, "json")) {
        buf_addc(&out, '[');
        for (size_t i = 0; i < n; i++) {
            buf_addf(&out, "%s%d", i ? "," : "", (int)pids[i]);
        }
        buf_adds(&out, "]\n");
    } else if (run_ps(argc - 1, argv + 1, pids, n, &out, &e) < 0) {
        return rt_fail(g, 1, &e);
    }
    return rt_print(g, &out);
}
