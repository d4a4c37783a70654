/* cmd/tare-oci-features.c: features, as features.md of the runtime specification has it; checkpoint and restore. */
#include "cmd/tare-oci.h"

#include "oci/features.h"
#include "oci/process.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>

static int add_strings(json_t *to, const char *name, const char *const *v)
{
    json_t *list = json_array();
    for (; list && v && *v; v++) {
        json_array_append_new(list, json_string(*v));
    }
    return json_object_set_new(to, name, list);
}

static int add_mount_options(json_t *to)
{
    json_t *list = json_array();
    const char *name;
    for (size_t i = 0; list && (name = oci_mount_option(i)); i++) {
        json_array_append_new(list, json_string(name));
    }
    return json_object_set_new(to, "mountOptions", list);
}

static int add_capabilities(json_t *to)
{
    json_t *list = json_array();
    size_t n;
    const char *const *names = caps_names(&n);
    for (size_t i = 0; i < n && prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) {
        char name[48];
        snprintf(name, sizeof(name), "CAP_%s", names[i]);
        json_array_append_new(list, json_string(name));
    }
    return json_object_set_new(to, "capabilities", list);
}

static const char *const namespaces[] = { "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts", NULL };
static const char *const hooks[] = { "prestart",       "createRuntime", "createContainer", "startContainer",
                                     "poststart",      "poststop",      NULL };

static json_t *seccomp_features(void)
{
    json_t *s = json_pack("{s:b}", "enabled", 1);
    if (s) {
        add_strings(s, "actions", seccomp_actions());
        add_strings(s, "operators", seccomp_operators());
        add_strings(s, "archs", seccomp_archs());
        add_strings(s, "knownFlags", seccomp_flags_known());
        add_strings(s, "supportedFlags", seccomp_flags_known());
    }
    return s;
}

static json_t *linux_features(void)
{
    const struct oci_features f = oci_features();
    json_t *l = json_object();
    if (!l) {
        return NULL;
    }
    add_strings(l, "namespaces", namespaces);
    add_capabilities(l);
    json_object_set_new(l, "cgroup", json_pack("{s:b,s:b,s:b,s:b,s:b}", "v1", 1, "v2", 1, "systemd", f.systemd,
                                               "systemdUser", f.systemd_user, "rdma", f.rdma));
    json_object_set_new(l, "seccomp", seccomp_features());
    json_object_set_new(l, "apparmor", json_pack("{s:b}", "enabled", f.apparmor));
    json_object_set_new(l, "selinux", json_pack("{s:b}", "enabled", f.selinux));
    json_object_set_new(l, "intelRdt", json_pack("{s:b}", "enabled", f.intel_rdt));
    json_object_set_new(l, "memoryPolicy", json_pack("{s:b}", "enabled", f.memory_policy));
    json_object_set_new(l, "mountExtensions", json_pack("{s:{s:b}}", "idmap", "enabled", f.idmap));
    json_object_set_new(l, "netDevices", json_pack("{s:b}", "enabled", f.net_devices));
    return l;
}

int rt_features(void *globals, void *args, int argc, char **argv)
{
    (void)args;
    (void)argc;
    (void)argv;
    struct err e = { 0 };
    const struct scmp_version *v = seccomp_version();
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_FREE char *version = str_printf("%u.%u.%u", v->major, v->minor, v->micro);
    json_t *root = json_pack("{s:s,s:s}", "ociVersionMin", "1.0.0", "ociVersionMax", OCI_VERSION);
    if (!root || !version) {
        json_decref(root);
        err_oom(&e);
        return rt_fail(globals, 1, &e);
    }
    add_strings(root, "hooks", hooks);
    add_mount_options(root);
    json_object_set_new(root, "linux", linux_features());
    json_object_set_new(root, "annotations",
                        json_pack("{s:s,s:s}", "io.github.seccomp.libseccomp.version", version,
                                  "org.opencontainers.runc.checkpoint.enabled", "false"));
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    buf_addf(&out, "%s\n", text ? text : "{}");
    free(text);
    return rt_print(globals, &out);
}

static int no_criu(const struct rt *g, const char *what)
{
    struct err e = { 0 };
    err_set(&e, EOPNOTSUPP, ERR_UNSUPPORTED, "%s is not supported: this build does not drive criu", what);
    return rt_fail(g, 1, &e);
}

int rt_checkpoint(void *globals, void *args, int argc, char **argv)
{
    (void)args;
    (void)argc;
    (void)argv;
    return no_criu(globals, "checkpoint");
}

int rt_restore(void *globals, void *args, int argc, char **argv)
{
    (void)args;
    (void)argc;
    (void)argv;
    return no_criu(globals, "restore");
}
