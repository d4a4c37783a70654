/* cmd/tare-oci-spec.c: spec: a config.json to begin with. */
#include "cmd/tare-oci.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define CAPS "[\"CAP_AUDIT_WRITE\", \"CAP_KILL\", \"CAP_NET_BIND_SERVICE\"]"

static const char process_text[] =
        "{\"ociVersion\": \"" OCI_VERSION "\",\n"
        "\"process\": {\"terminal\": true, \"user\": {\"uid\": 0, \"gid\": 0}, \"args\": [\"sh\"],\n"
        "  \"env\": [\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\", \"TERM=xterm\"],\n"
        "  \"cwd\": \"/\",\n"
        "  \"capabilities\": {\"bounding\": " CAPS ", \"effective\": " CAPS ", \"permitted\": " CAPS "},\n"
        "  \"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"hard\": 1024, \"soft\": 1024}],\n"
        "  \"noNewPrivileges\": true},\n"
        "\"root\": {\"path\": \"rootfs\", \"readonly\": true},\n"
        "\"hostname\": \"tare\",\n";

static const char mounts_text[] =
        "\"mounts\": [\n"
        "  {\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\"},\n"
        "  {\"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\",\n"
        "   \"options\": [\"nosuid\", \"strictatime\", \"mode=755\", \"size=65536k\"]},\n"
        "  {\"destination\": \"/dev/pts\", \"type\": \"devpts\", \"source\": \"devpts\",\n"
        "   \"options\": [\"nosuid\", \"noexec\", \"newinstance\", \"ptmxmode=0666\", \"mode=0620\"%s]},\n"
        "  {\"destination\": \"/dev/shm\", \"type\": \"tmpfs\", \"source\": \"shm\",\n"
        "   \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"mode=1777\", \"size=65536k\"]},\n"
        "  {\"destination\": \"/dev/mqueue\", \"type\": \"mqueue\", \"source\": \"mqueue\",\n"
        "   \"options\": [\"nosuid\", \"noexec\", \"nodev\"]},\n"
        "  %s,\n"
        "  {\"destination\": \"/sys/fs/cgroup\", \"type\": \"cgroup\", \"source\": \"cgroup\",\n"
        "   \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"relatime\", \"ro\"]}],\n";

static const char sys_text[] = "{\"destination\": \"/sys\", \"type\": \"sysfs\", \"source\": \"sysfs\",\n"
                               "   \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"ro\"]}";
/* Without a network namespace of its own a user namespace may not mount sysfs. */
static const char sys_rootless_text[] = "{\"destination\": \"/sys\", \"type\": \"none\", \"source\": \"/sys\",\n"
                                        "   \"options\": [\"rbind\", \"nosuid\", \"noexec\", \"nodev\", \"ro\"]}";

static const char paths_text[] =
        "\"maskedPaths\": [\"/proc/acpi\", \"/proc/asound\", \"/proc/kcore\", \"/proc/keys\", \"/proc/latency_stats\",\n"
        "    \"/proc/timer_list\", \"/proc/timer_stats\", \"/proc/sched_debug\", \"/proc/scsi\", \"/proc/interrupts\",\n"
        "    \"/sys/firmware\", \"/sys/devices/virtual/powercap\"],\n"
        "  \"readonlyPaths\": [\"/proc/bus\", \"/proc/fs\", \"/proc/irq\", \"/proc/sys\", \"/proc/sysrq-trigger\"]}}\n";

static void spec_text(bool rootless, struct buf *out)
{
    buf_adds(out, process_text);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    buf_addf(out, mounts_text, rootless ? "" : ", \"gid=5\"", rootless ? sys_rootless_text : sys_text);
#pragma GCC diagnostic pop
    buf_adds(out, "\"linux\": {");
    if (rootless) {
        buf_addf(out,
                 "\"uidMappings\": [{\"containerID\": 0, \"hostID\": %u, \"size\": 1}],\n"
                 "  \"gidMappings\": [{\"containerID\": 0, \"hostID\": %u, \"size\": 1}],\n  ",
                 geteuid(), getegid());
    } else {
        buf_adds(out, "\"resources\": {\"devices\": [{\"allow\": false, \"access\": \"rwm\"}]},\n  ");
    }
    buf_addf(out, "\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"ipc\"}, {\"type\": \"uts\"}, {\"type\": \"mount\"},\n"
                  "    {\"type\": \"cgroup\"}, {\"type\": \"%s\"}],\n  ",
             rootless ? "user" : "network");
    buf_adds(out, paths_text);
}

int rt_spec(void *globals, void *args, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const struct rt_spec_args *a = args;
    struct err e = { 0 };
    CLEANUP_BUF struct buf text = { 0 };
    CLEANUP_FREE char *path = str_printf("%s/config.json", a->bundle ? a->bundle : ".");
    spec_text(a->rootless, &text);
    if (!path || buf_failed(&text)) {
        err_oom(&e);
        return rt_fail(globals, 1, &e);
    }
    json_error_t where;
    json_t *tree = json_loadb(buf_str(&text), text.len, 0, &where);
    char *pretty = tree ? json_dumps(tree, JSON_INDENT(4)) : NULL;
    json_decref(tree);
    buf_reset(&text);
    buf_addf(&text, "%s\n", pretty ? pretty : "");
    free(pretty);
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0 && errno == EEXIST) {
        err_set(&e, EEXIST, ERR_EXISTS, "%s exists already: remove it first", path);
        return rt_fail(globals, 1, &e);
    }
    int r = fd < 0 ? -errno : fd_write_all(fd, buf_str(&text), text.len);
    if (r < 0) {
        err_sys(&e, -r, "write %s", path);
        return rt_fail(globals, 1, &e);
    }
    return 0;
}
