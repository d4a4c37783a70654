/*
 * oci/mount-options.c: the options of a mount (config.md "Linux mount options") as flags of the mount API. What is in no table here
 * belongs to the file system and is passed on.
 */
#include "oci/ctr.h"
#include "oci/features.h"

#include <sys/mount.h>

enum option_kind { OPT_ATTR, OPT_REC_ATTR, OPT_PROPAGATION, OPT_OWN, OPT_SUPERBLOCK };
enum { OWN_BIND = 1, OWN_RBIND, OWN_REMOUNT, OWN_TMPCOPYUP, OWN_SRC_NOFOLLOW, OWN_DEST_NOFOLLOW, OWN_COPY_SYMLINK, OWN_IDMAP, OWN_RIDMAP,
       OWN_IGNORED };

static const struct option {
    const char *name;
    enum option_kind kind;
    uint64_t set, clear;
} options[] = {
    { "ro", OPT_ATTR, MOUNT_ATTR_RDONLY, 0 },
    { "rw", OPT_ATTR, 0, MOUNT_ATTR_RDONLY },
    { "nosuid", OPT_ATTR, MOUNT_ATTR_NOSUID, 0 },
    { "suid", OPT_ATTR, 0, MOUNT_ATTR_NOSUID },
    { "nodev", OPT_ATTR, MOUNT_ATTR_NODEV, 0 },
    { "dev", OPT_ATTR, 0, MOUNT_ATTR_NODEV },
    { "noexec", OPT_ATTR, MOUNT_ATTR_NOEXEC, 0 },
    { "exec", OPT_ATTR, 0, MOUNT_ATTR_NOEXEC },
    { "nodiratime", OPT_ATTR, MOUNT_ATTR_NODIRATIME, 0 },
    { "diratime", OPT_ATTR, 0, MOUNT_ATTR_NODIRATIME },
    { "noatime", OPT_ATTR, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME },
    { "relatime", OPT_ATTR, MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
    { "strictatime", OPT_ATTR, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
    { "atime", OPT_ATTR, 0, MOUNT_ATTR__ATIME },
    { "norelatime", OPT_ATTR, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
    { "nostrictatime", OPT_ATTR, MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
    { "nosymfollow", OPT_ATTR, MOUNT_ATTR_NOSYMFOLLOW, 0 },
    { "symfollow", OPT_ATTR, 0, MOUNT_ATTR_NOSYMFOLLOW },
    { "rro", OPT_REC_ATTR, MOUNT_ATTR_RDONLY, 0 },
    { "rrw", OPT_REC_ATTR, 0, MOUNT_ATTR_RDONLY },
    { "rnosuid", OPT_REC_ATTR, MOUNT_ATTR_NOSUID, 0 },
    { "rsuid", OPT_REC_ATTR, 0, MOUNT_ATTR_NOSUID },
    { "rnodev", OPT_REC_ATTR, MOUNT_ATTR_NODEV, 0 },
    { "rdev", OPT_REC_ATTR, 0, MOUNT_ATTR_NODEV },
    { "rnoexec", OPT_REC_ATTR, MOUNT_ATTR_NOEXEC, 0 },
    { "rexec", OPT_REC_ATTR, 0, MOUNT_ATTR_NOEXEC },
    { "rnodiratime", OPT_REC_ATTR, MOUNT_ATTR_NODIRATIME, 0 },
    { "rdiratime", OPT_REC_ATTR, 0, MOUNT_ATTR_NODIRATIME },
    { "rnoatime", OPT_REC_ATTR, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME },
    { "rrelatime", OPT_REC_ATTR, MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
    { "rnorelatime", OPT_REC_ATTR, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
    { "rstrictatime", OPT_REC_ATTR, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
    { "rnostrictatime", OPT_REC_ATTR, MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
    { "ratime", OPT_REC_ATTR, 0, MOUNT_ATTR__ATIME },
    { "rnosymfollow", OPT_REC_ATTR, MOUNT_ATTR_NOSYMFOLLOW, 0 },
    { "rsymfollow", OPT_REC_ATTR, 0, MOUNT_ATTR_NOSYMFOLLOW },
    { "shared", OPT_PROPAGATION, MS_SHARED, 0 },
    { "rshared", OPT_PROPAGATION, MS_SHARED | MS_REC, 0 },
    { "slave", OPT_PROPAGATION, MS_SLAVE, 0 },
    { "rslave", OPT_PROPAGATION, MS_SLAVE | MS_REC, 0 },
    { "private", OPT_PROPAGATION, MS_PRIVATE, 0 },
    { "rprivate", OPT_PROPAGATION, MS_PRIVATE | MS_REC, 0 },
    { "unbindable", OPT_PROPAGATION, MS_UNBINDABLE, 0 },
    { "runbindable", OPT_PROPAGATION, MS_UNBINDABLE | MS_REC, 0 },
    { "bind", OPT_OWN, OWN_BIND, 0 },
    { "rbind", OPT_OWN, OWN_RBIND, 0 },
    { "remount", OPT_OWN, OWN_REMOUNT, 0 },
    { "tmpcopyup", OPT_OWN, OWN_TMPCOPYUP, 0 },
    { "src-nofollow", OPT_OWN, OWN_SRC_NOFOLLOW, 0 },
    { "dest-nofollow", OPT_OWN, OWN_DEST_NOFOLLOW, 0 },
    { "copy-symlink", OPT_OWN, OWN_COPY_SYMLINK, 0 },
    { "idmap", OPT_OWN, OWN_IDMAP, 0 },
    { "ridmap", OPT_OWN, OWN_RIDMAP, 0 },
    { "defaults", OPT_OWN, OWN_IGNORED, 0 },
    { "auto", OPT_OWN, OWN_IGNORED, 0 },
    { "noauto", OPT_OWN, OWN_IGNORED, 0 },
    { "user", OPT_OWN, OWN_IGNORED, 0 },
    { "nouser", OPT_OWN, OWN_IGNORED, 0 },
    { "acl", OPT_SUPERBLOCK, 0, 0 },
    { "async", OPT_SUPERBLOCK, 0, 0 },
};

const char *oci_mount_option(size_t i)
{
    return i < ARRAY_LEN(options) ? options[i].name : NULL;
}

static void own_option(struct mount_flags *f, uint64_t which)
{
    switch (which) {
    case OWN_BIND:
        f->bind = true;
        break;
    case OWN_RBIND:
        f->bind = f->recursive = true;
        break;
    case OWN_REMOUNT:
        f->remount = true;
        break;
    case OWN_TMPCOPYUP:
        f->tmpcopyup = true;
        break;
    case OWN_SRC_NOFOLLOW:
        f->src_nofollow = true;
        break;
    case OWN_DEST_NOFOLLOW:
        f->dest_nofollow = true;
        break;
    case OWN_COPY_SYMLINK:
        f->copy_symlink = f->src_nofollow = true;
        break;
    case OWN_IDMAP:
        f->idmap = true;
        break;
    case OWN_RIDMAP:
        f->idmap = f->ridmap = true;
        break;
    default:
        break;
    }
}

/* A later option undoes an earlier one: "ro,rw" is writable. */
static void attr_option(uint64_t *set, uint64_t *clear, const struct option *o)
{
    *set = (*set & ~o->clear) | o->set;
    *clear = (*clear & ~o->set) | o->clear;
}

int mount_flags_parse(const struct oci_mount *m, struct mount_flags *ret, struct err *e)
{
    struct mount_flags f = { 0 };
    for (char **v = m->options; v && *v; v++) {
        size_t i = 0;
        while (i < ARRAY_LEN(options) && !str_eq(options[i].name, *v)) {
            i++;
        }
        const struct option *o = i < ARRAY_LEN(options) ? &options[i] : NULL;
        if (o && o->kind == OPT_ATTR) {
            attr_option(&f.attr_set, &f.attr_clear, o);
        } else if (o && o->kind == OPT_REC_ATTR) {
            attr_option(&f.rec_set, &f.rec_clear, o);
        } else if (o && o->kind == OPT_PROPAGATION) {
            f.propagation = (unsigned)o->set;
        } else if (o && o->kind == OPT_OWN) {
            own_option(&f, o->set);
        } else {
            buf_addf(&f.data, "%s%s", f.data.len ? "," : "", *v);
        }
    }
    if (str_eq(m->type, "bind")) {
        f.bind = true;
    }
    if (buf_failed(&f.data)) {
        mount_flags_done(&f);
        return err_oom(e);
    }
    *ret = f;
    return 0;
}

void mount_flags_done(struct mount_flags *f)
{
    buf_done(&f->data);
}
