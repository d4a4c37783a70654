/*
 * store/store.h: the state below one root folder: the database (state.db), and the folders of blobs, ingests and layers. The only
 * room with SQL.
 *
 * One handle serves any number of threads (a recursive mutex guards its one connection); any number of processes may have the
 * same root open (WAL). Transactions are short: nothing slow is done between store_begin() and store_commit(). Whoever changes
 * an object appends its event in the same transaction. All names live in a namespace; content (blobs, layers) is shared.
 *
 * What functions return is owned by the caller and released by the x_done or x_free of its type. Times are nanoseconds since the
 * epoch, sizes bytes, digests "sha256:HEX".
 */
#pragma once

#include "base/err.h"

#include <sys/types.h>

struct store;

enum { STORE_FORMAT = 1, STORE_DIGEST_SIZE = 72 /* "sha256:", 64 digits, NUL */ };

/* Makes the folders that are missing; a format newer than STORE_FORMAT is refused (ERR_UNSUPPORTED) and left untouched. */
MUST_USE int store_open(const char *root, const char *run, struct store **ret, struct err *e);
void store_close(struct store *s);
static inline void store_close_p(struct store **s)
{
    store_close(*s);
}
#define CLEANUP_STORE CLEANUP(store_close_p)

const char *store_root(const struct store *s);
const char *store_run(const struct store *s);
/* O_PATH-free descriptor of the root folder; stays the store's. */
int store_root_fd(const struct store *s);
int store_run_fd(const struct store *s);
/* The kernel's boot id. */
const char *store_boot_id(const struct store *s);
int64_t store_now(void);

/*
 * A transaction: begins IMMEDIATE, holds the handle for this thread until it is ended. They nest: only the outermost one commits,
 * and an inner rollback dooms it. CLEANUP_STORE_TX rolls back what was not committed.
 *
 *     CLEANUP_STORE_TX struct store_tx tx = { 0 };
 *     int r = store_begin(s, &tx, e);
 *     … r = store_commit(&tx, e);
 */
struct store_tx {
    struct store *store; /* NULL: not open */
};
MUST_USE int store_begin(struct store *s, struct store_tx *tx, struct err *e);
MUST_USE int store_commit(struct store_tx *tx, struct err *e);
void store_rollback(struct store_tx *tx);
#define CLEANUP_STORE_TX CLEANUP(store_rollback)

/* Flushes the file system that the root is on: one call for everything written before it. */
MUST_USE int store_sync(struct store *s, struct err *e);

/* "sha256:" and 64 lower-case hex digits. */
bool digest_valid(const char *digest);
/* The digits of a valid digest. */
const char *digest_hex(const char *digest);
