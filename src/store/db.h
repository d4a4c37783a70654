/*
 * store/db.h: inside the store room only: the handle, its cached statements, and rows read by tables of columns.
 */
#pragma once

#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>

enum { DB_STATEMENTS = 96 };

struct store {
    sqlite3 *db;
    pthread_mutex_t lock; /* recursive; held for a statement, or for a whole transaction */
    unsigned depth;       /* of transactions */
    bool doomed;          /* an inner one was rolled back */
    char *root, *run;
    int root_fd, run_fd;
    char boot_id[40];
    uint64_t self_start;  /* start time of this process */
    unsigned tmp_count;
    struct db_cached {
        const char *sql; /* a literal: compared by address */
        sqlite3_stmt *st;
        bool busy;
    } cache[DB_STATEMENTS];
    size_t n_cache;
};

/* A statement in use: holds the lock until db_done(). */
struct db_q {
    struct store *s;
    sqlite3_stmt *st;
    struct db_cached *slot; /* NULL: not cached */
};
void db_done(struct db_q *q);
#define CLEANUP_DB_Q CLEANUP(db_done)

/* sql has to be a literal. fmt: 't' const char * (NULL: null), 'i' int64_t, one letter a parameter. */
MUST_USE int db_query(struct store *s, struct db_q *q, struct err *e, const char *sql, const char *fmt, ...);
/* 1: a row, 0: no more, or -errno. */
MUST_USE int db_step(struct db_q *q, struct err *e);
/* Runs to the end; returns how many rows were changed, or -errno (-EEXIST, -ENOENT for broken constraints). */
MUST_USE int db_run(struct store *s, struct err *e, const char *sql, const char *fmt, ...);
/* First column of the first row; *ret is dflt without a row. */
MUST_USE int db_int(struct store *s, int64_t dflt, int64_t *ret, struct err *e, const char *sql, const char *fmt, ...);
/* First column of every row. */
MUST_USE int db_strings(struct store *s, char ***ret, struct err *e, const char *sql, const char *fmt, ...);
/* Statements without parameters, one after another. */
MUST_USE int db_exec(struct store *s, const char *sql, struct err *e);
int db_fail(struct store *s, int rc, struct err *e, const char *what);

enum db_kind { DB_TEXT /* char * */, DB_I32, DB_U32, DB_I64, DB_U64, DB_BOOL };
struct db_col {
    enum db_kind kind;
    size_t offset;
};
/* The columns of a row, in order, into a struct. */
MUST_USE int db_row(struct db_q *q, const struct db_col *cols, size_t n, void *out, struct err *e);
/* All rows into an array of structs of size each: struct { T *v; size_t n; }. On failure nothing is left. */
MUST_USE int db_rows(struct db_q *q, const struct db_col *cols, size_t n_cols, size_t size, void **v, size_t *n, void (*done)(void *),
                     struct err *e);

/* schema.c: brings the database to this program's version. */
MUST_USE int schema_migrate(struct store *s, struct err *e);

/* The file or folder name of a digest below kind ("blobs/sha256/", "layers/"). -EINVAL for a malformed digest. */
MUST_USE int store_digest_path(const char *kind, const char *digest, char out[static 160], struct err *e);
/* Moves path (below the root) into trash/ so that it cannot be met again under its name; absent is fine. */
MUST_USE int store_trash(struct store *s, const char *path, struct err *e);
/* Removes what lies in trash/. */
MUST_USE int store_empty_trash(struct store *s, struct err *e);
/* Counts bytes on disk and inodes below path; absent is nothing. */
void store_measure(int dirfd, const char *path, uint64_t *bytes, uint64_t *inodes);
