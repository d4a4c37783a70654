/* store/db.c: see db.h: statements, their cache, and transactions. */
#include "store/db.h"

#include <errno.h>
#include <stdarg.h>

static const struct {
    int rc, code;
    enum err_kind kind;
} db_errors[] = {
    { SQLITE_BUSY, EBUSY, ERR_BUSY },       { SQLITE_LOCKED, EBUSY, ERR_BUSY },
    { SQLITE_NOMEM, ENOMEM, ERR_EXHAUSTED }, { SQLITE_FULL, ENOSPC, ERR_EXHAUSTED },
    { SQLITE_READONLY, EROFS, ERR_DENIED }, { SQLITE_PERM, EACCES, ERR_DENIED },
    { SQLITE_CANTOPEN, EIO, ERR_UNAVAILABLE }, { SQLITE_CORRUPT, EIO, ERR_UNAVAILABLE },
    { SQLITE_NOTADB, EIO, ERR_UNAVAILABLE }, { SQLITE_CONSTRAINT, EEXIST, ERR_EXISTS },
};

int db_fail(struct store *s, int rc, struct err *e, const char *what)
{
    const char *msg = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc);
    if (s->db && (sqlite3_extended_errcode(s->db) == SQLITE_CONSTRAINT_FOREIGNKEY ||
                  sqlite3_extended_errcode(s->db) == SQLITE_CONSTRAINT_TRIGGER)) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "%s: refers to something that is not there", what);
    }
    for (size_t i = 0; i < ARRAY_LEN(db_errors); i++) {
        if (db_errors[i].rc == (rc & 0xff)) {
            return err_set(e, db_errors[i].code, db_errors[i].kind, "state.db: %s: %s", what, msg);
        }
    }
    return err_set(e, EIO, ERR_INTERNAL, "state.db: %s: %s", what, msg);
}

void db_done(struct db_q *q)
{
    if (!q->s) {
        return;
    }
    if (q->slot) {
        sqlite3_reset(q->st);
        sqlite3_clear_bindings(q->st);
        q->slot->busy = false;
    } else {
        sqlite3_finalize(q->st);
    }
    pthread_mutex_unlock(&q->s->lock);
    q->s = NULL;
}

static int db_prepare(struct store *s, struct db_q *q, const char *sql, struct err *e)
{
    struct db_cached *slot = NULL;
    for (size_t i = 0; i < s->n_cache && !slot; i++) {
        slot = s->cache[i].sql == sql ? &s->cache[i] : NULL;
    }
    if (slot && !slot->busy) {
        slot->busy = true;
        q->slot = slot;
        q->st = slot->st;
        return 0;
    }
    int rc = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &q->st, NULL);
    if (rc != SQLITE_OK) {
        return db_fail(s, rc, e, "prepare");
    }
    if (!slot && s->n_cache < DB_STATEMENTS) {
        s->cache[s->n_cache] = (struct db_cached) { .sql = sql, .st = q->st, .busy = true };
        q->slot = &s->cache[s->n_cache++];
    }
    return 0;
}

static int db_query_va(struct store *s, struct db_q *q, struct err *e, const char *sql, const char *fmt, va_list ap)
{
    pthread_mutex_lock(&s->lock);
    *q = (struct db_q) { 0 };
    int r = db_prepare(s, q, sql, e);
    if (r < 0) {
        pthread_mutex_unlock(&s->lock);
        return r;
    }
    q->s = s;
    int rc = SQLITE_OK;
    for (int i = 1; *fmt && rc == SQLITE_OK; i++, fmt++) {
        if (*fmt == 't') {
            rc = sqlite3_bind_text(q->st, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
        } else {
            rc = sqlite3_bind_int64(q->st, i, va_arg(ap, int64_t));
        }
    }
    if (rc != SQLITE_OK) {
        r = db_fail(s, rc, e, "bind");
        db_done(q);
        return r;
    }
    return 0;
}

int db_query(struct store *s, struct db_q *q, struct err *e, const char *sql, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = db_query_va(s, q, e, sql, fmt, ap);
    va_end(ap);
    return r;
}

int db_step(struct db_q *q, struct err *e)
{
    int rc = sqlite3_step(q->st);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        return rc == SQLITE_ROW;
    }
    return db_fail(q->s, rc, e, "step");
}

int db_run(struct store *s, struct err *e, const char *sql, const char *fmt, ...)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    va_list ap;
    va_start(ap, fmt);
    int r = db_query_va(s, &q, e, sql, fmt, ap);
    va_end(ap);
    while (r == 0 && (r = db_step(&q, e)) > 0) {
        r = 0;
    }
    return r < 0 ? r : sqlite3_changes(s->db);
}

int db_int(struct store *s, int64_t dflt, int64_t *ret, struct err *e, const char *sql, const char *fmt, ...)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    va_list ap;
    va_start(ap, fmt);
    int r = db_query_va(s, &q, e, sql, fmt, ap);
    va_end(ap);
    if (r == 0) {
        r = db_step(&q, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = r > 0 ? sqlite3_column_int64(q.st, 0) : dflt;
    return 0;
}

int db_strings(struct store *s, char ***ret, struct err *e, const char *sql, const char *fmt, ...)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    CLEANUP_STRV char **v = strv_copy(NULL);
    va_list ap;
    va_start(ap, fmt);
    int r = db_query_va(s, &q, e, sql, fmt, ap);
    va_end(ap);
    while (r == 0 && (r = db_step(&q, e)) > 0) {
        const char *text = (const char *)sqlite3_column_text(q.st, 0);
        r = text && v ? strv_push(&v, text) : -ENOMEM;
        if (r < 0) {
            return err_oom(e);
        }
    }
    if (r < 0) {
        return r;
    }
    if (!v) {
        return err_oom(e);
    }
    *ret = PTR_STEAL(v);
    return 0;
}

int db_exec(struct store *s, const char *sql, struct err *e)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(s, rc, e, "exec");
}

int db_row(struct db_q *q, const struct db_col *cols, size_t n, void *out, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        int col = (int)i;
        void *at = (char *)out + cols[i].offset;
        int64_t num = cols[i].kind == DB_TEXT ? 0 : sqlite3_column_int64(q->st, col);
        switch (cols[i].kind) {
        case DB_TEXT:
            if (sqlite3_column_type(q->st, col) != SQLITE_NULL) {
                const char *text = (const char *)sqlite3_column_text(q->st, col);
                *(char **)at = text ? strdup(text) : NULL;
                if (!*(char **)at) {
                    return err_oom(e);
                }
            }
            break;
        case DB_I32:
            *(int32_t *)at = (int32_t)num;
            break;
        case DB_U32:
            *(uint32_t *)at = (uint32_t)num;
            break;
        case DB_I64:
            *(int64_t *)at = num;
            break;
        case DB_U64:
            *(uint64_t *)at = (uint64_t)num;
            break;
        case DB_BOOL:
            *(bool *)at = num != 0;
            break;
        }
    }
    return 0;
}

int db_rows(struct db_q *q, const struct db_col *cols, size_t n_cols, size_t size, void **v, size_t *n, void (*done)(void *),
            struct err *e)
{
    char *rows = NULL;
    size_t count = 0, cap = 0;
    int r;
    while ((r = db_step(q, e)) > 0) {
        if (array_grow(&rows, &cap, count + 1, size) < 0) {
            r = err_oom(e);
            break;
        }
        r = db_row(q, cols, n_cols, rows + count * size, e);
        count++;
        if (r < 0) {
            break;
        }
    }
    if (r < 0) {
        for (size_t i = 0; i < count; i++) {
            done(rows + i * size);
        }
        free(rows);
        return r;
    }
    *v = rows;
    *n = count;
    return 0;
}

int store_begin(struct store *s, struct store_tx *tx, struct err *e)
{
    pthread_mutex_lock(&s->lock);
    if (s->depth == 0) {
        int r = db_run(s, e, "BEGIN IMMEDIATE", "");
        if (r < 0) {
            pthread_mutex_unlock(&s->lock);
            return r;
        }
        s->doomed = false;
    }
    s->depth++;
    tx->store = s;
    return 0;
}

static void tx_end(struct store_tx *tx)
{
    struct store *s = tx->store;
    tx->store = NULL;
    pthread_mutex_unlock(&s->lock);
}

int store_commit(struct store_tx *tx, struct err *e)
{
    struct store *s = tx->store;
    if (s->depth > 1) {
        s->depth--;
        tx_end(tx);
        return 0;
    }
    int r = s->doomed ? err_set(e, ECANCELED, ERR_INTERNAL, "a part of the transaction was rolled back") : 0;
    if (r == 0) {
        r = db_run(s, e, "COMMIT", "");
    }
    if (r < 0) {
        store_rollback(tx);
        return r;
    }
    s->depth = 0;
    tx_end(tx);
    return 0;
}

void store_rollback(struct store_tx *tx)
{
    struct store *s = tx->store;
    if (!s) {
        return;
    }
    if (--s->depth > 0) {
        s->doomed = true;
    } else if (!sqlite3_get_autocommit(s->db)) {
        int r = db_run(s, NULL, "ROLLBACK", "");
        (void)r; /* SQLite has rolled back by itself when this fails */
    }
    tx_end(tx);
}
