/*
 * oci/caps.c: capability sets by the capset system call; libcap's state objects would be five allocations for what is three words.
 * The inheritable set is what the config says, empty if it says nothing (CVE-2022-29162 and its kin).
 */
#include "oci/ctr.h"
#include "oci/process.h"

#include <errno.h>
#include <linux/capability.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[] = {
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE",
};

const char *const *caps_names(size_t *n)
{
    *n = ARRAY_LEN(names);
    return names;
}

/* What the kernel or this program does not know is left out, as the specification asks (with a warning that nobody reads). */
static uint64_t set_of(char *const *list)
{
    uint64_t set = 0;
    for (; list && *list; list++) {
        const char *name = strncasecmp(*list, "CAP_", 4) == 0 ? *list + 4 : *list;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            if (strcasecmp(names[i], name) == 0) {
                set |= 1ull << i;
            }
        }
    }
    return set;
}

int caps_bound(const struct oci_capabilities *c, struct err *e)
{
    uint64_t keep = c ? set_of(c->bounding) : 0;
    for (unsigned i = 0; i < 64; i++) {
        if (keep & (1ull << i)) {
            continue;
        }
        if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0) {
            if (errno == EINVAL) {
                break; /* past the last one that this kernel knows */
            }
            return err_sys(e, errno, "drop capability %s from the bounding set", i < ARRAY_LEN(names) ? names[i] : "?");
        }
    }
    return 0;
}

int caps_apply(const struct oci_capabilities *c, struct err *e)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct had[2] = { 0 };
    if (syscall(SYS_capget, &head, had) < 0) {
        return err_sys(e, errno, "read capabilities");
    }
    /* What this process does not have it cannot keep: on a machine that is itself confined, "all" means all there is. */
    uint64_t possible = had[0].permitted | (uint64_t)had[1].permitted << 32;
    uint64_t permitted = (c ? set_of(c->permitted) : 0) & possible;
    uint64_t effective = (c ? set_of(c->effective) : 0) & permitted;
    uint64_t inheritable = (c ? set_of(c->inheritable) : 0) & possible;
    struct __user_cap_data_struct data[2] = {
        { (uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable },
        { (uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32) },
    };
    head.version = _LINUX_CAPABILITY_VERSION_3;
    if (syscall(SYS_capset, &head, data) < 0) {
        return err_sys(e, errno, "process.capabilities: set");
    }
    uint64_t ambient = c ? set_of(c->ambient) : 0;
    /* Of what was there before only what is inheritable is left: the kernel keeps the ambient set within that. */
    if (inheritable) {
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    }
    for (unsigned i = 0; ambient && i < 64; i++) {
        if ((ambient & (1ull << i)) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0 && errno != EPERM) {
            return err_sys(e, errno, "process.capabilities.ambient: %s", names[i < ARRAY_LEN(names) ? i : 0]);
        }
    }
    return 0;
}
