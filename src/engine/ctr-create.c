/*
 * engine/ctr-create.c: from a spec to a container that waits for its start: image, user, volumes, config.json, monitor. A stand-alone
 * container gets a pod of its own first, with the same id.
 */
#include "engine/internal.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- volumes ---------------------------------------------------------------------------------------------- */

static int one_volume(struct engine *g, struct ctr *c, const struct spec_in *in, const char *name, const char *target, bool copy,
                      char **ret_path, struct err *e)
{
    CLEANUP_FREE char *path = NULL;
    CLEANUP_FD int lock = -1;
    char id[ID_SIZE];
    bool anonymous = str_empty(name);
    int r = anonymous ? new_id(id, e) : 0;
    name = anonymous ? id : name;
    if (r == 0) {
        r = volume_path(g, name, &path, e);
    }
    if (r == 0) {
        r = volume_lock(g, name, &lock, e);
    }
    if (r == 0 && (strv_push(&c->st.volumes, name) < 0 || (anonymous && strv_push(&c->st.anonymous, name) < 0))) {
        r = err_oom(e);
    }
    /* In the row before it is on disk: whoever undoes this creation finds it, and nobody removes it meanwhile. */
    if (r == 0) {
        r = ctr_save(g, c, e);
    }
    if (r == 0) {
        r = volume_make(g, name, anonymous, NULL, e);
        fault_point("create.volume", NULL);
    }
    if (r == 0) {
        r = volume_fill(path, in->rootfd, copy ? target : NULL, e);
    }
    if (r == 0) {
        *ret_path = PTR_STEAL(path);
    }
    return r;
}

static bool is_target(const struct engine_ctr_spec *s, const char *path)
{
    for (size_t i = 0; i < s->mounts.n; i++) {
        if (str_eq(s->mounts.v[i].target, path)) {
            return true;
        }
    }
    return false;
}

/* Those of the spec, then the image's VOLUMEs that no mount covers (people's containers only: CRI has none). */
static int make_volumes(struct engine *g, const struct pod *p, struct ctr *c, struct spec_in *in, struct err *e)
{
    const char *key;
    json_t *value;
    int r = 0;
    in->volume_paths = calloc(c->spec.mounts.n + 1, sizeof(char *));
    if (!in->volume_paths) {
        return err_oom(e);
    }
    for (size_t i = 0; r == 0 && i < c->spec.mounts.n; i++) {
        const struct engine_mount *m = &c->spec.mounts.v[i];
        if (m->kind == ENGINE_MOUNT_VOLUME) {
            r = one_volume(g, c, in, m->source, m->target, !m->no_copy, &in->volume_paths[i], e);
        }
    }
    if (p->spec.kind != ENGINE_POD_CONTAINER || !in->image) {
        return r;
    }
    json_object_foreach(in->image->config.volumes, key, value)
    {
        char *path = NULL;
        if (r == 0 && key[0] == '/' && !is_target(&c->spec, key)) {
            r = one_volume(g, c, in, NULL, key, true, &path, e);
            if (r == 0 && (strv_push(&in->image_volumes, key) < 0 || strv_push(&in->image_volume_paths, path) < 0)) {
                r = err_oom(e);
            }
            free(path);
        }
    }
    return r;
}

/* ---- what runs, and as whom ---------------------------------------------------------------------------------- */

static int add_all(char ***to, char *const *from, struct err *e)
{
    for (; from && *from; from++) {
        if (strv_push(to, *from) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int resolve_args(struct ctr *c, const struct image_run_config *ic, struct err *e)
{
    const struct engine_ctr_spec *s = &c->spec;
    bool own_entry = s->has_entrypoint || strv_len(s->entrypoint) > 0;
    char *const *entry = own_entry ? s->entrypoint : ic ? ic->entrypoint : NULL;
    /* An entry point of one's own drops the image's command, as docker does. */
    char *const *cmd = strv_len(s->command) > 0 ? s->command : own_entry || !ic ? NULL : ic->cmd;
    strv_free(PTR_STEAL(c->st.args));
    int r = add_all(&c->st.args, entry, e);
    if (r == 0) {
        r = add_all(&c->st.args, cmd, e);
    }
    if (r == 0 && strv_len(c->st.args) == 0) {
        return err_set(e, EINVAL, ERR_INVALID, "no command specified, and the image has none");
    }
    return r;
}

static int resolve_user(struct ctr *c, const struct spec_in *in, char **ret_home, struct err *e)
{
    const struct engine_ctr_spec *s = &c->spec;
    CLEANUP_USER struct user u = { 0 };
    CLEANUP_FREE char *numeric = s->has_uid ? str_printf("%u", s->uid) : NULL;
    const char *who = numeric ? numeric : !str_empty(s->user) ? s->user : in->image ? in->image->config.user : NULL;
    /* docker: a group of one's own choice stands alone. CRI adds those that /etc/group has for the user. */
    bool merge = !s->groups_strict && !(in->pod->spec.kind == ENGINE_POD_CONTAINER && who && strchr(who, ':'));
    int r = user_lookup(in->rootfd, who, merge, &u, e);
    if (r < 0) {
        return r;
    }
    c->st.uid = u.uid;
    c->st.gid = s->has_gid ? s->gid : u.gid;
    r = user_groups_add(&u, c->st.gid);
    for (size_t i = 0; r == 0 && i < s->groups.n; i++) {
        r = user_groups_add(&u, s->groups.v[i]);
    }
    if (r < 0) {
        return err_oom(e);
    }
    free(c->st.groups.v);
    c->st.groups.v = PTR_STEAL(u.groups.v);
    c->st.groups.n = u.groups.n;
    *ret_home = PTR_STEAL(u.home);
    return 0;
}

static int resolve_rest(struct engine *g, const struct pod *p, struct ctr *c, const struct image_config *ic, struct err *e)
{
    const char *sig = !str_empty(c->spec.stop_signal) ? c->spec.stop_signal : ic && !str_empty(ic->config.stop_signal) ? ic->config.stop_signal : "SIGTERM";
    const char *runtime = !str_empty(c->spec.runtime) ? c->spec.runtime : !str_empty(p->spec.runtime_handler) ? p->spec.runtime_handler : g->default_runtime;
    free(c->st.stop_signal);
    free(c->st.cgroup);
    free(c->st.runtime);
    free(c->st.log_path);
    c->st.stop_signal = strdup(sig);
    c->st.cgroup = str_printf("%s/%s", p->st.cgroup, c->row.id);
    c->st.runtime = runtime && !str_eq(runtime, "tare") ? strdup(runtime) : NULL;
    c->st.log_path = str_empty(c->spec.log_path) ? str_printf("%s/log", c->data) : strdup(c->spec.log_path);
    if (!c->st.stop_signal || !c->st.cgroup || !c->st.log_path) {
        return err_oom(e);
    }
    return signal_number(sig) > 0 ? 0 : err_set(e, EINVAL, ERR_INVALID, "invalid stop signal %.32s", sig);
}

/* ---- the bundle -------------------------------------------------------------------------------------------------- */

static int write_doc(const char *dir, const char *name, const struct json_type *t, const void *o, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    CLEANUP_FREE char *path = str_printf("%s/%s", dir, name);
    int r = path ? json_format(t, o, 0, &b, e) : err_oom(e);
    return r < 0 ? r : file_replace(AT_FDCWD, path, b.data, b.len, 0600, false, e);
}

int bundle_dir(const struct pod *p, const struct ctr *c, struct err *e)
{
    /* Another runtime has the root file system mounted in there, with its set-id programs; a root that is none here has to get in. */
    return dir_make_all(AT_FDCWD, c->dir, p->spec.userns ? 0711 : 0700, e);
}

static int write_bundle(const struct pod *p, struct ctr *c, const struct oci_spec *s, struct err *e)
{
    int r = bundle_dir(p, c, e);
    if (r == 0) {
        r = write_doc(c->dir, "config.json", &oci_spec_type, s, e);
    }
    if (r == 0) {
        r = write_doc(c->dir, "process.json", &oci_process_type, s->process, e);
    }
    /* Kept for inspect and for a start after a reboot. */
    return r < 0 ? r : write_doc(c->data, "config.json", &oci_spec_type, s, e);
}

/* In a user namespace what the container writes belongs to the ids that it is mapped to. */
static int own_snapshot(const struct pod *p, const char *path, struct err *e)
{
    if (!p->spec.userns || p->spec.uid_map.n == 0 || p->spec.gid_map.n == 0) {
        return 0;
    }
    uid_t uid = p->spec.uid_map.v[0].host_id;
    gid_t gid = p->spec.gid_map.v[0].host_id;
    return fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ? err_sys(e, errno, "chown %s", path) : 0;
}

static int make_snapshot(const struct pod *p, struct ctr *c, struct err *e)
{
    static const char *const sub[] = { "upper", "work" };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(sub); i++) {
        CLEANUP_FREE char *path = str_printf("%s/%s", c->data, sub[i]);
        r = path ? dir_make_all(AT_FDCWD, path, 0755, e) : err_oom(e);
        if (r == 0) {
            r = own_snapshot(p, path, e);
        }
    }
    return r;
}

static void spec_in_done(struct spec_in *in)
{
    for (size_t i = 0; in->volume_paths && i < in->ctr->spec.mounts.n; i++) {
        free(in->volume_paths[i]);
    }
    free(in->volume_paths);
    strv_free(in->image_volumes);
    strv_free(in->image_volume_paths);
    fd_close(&in->rootfd);
}

static int ns_of_ctr(struct engine *g, const char *ref, const char *ns, char **ret, struct err *e)
{
    CLEANUP_CTR struct ctr t = { 0 };
    int r = ctr_load(g, ref, &t, e);
    if (r == 0) {
        r = ctr_refresh(g, &t, e);
    }
    if (r == 0 && !ctr_lives(&t)) {
        r = err_set(e, EINVAL, ERR_INVALID, "container %.64s does not run", ref);
    }
    if (r == 0) {
        *ret = str_printf("/proc/%d/ns/%s", t.row.pid, ns);
        r = *ret ? 0 : err_oom(e);
    }
    return r;
}

static int generate(struct engine *g, struct pod *p, struct ctr *c, const struct image_config *ic, struct err *e)
{
    CLEANUP_STRV char **lowers = NULL;
    CLEANUP_FREE char *home = NULL, *target = NULL, *ipc = NULL;
    CLEANUP_OCI_SPEC struct oci_spec *s = NULL;
    struct spec_in in = { .g = g, .pod = p, .ctr = c, .image = ic, .rootfd = -1 };
    int r = ctr_lowers(g, c->row.id, &lowers, e);
    if (r == 0) {
        r = rootfs_open(lowers, NULL, NULL, &in.rootfd, e);
    }
    if (r == 0) {
        r = resolve_args(c, ic ? &ic->config : NULL, e);
    }
    if (r == 0) {
        r = resolve_user(c, &in, &home, e);
    }
    if (r == 0) {
        r = resolve_rest(g, p, c, ic, e);
    }
    if (r == 0) {
        r = make_volumes(g, p, c, &in, e);
    }
    if (r == 0 && c->spec.pid == ENGINE_NS_TARGET) {
        r = ns_of_ctr(g, c->spec.pid_target, "pid", &target, e);
    }
    if (r == 0 && !str_empty(p->spec.ipcns_of)) {
        r = ns_of_ctr(g, p->spec.ipcns_of, "ipc", &ipc, e);
    }
    in.home = home;
    in.target_pid_ns = target;
    in.ipc_ns = ipc;
    if (r == 0) {
        r = spec_generate(&in, &s, e);
    }
    if (r == 0) {
        r = write_bundle(p, c, s, e);
    }
    spec_in_done(&in);
    return r;
}

/* ---- the monitor's part ---------------------------------------------------------------------------------------------- */

/* One that stands alone gives up its address and ports when it ends, is removed or started again. */
static int exit_command(struct engine *g, const struct pod *p, const struct ctr *c, struct mon_create *m, struct err *e)
{
    const char *argv[] = { g->self_path, "--root", g->root, "--run", g->run, "container", "cleanup", c->row.id };
    if (!g->self_path || p->spec.kind != ENGINE_POD_CONTAINER) {
        return 0;
    }
    /* Whoever is attached to it removes it in a few milliseconds; the exit command is for when he does not. */
    m->exit_grace_ms = c->spec.auto_remove ? EXIT_GRACE_MS : 0;
    for (size_t i = 0; i < ARRAY_LEN(argv); i++) {
        if (strv_push(&m->exit_command, argv[i]) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int fill_create(struct engine *g, const struct pod *p, const struct ctr *c, struct mon_create *m, struct err *e)
{
    CLEANUP_STRV char **lowers = NULL;
    int r = ctr_lowers(g, c->row.id, &lowers, e);
    for (size_t i = strv_len(lowers); r == 0 && i-- > 0;) {
        r = strv_push(&m->lower, lowers[i]) < 0 ? err_oom(e) : 0;
    }
    m->id = strdup(c->row.id);
    m->bundle = strdup(c->dir);
    m->upper = str_printf("%s/upper", c->data);
    m->work = str_printf("%s/work", c->data);
    m->tty = c->spec.tty;
    m->stdin_open = c->spec.stdin_open;
    m->stdin_once = c->spec.stdin_once;
    m->systemd_cgroup = g->systemd_cgroup;
    m->rows = c->spec.tty_rows;
    m->cols = c->spec.tty_cols;
    m->log_format = c->spec.log_format == ENGINE_LOG_CRI ? MON_LOG_CRI : c->spec.log_format == ENGINE_LOG_JSON ? MON_LOG_JSON : MON_LOG_NONE;
    m->log_path = m->log_format == MON_LOG_NONE ? NULL : strdup(c->st.log_path);
    m->log_max_size = c->spec.log_max_size > 0 ? (uint64_t)c->spec.log_max_size : 0;
    m->log_max_files = c->spec.log_max_files;
    m->runtime = c->st.runtime ? strdup(c->st.runtime) : NULL;
    if (r == 0 && (!m->id || !m->bundle || !m->upper || !m->work)) {
        r = err_oom(e);
    }
    return r < 0 ? r : exit_command(g, p, c, m, e);
}

int ctr_make_runtime(struct engine *g, struct pod *p, struct ctr *c, uint64_t op, struct err *e)
{
    struct mon_create m;
    CLEANUP_MON struct mon *mon = NULL;
    mon_struct_init(&mon_create_type, &m);
    int r = op ? op_stage(g->store, op, "create", NULL, e) : 0;
    if (r == 0 && c->st.runtime) {
        r = rootfs_mount(g, c, e);
    }
    if (r == 0) {
        r = fill_create(g, p, c, &m, e);
    }
    if (r == 0) {
        r = pod_monitor(p, &mon, e);
    }
    if (r == 0) {
        r = mon_create(mon, &m, MON_CREATE_MS, NULL, e);
    }
    mon_struct_done(&mon_create_type, &m);
    return r;
}

/* ---- create ---------------------------------------------------------------------------------------------------------------- */

static int record(struct engine *g, const struct pod *p, const struct engine_ctr_spec *s, const char *id, const char *key,
                  const struct store_image *img, uint64_t *op, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    CLEANUP_FREE char *spec = NULL, *opkey = str_printf("ctr/%s", id);
    bool people = p->spec.kind == ENGINE_POD_CONTAINER;
    int r = opkey ? codec_ctr_spec(s, &spec, e) : err_oom(e);
    struct store_ctr row = { .id = (char *)(uintptr_t)id, .ns = g->ns, .pod_id = p->row.id, .key = (char *)(uintptr_t)key,
                             .name = people ? s->name : NULL, .image_id = img->id, .state = (char *)(uintptr_t) "creating",
                             .created = store_now(), .spec = spec, .layers = img->layers };
    if (r == 0) {
        r = store_begin(g->store, &tx, e);
    }
    if (r == 0) {
        r = op_begin(g->store, g->ns, key ? key : opkey, "create-container", id, "record", NULL, op, e);
    }
    if (r == 0) {
        r = store_ctr_add(g->store, &row, e);
        /* Somebody was faster between our look and this. */
        if (r == -EEXIST && row.name) {
            return err_set(e, EEXIST, ERR_EXISTS, "the container name \"%.128s\" is in use", row.name);
        }
    }
    return r < 0 ? r : store_commit(&tx, e);
}

static int commit_created(struct engine *g, struct ctr *c, uint64_t op, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = ctr_set_state(c, "created", e);
    if (r == 0) {
        r = store_begin(g->store, &tx, e);
    }
    if (r == 0) {
        r = ctr_save(g, c, e);
    }
    if (r == 0) {
        r = event_put(g, "container", "create", c->row.id, c->row.pod_id, e, "name", c->spec.name, "image", c->st.image_name, NULL);
    }
    if (r == 0) {
        r = op_finish(g->store, op, NULL, e);
    }
    return r < 0 ? r : store_commit(&tx, e);
}

static int build(struct engine *g, struct pod *p, struct ctr *c, const struct store_image *img, uint64_t op, struct err *e)
{
    CLEANUP_IMAGE_CONFIG struct image_config ic = { 0 };
    int r = image_config(g->store, img, &ic, e);
    if (r == 0) {
        r = make_snapshot(p, c, e);
        fault_point("create.snapshot", NULL);
    }
    c->st.image_name = strdup(c->spec.image ? c->spec.image : img->id);
    if (r == 0) {
        r = generate(g, p, c, &ic, e);
        fault_point("create.bundle", NULL);
    }
    if (r == 0) {
        r = ctr_make_runtime(g, p, c, op, e);
        fault_point("create.runtime", NULL);
    }
    return r < 0 ? r : commit_created(g, c, op, e);
}

static int create_in(struct engine *g, struct pod *p, const struct engine_ctr_spec *s, const char *id, const char *key,
                     const struct store_image *img, struct err *e)
{
    CLEANUP_FD int lock = -1;
    CLEANUP_CTR struct ctr c = { 0 };
    uint64_t op = 0;
    int r = ctr_lock(g, id, &lock, e);
    if (r == 0) {
        r = record(g, p, s, id, key, img, &op, e);
    }
    if (r < 0) {
        return r;
    }
    r = ctr_load(g, id, &c, e);
    if (r == 0) {
        r = build(g, p, &c, img, op, e);
    }
    if (r < 0) {
        struct err why = { 0 };
        int d = ctr_remove_locked(g, &c, &why);
        d = d == 0 ? op_finish(g->store, op, e->text, &why) : op_stage(g->store, op, "cleanup", why.text, NULL);
        (void)d;
    }
    return r;
}

/* A container that an earlier call with this key left. */
static int find_by_key(struct engine *g, const char *key, char **ret_id, struct err *e)
{
    CLEANUP_STORE_CTR struct store_ctr row = { 0 };
    CLEANUP_FD int lock = -1;
    CLEANUP_CTR struct ctr c = { 0 };
    if (store_ctr_by_key(g->store, g->ns, key, &row, e) < 0) {
        err_clear(e);
        return 0;
    }
    if (!str_eq(row.state, "creating")) {
        *ret_id = PTR_STEAL(row.id);
        return 0;
    }
    int r = ctr_lock(g, row.id, &lock, e);
    if (r == 0) {
        r = ctr_from_row(g, &row, &c, e);
    }
    return r < 0 ? r : ctr_remove_locked(g, &c, e);
}

static int create_for_pod(struct engine *g, const char *pod, const struct engine_ctr_spec *s, const struct store_image *img, char **ret_id,
                          struct err *e)
{
    CLEANUP_POD struct pod p = { 0 };
    CLEANUP_FD int plock = -1, klock = -1;
    char id[ID_SIZE];
    int r = pod_load(g, pod, &p, e);
    CLEANUP_FREE char *key = r == 0 ? str_printf("ctr/%s/%s/%u", p.row.id, s->name ? s->name : "", s->attempt) : NULL;
    if (r == 0) {
        r = key ? key_lock(g, key, &klock, e) : err_oom(e);
    }
    if (r == 0) {
        r = pod_lock(g, p.row.id, true, &plock, e);
    }
    if (r == 0) {
        r = find_by_key(g, key, ret_id, e);
        if (r == 0 && *ret_id) {
            return 0;
        }
    }
    if (r == 0 && !str_eq(p.row.state, "ready")) {
        r = err_set(e, EINVAL, ERR_INVALID, "pod %.12s is not ready", p.row.id);
    }
    if (r == 0) {
        r = new_id(id, e);
    }
    if (r == 0) {
        r = create_in(g, &p, s, id, key, img, e);
    }
    if (r == 0) {
        *ret_id = strdup(id);
    }
    return r < 0 ? r : *ret_id ? 0 : err_oom(e);
}

static int create_alone(struct engine *g, const struct engine_pod_spec *ps, const struct engine_ctr_spec *s, const struct store_image *img,
                        char **ret_id, struct err *e)
{
    struct engine_pod_spec spec = ps ? *ps : (struct engine_pod_spec){ 0 };
    CLEANUP_POD struct pod p = { 0 };
    CLEANUP_STORE_CTR struct store_ctr taken = { 0 };
    CLEANUP_FD int lock = -1;
    char id[ID_SIZE];
    spec.kind = ENGINE_POD_CONTAINER;
    if (!str_empty(s->name) && name_check("container", s->name, e) < 0) {
        return -EINVAL;
    }
    /* Asked first, so that a taken name does not cost a network namespace. */
    if (!str_empty(s->name) && store_ctr_get(g->store, g->ns, s->name, &taken, NULL) == 0 && str_eq(taken.name, s->name)) {
        return err_set(e, EEXIST, ERR_EXISTS, "the container name \"%.128s\" is in use by container %.12s", s->name, taken.id);
    }
    int r = new_id(id, e);
    /* Tells the recovery that the pod's container is still to come. */
    if (r == 0) {
        r = lock_take(g->store, "new", id, false, LOCK_WAIT, &lock, e);
    }
    if (r == 0) {
        r = pod_run_new(g, &spec, id, NULL, e);
        fault_point("create.pod", NULL);
    }
    if (r < 0) {
        lock_forget(g->store, "new", id);
        return r;
    }
    r = pod_load(g, id, &p, e);
    if (r == 0) {
        r = create_in(g, &p, s, id, NULL, img, e);
    }
    lock_forget(g->store, "new", id);
    if (r < 0) {
        struct err why = { 0 };
        int d = engine_pod_remove(g, id, &why);
        (void)d;
        return r;
    }
    *ret_id = strdup(id);
    return *ret_id ? 0 : err_oom(e);
}

int engine_ctr_create(struct engine *g, const char *pod, const struct engine_pod_spec *pod_spec, const struct engine_ctr_spec *s,
                      char **ret_id, struct err *e)
{
    CLEANUP_STORE_IMAGE struct store_image img = { 0 };
    CLEANUP_FREE char *id = NULL;
    struct err le = { 0 };
    e = e ? e : &le;
    int r = image_locate(g, !str_empty(s->image_id) ? s->image_id : s->image, &img, e);
    if (r == 0) {
        r = pod ? create_for_pod(g, pod, s, &img, &id, e) : create_alone(g, pod_spec, s, &img, &id, e);
    }
    if (r == 0) {
        *ret_id = PTR_STEAL(id);
        engine_wake(g);
    }
    return r;
}
