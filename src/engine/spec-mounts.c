/* engine/spec-mounts.c: the mounts of config.json: the usual ones, the pod's files, and what the caller asked for. */
#include "engine/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* options: separated by commas */
static int put(struct oci_spec *o, const char *to, const char *type, const char *source, const char *options, struct err *e)
{
    struct oci_mount *v = reallocarray(o->mounts.v, o->mounts.n + 1, sizeof(*v));
    if (!v) {
        return err_oom(e);
    }
    o->mounts.v = v;
    struct oci_mount *m = &v[o->mounts.n++];
    *m = (struct oci_mount){ .destination = strdup(to), .type = strdup(type), .source = strdup(source) };
    for (const char *p = options; *p;) {
        size_t n = strcspn(p, ",");
        CLEANUP_FREE char *one = strndup(p, n);
        if (!one || (n > 0 && strv_push(&m->options, one) < 0)) {
            return err_oom(e);
        }
        p += n + (p[n] == ',');
    }
    return m->destination && m->type && m->source ? 0 : err_oom(e);
}

static bool asked_for(const struct spec_in *in, const char *target)
{
    for (size_t i = 0; i < in->ctr->spec.mounts.n; i++) {
        if (str_eq(in->ctr->spec.mounts.v[i].target, target)) {
            return true;
        }
    }
    return false;
}

static int usual(const struct spec_in *in, struct oci_spec *o, struct err *e)
{
    bool priv = in->ctr->spec.privileged;
    const struct {
        const char *to, *type, *source, *options;
    } t[] = {
        { "/proc", "proc", "proc", "nosuid,noexec,nodev" },
        { "/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k" },
        { "/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5" },
        { "/sys", "sysfs", "sysfs", priv ? "nosuid,noexec,nodev" : "nosuid,noexec,nodev,ro" },
        { "/sys/fs/cgroup", "cgroup", "cgroup", priv ? "nosuid,noexec,nodev" : "nosuid,noexec,nodev,relatime,ro" },
        { "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev" },
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(t); i++) {
        r = asked_for(in, t[i].to) ? 0 : put(o, t[i].to, t[i].type, t[i].source, t[i].options, e);
    }
    return r;
}

static int pod_files(const struct spec_in *in, struct oci_spec *o, struct err *e)
{
    static const char *const names[] = { "resolv.conf", "hosts", "hostname" };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(names); i++) {
        CLEANUP_FREE char *to = str_printf("/etc/%s", names[i]), *from = str_printf("%s/%s", in->pod->data, names[i]);
        if (!to || !from) {
            return err_oom(e);
        }
        r = asked_for(in, to) ? 0 : put(o, to, "bind", from, in->ctr->spec.readonly_rootfs ? "rbind,rprivate,ro" : "rbind,rprivate", e);
    }
    if (r < 0 || asked_for(in, "/dev/shm")) {
        return r;
    }
    if (in->ctr->spec.ipc == ENGINE_NS_HOST || in->pod->spec.ipc == ENGINE_NS_HOST) {
        return put(o, "/dev/shm", "bind", "/dev/shm", "rbind,rprivate", e);
    }
    if (in->pod->st.shm) {
        CLEANUP_FREE char *shm = str_printf("%s/shm", in->pod->dir);
        return shm ? put(o, "/dev/shm", "bind", shm, "bind,rprivate,nosuid,nodev,noexec", e) : err_oom(e);
    }
    CLEANUP_FREE char *options = str_printf("nosuid,noexec,nodev,mode=1777,size=%lld",
                                            (long long)(in->pod->spec.shm_size > 0 ? in->pod->spec.shm_size : 64 << 20));
    return options ? put(o, "/dev/shm", "tmpfs", "shm", options, e) : err_oom(e);
}

static int check_source(const struct engine_mount *m, struct err *e)
{
    struct stat st;
    if (str_empty(m->source) || m->source[0] != '/') {
        return err_set(e, EINVAL, ERR_INVALID, "mount source \"%.256s\" is no absolute path", m->source ? m->source : "");
    }
    if (stat(m->source, &st) == 0) {
        return 0;
    }
    if (errno != ENOENT || !m->create_source) {
        return err_sys(e, errno, "mount source %s", m->source);
    }
    return dir_make_all(AT_FDCWD, m->source, 0755, e);
}

static int one(const struct spec_in *in, struct oci_spec *o, size_t i, struct err *e)
{
    const struct engine_mount *m = &in->ctr->spec.mounts.v[i];
    CLEANUP_BUF struct buf opt = { 0 };
    if (str_empty(m->target) || m->target[0] != '/') {
        return err_set(e, EINVAL, ERR_INVALID, "mount target \"%.256s\" is no absolute path", m->target ? m->target : "");
    }
    if (m->kind == ENGINE_MOUNT_IMAGE) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "image volumes are not supported");
    }
    if (m->kind == ENGINE_MOUNT_TMPFS) {
        buf_addf(&opt, "nosuid,nodev,noexec%s%s%s", m->readonly ? ",ro" : "", str_empty(m->options) ? "" : ",", m->options ? m->options : "");
        return buf_failed(&opt) ? err_oom(e) : put(o, m->target, "tmpfs", "tmpfs", buf_str(&opt), e);
    }
    int r = m->kind == ENGINE_MOUNT_BIND ? check_source(m, e) : 0;
    if (r < 0) {
        return r;
    }
    /* What is mounted in there shows on the host only if the container's mounts are no slaves of its. */
    if (m->propagation && str_ends(m->propagation, "shared") && !o->linux->rootfs_propagation && !(o->linux->rootfs_propagation = strdup("rshared"))) {
        return err_oom(e);
    }
    buf_addf(&opt, "rbind,%s%s", str_empty(m->propagation) ? "rprivate" : m->propagation,
             m->recursive_readonly ? ",rro" : m->readonly ? ",ro" : "");
    if (m->userns_map) {
        buf_adds(&opt, ",ridmap");
    }
    if (buf_failed(&opt)) {
        return err_oom(e);
    }
    return put(o, m->target, "bind", m->kind == ENGINE_MOUNT_VOLUME ? in->volume_paths[i] : m->source, buf_str(&opt), e);
}

/* --init: our tiny process 1, which lies beside the monitor. */
static int init_program(const struct spec_in *in, struct oci_spec *o, struct err *e)
{
    const char *monitor = in->g->monitor_path, *slash = strrchr(monitor, '/');
    CLEANUP_FREE char *path = slash ? str_printf("%.*s/tare-init", (int)(slash - monitor), monitor) : NULL;
    if (!path || access(path, X_OK) < 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "--init: tare-init is not installed beside %s", monitor);
    }
    return put(o, INIT_TARGET, "bind", path, "bind,ro,rprivate,nosuid,nodev", e);
}

int spec_mounts(const struct spec_in *in, struct oci_spec *o, struct err *e)
{
    int r = usual(in, o, e);
    if (r == 0) {
        r = pod_files(in, o, e);
    }
    for (size_t i = 0; r == 0 && in->image_volumes && in->image_volumes[i]; i++) {
        r = put(o, in->image_volumes[i], "bind", in->image_volume_paths[i], "rbind,rprivate", e);
    }
    if (r == 0 && in->ctr->spec.init) {
        r = init_program(in, o, e);
    }
    for (size_t i = 0; r == 0 && i < in->ctr->spec.mounts.n; i++) {
        r = one(in, o, i, e);
    }
    return r;
}
