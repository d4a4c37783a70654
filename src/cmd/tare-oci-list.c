/* cmd/tare-oci-list.c: list. */
#include "cmd/tare-oci.h"

#include <errno.h>
#include <stdio.h>

int rt_check_format(const char *format, struct err *e)
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
    int r = rt_check_format(a->format, &e);
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
