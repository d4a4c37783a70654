/* store/schema.c: the tables, as a list of migrations. A step that was ever released is never changed: a new one is added. */
#include "store/db.h"

#include <errno.h>

static const char migration_1[] =
        "CREATE TABLE pods (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, key TEXT, name TEXT,"
        " state TEXT NOT NULL, created INTEGER NOT NULL, spec TEXT, status TEXT, UNIQUE (namespace, key));"
        "CREATE INDEX pods_name ON pods (namespace, name);"
        "CREATE TABLE containers (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL,"
        " pod TEXT NOT NULL REFERENCES pods (id), key TEXT, name TEXT, image TEXT, state TEXT NOT NULL, created INTEGER NOT NULL,"
        " started INTEGER NOT NULL, finished INTEGER NOT NULL, pid INTEGER NOT NULL, pid_start INTEGER NOT NULL,"
        " exit_code INTEGER NOT NULL, oom INTEGER NOT NULL, restarts INTEGER NOT NULL, reason TEXT, message TEXT, spec TEXT,"
        " status TEXT, UNIQUE (namespace, key), UNIQUE (namespace, name));"
        "CREATE INDEX containers_pod ON containers (pod);"
        "CREATE INDEX containers_image ON containers (namespace, image);"
        "CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, media_type TEXT, created INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE layers (diff_id TEXT PRIMARY KEY, size INTEGER NOT NULL, inodes INTEGER NOT NULL, blob_digest TEXT,"
        " blob_media_type TEXT, blob_size INTEGER NOT NULL, source TEXT, snapshotter TEXT NOT NULL, created INTEGER NOT NULL)"
        " WITHOUT ROWID;"
        "CREATE INDEX layers_blob ON layers (blob_digest);"
        "CREATE TABLE container_layers (container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE, idx INTEGER NOT NULL,"
        " diff_id TEXT NOT NULL REFERENCES layers (diff_id), PRIMARY KEY (container, idx)) WITHOUT ROWID;"
        "CREATE INDEX container_layers_diff ON container_layers (diff_id);"
        "CREATE TABLE images (n INTEGER PRIMARY KEY, namespace TEXT NOT NULL, id TEXT NOT NULL, manifest TEXT NOT NULL,"
        " manifest_media_type TEXT, created INTEGER NOT NULL, pinned INTEGER NOT NULL, UNIQUE (namespace, id));"
        "CREATE TABLE image_refs (namespace TEXT NOT NULL, name TEXT NOT NULL, image INTEGER NOT NULL REFERENCES images (n)"
        " ON DELETE CASCADE, PRIMARY KEY (namespace, name)) WITHOUT ROWID;"
        "CREATE INDEX image_refs_image ON image_refs (image);"
        "CREATE TABLE image_layers (image INTEGER NOT NULL REFERENCES images (n) ON DELETE CASCADE, idx INTEGER NOT NULL,"
        " diff_id TEXT NOT NULL REFERENCES layers (diff_id), PRIMARY KEY (image, idx)) WITHOUT ROWID;"
        "CREATE INDEX image_layers_diff ON image_layers (diff_id);"
        "CREATE TABLE image_blobs (image INTEGER NOT NULL REFERENCES images (n) ON DELETE CASCADE, digest TEXT NOT NULL"
        " REFERENCES blobs (digest), PRIMARY KEY (image, digest)) WITHOUT ROWID;"
        "CREATE INDEX image_blobs_digest ON image_blobs (digest);"
        "CREATE TABLE operations (id INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL,"
        " object TEXT NOT NULL, stage TEXT NOT NULL, details TEXT, boot TEXT NOT NULL, owner_pid INTEGER NOT NULL,"
        " owner_start INTEGER NOT NULL, started INTEGER NOT NULL, stage_since INTEGER NOT NULL, finished INTEGER NOT NULL, error TEXT);"
        "CREATE UNIQUE INDEX operations_key ON operations (namespace, key) WHERE finished = 0;"
        "CREATE INDEX operations_object ON operations (object);"
        "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, namespace TEXT NOT NULL, type TEXT NOT NULL,"
        " action TEXT NOT NULL, object TEXT NOT NULL, pod TEXT, attributes TEXT);"
        "CREATE TABLE leases (id INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, owner_pid INTEGER NOT NULL,"
        " owner_start INTEGER NOT NULL, expires INTEGER NOT NULL);"
        "CREATE TABLE lease_items (lease INTEGER NOT NULL REFERENCES leases (id) ON DELETE CASCADE, kind TEXT NOT NULL,"
        " digest TEXT NOT NULL, PRIMARY KEY (lease, kind, digest)) WITHOUT ROWID;"
        "CREATE INDEX lease_items_digest ON lease_items (kind, digest);"
        "CREATE TABLE usage (kind TEXT NOT NULL, id TEXT NOT NULL, bytes INTEGER NOT NULL, inodes INTEGER NOT NULL,"
        " time INTEGER NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;";

static const char *const migrations[] = { migration_1 };
_Static_assert(ARRAY_LEN(migrations) == STORE_FORMAT, "one migration a format");

/* What is the usual case has to cost a look, not a transaction that waits for other writers. */
static bool is_current(struct store *s)
{
    int64_t have = 0;
    return db_int(s, 0, &have, NULL, "SELECT max(version) FROM schema_versions", "") == 0 && have == STORE_FORMAT;
}

int schema_migrate(struct store *s, struct err *e)
{
    if (is_current(s)) {
        return 0;
    }
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        r = db_exec(s, "CREATE TABLE IF NOT EXISTS schema_versions (version INTEGER PRIMARY KEY, time INTEGER NOT NULL)", e);
    }
    int64_t have = 0;
    if (r == 0) {
        r = db_int(s, 0, &have, e, "SELECT max(version) FROM schema_versions", "");
    }
    if (r == 0 && have > STORE_FORMAT) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "%s/state.db has format %lld, this program knows %d: use a newer one", s->root,
                       (long long)have, STORE_FORMAT);
    }
    for (int64_t v = have; r >= 0 && v < STORE_FORMAT; v++) {
        r = db_exec(s, migrations[v], e);
        if (r == 0) {
            r = db_run(s, e, "INSERT INTO schema_versions VALUES (?, ?)", "ii", v + 1, store_now());
        }
    }
    return r < 0 ? err_wrap(e, "migrate") : store_commit(&tx, e);
}
