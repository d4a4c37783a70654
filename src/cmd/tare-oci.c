/*
 * cmd/tare-oci.c: the OCI runtime as a program: runc's command line over the oci/ room. This file has the tables of options and
 * commands, and says what went wrong; the commands are in tare-oci-*.c. A hot path: nothing is done here that no command needs.
 */
#include "cmd/tare-oci.h"

#include "base/fd.h"
#include "base/log.h"
#include "sys/self.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <seccomp.h>
#include <stdio.h>
#include <unistd.h>

#define C(member) offsetof(struct rt_create_args, member)
static const struct opt create_opts[] = {
    OPT_STR('b', "bundle", C(bundle), "`DIR` of config.json and root file system (default: the working directory)"),
    OPT_STR('\0', "console-socket", C(console_socket), "Unix socket `PATH` that gets the terminal's master"),
    OPT_STR('\0', "pidfd-socket", C(pidfd_socket), "Unix socket `PATH` that gets the process's pidfd"),
    OPT_STR('\0', "pid-file", C(pid_file), "write the process id to `FILE`"),
    OPT_FLAG('\0', "no-pivot", C(no_pivot), "move the root instead of pivot_root (root file system on a ramdisk)"),
    OPT_FLAG('\0', "no-new-keyring", C(no_new_keyring), "keep the session keyring"),
    OPT_U32('\0', "preserve-fds", C(preserve_fds), "pass descriptors 3 to 2+`N` on"),
};
static const struct opt run_opts[] = {
    OPT_STR('b', "bundle", C(bundle), "`DIR` of config.json and root file system (default: the working directory)"),
    OPT_STR('\0', "console-socket", C(console_socket), "Unix socket `PATH` that gets the terminal's master"),
    OPT_STR('\0', "pidfd-socket", C(pidfd_socket), "Unix socket `PATH` that gets the process's pidfd"),
    OPT_FLAG('d', "detach", C(detach), "return when the process runs"),
    OPT_FLAG('\0', "keep", C(keep), "do not delete the container when it has ended"),
    OPT_STR('\0', "pid-file", C(pid_file), "write the process id to `FILE`"),
    OPT_FLAG('\0', "no-subreaper", C(no_subreaper), "do not become the parent of orphans"),
    OPT_FLAG('\0', "no-pivot", C(no_pivot), "move the root instead of pivot_root (root file system on a ramdisk)"),
    OPT_FLAG('\0', "no-new-keyring", C(no_new_keyring), "keep the session keyring"),
    OPT_U32('\0', "preserve-fds", C(preserve_fds), "pass descriptors 3 to 2+`N` on"),
};
#undef C
static const struct rt_create_args create_defaults = { .bundle = "." };

static const struct opt kill_opts[] = {
    OPT_FLAG('a', "all", offsetof(struct rt_kill_args, all), "signal every process of the container"),
};
static const struct opt delete_opts[] = {
    OPT_FLAG('f', "force", offsetof(struct rt_delete_args, force), "kill it first; an absent container is no error"),
};

#define C(member) offsetof(struct rt_exec_args, member)
static const struct opt exec_opts[] = {
    OPT_STR('\0', "console-socket", C(console_socket), "Unix socket `PATH` that gets the terminal's master"),
    OPT_STR('\0', "pidfd-socket", C(pidfd_socket), "Unix socket `PATH` that gets the process's pidfd"),
    OPT_STR('\0', "cwd", C(cwd), "working directory `DIR` in the container"),
    OPT_STRS('e', "env", C(env), "environment `KEY=VALUE`"),
    OPT_FLAG('t', "tty", C(tty), "with a terminal"),
    OPT_STR('u', "user", C(user), "user and group in numbers: `UID[:GID]`"),
    OPT_STRS('g', "additional-gids", C(groups), "additional group `GID`"),
    OPT_STR('p', "process", C(process), "`FILE` with the process in JSON"),
    OPT_FLAG('d', "detach", C(detach), "return when the process runs"),
    OPT_STR('\0', "pid-file", C(pid_file), "write the process id to `FILE`"),
    OPT_STR('\0', "process-label", C(process_label), "SELinux `LABEL`"),
    OPT_STR('\0', "apparmor", C(apparmor), "AppArmor `PROFILE`"),
    OPT_FLAG('\0', "no-new-privs", C(no_new_privs), "no privileges by set-uid programs"),
    OPT_STRS('c', "cap", C(caps), "add the capability `CAP_NAME`"),
    OPT_U32('\0', "preserve-fds", C(preserve_fds), "pass descriptors 3 to 2+`N` on"),
    OPT_STR('\0', "cgroup", C(cgroup), "run in this `CGROUP` below the container's"),
    OPT_FLAG('\0', "ignore-paused", C(ignore_paused), "go on in a paused container; it runs when that is resumed"),
};
#undef C

#define C(member) offsetof(struct rt_list_args, member)
static const struct opt list_opts[] = {
    OPT_STR('f', "format", C(format), "`table` or json"),
    OPT_FLAG('q', "quiet", C(quiet), "only ids"),
};
static const struct opt ps_opts[] = {
    OPT_STR('f', "format", C(format), "`table` or json"),
};
#undef C
static const struct rt_list_args list_defaults = { .format = "table" };

#define C(member) offsetof(struct rt_update_args, member)
static const struct opt update_opts[] = {
    OPT_STR('r', "resources", C(resources), "`FILE` with linux.resources in JSON, - for standard input"),
    OPT_I64('\0', "blkio-weight", C(blkio_weight), "block I/O weight, 10 to 1000"),
    OPT_I64('\0', "cpu-period", C(cpu_period), "CFS period in `MICROSECONDS`"),
    OPT_I64('\0', "cpu-quota", C(cpu_quota), "CFS quota in `MICROSECONDS` a period, -1: none"),
    OPT_I64('\0', "cpu-burst", C(cpu_burst), "CFS burst in `MICROSECONDS`"),
    OPT_I64('\0', "cpu-share", C(cpu_share), "CPU shares"),
    OPT_I64('\0', "cpu-shares", C(cpu_share), NULL),
    OPT_I64('\0', "cpu-rt-period", C(cpu_rt_period), "real-time period in `MICROSECONDS`"),
    OPT_I64('\0', "cpu-rt-runtime", C(cpu_rt_runtime), "real-time quota in `MICROSECONDS`"),
    OPT_STR('\0', "cpuset-cpus", C(cpuset_cpus), "`CPUS` to use, as 0-3,5"),
    OPT_STR('\0', "cpuset-mems", C(cpuset_mems), "memory `NODES` to use"),
    OPT_I64('\0', "cpu-idle", C(cpu_idle), "1: run only when nobody else does"),
    OPT_SIZE('\0', "memory", C(memory), "memory limit, -1: none"),
    OPT_SIZE('\0', "memory-reservation", C(memory_reservation), "soft memory limit"),
    OPT_SIZE('\0', "memory-swap", C(memory_swap), "limit of memory and swap together, -1: none"),
    OPT_SIZE('\0', "kernel-memory", C(kernel_memory), NULL),
    OPT_SIZE('\0', "kernel-memory-tcp", C(kernel_memory_tcp), NULL),
    OPT_I64('\0', "pids-limit", C(pids_limit), "number of processes, -1: no limit"),
    OPT_STR('\0', "l3-cache-schema", C(l3_cache_schema), "Intel RDT/CAT `SCHEMA`"),
    OPT_STR('\0', "mem-bw-schema", C(mem_bw_schema), "Intel RDT/MBA `SCHEMA`"),
};
#undef C
/* INT64_MIN: not given. */
static const struct rt_update_args update_defaults = {
    .blkio_weight = INT64_MIN, .cpu_period = INT64_MIN, .cpu_quota = INT64_MIN, .cpu_burst = INT64_MIN,
    .cpu_share = INT64_MIN, .cpu_rt_period = INT64_MIN, .cpu_rt_runtime = INT64_MIN, .cpu_idle = INT64_MIN,
    .memory = INT64_MIN, .memory_reservation = INT64_MIN, .memory_swap = INT64_MIN, .pids_limit = INT64_MIN,
};

#define C(member) offsetof(struct rt_events_args, member)
static const struct opt events_opts[] = {
    OPT_DURATION('\0', "interval", C(interval), "time between figures (default 5s)"),
    OPT_FLAG('\0', "stats", C(stats), "show the figures once, and end"),
};
#undef C
static const struct rt_events_args events_defaults = { .interval = 5000000000 };
static const struct rt_events_args stats_defaults = { .interval = 5000000000, .stats = true };

#define C(member) offsetof(struct rt_spec_args, member)
static const struct opt spec_opts[] = {
    OPT_STR('b', "bundle", C(bundle), "`DIR` to write config.json to (default: the working directory)"),
    OPT_FLAG('\0', "rootless", C(rootless), "for a user without privileges"),
};
#undef C

#define C(member) offsetof(struct rt_criu_args, member)
static const struct opt criu_opts[] = {
    OPT_STR('\0', "image-path", C(image_path), "`DIR` of the image"),
    OPT_STR('\0', "work-path", C(work_path), "`DIR` of logs"),
    OPT_STR('b', "bundle", C(bundle), "`DIR` of the bundle"),
    OPT_STR('\0', "pid-file", C(pid_file), "write the process id to `FILE`"),
    OPT_STR('\0', "console-socket", C(console_socket), "Unix socket `PATH` that gets the terminal's master"),
    OPT_FLAG('\0', "leave-running", C(leave_running), "go on afterwards"),
    OPT_FLAG('\0', "tcp-established", C(tcp_established), "allow open TCP connections"),
    OPT_FLAG('\0', "ext-unix-sk", C(ext_unix_sk), "allow external Unix sockets"),
    OPT_FLAG('\0', "shell-job", C(shell_job), "allow shell jobs"),
    OPT_FLAG('\0', "file-locks", C(file_locks), "allow file locks"),
    OPT_FLAG('d', "detach", C(detach), "return when the process runs"),
};
#undef C

#define ONE_ID .operands = "ID", .min_operands = 1, .max_operands = 1
static const struct command commands[] = {
    { .name = "create", .summary = "create a container that waits to be started", ONE_ID, .opts = OPTS(create_opts),
      .args_size = sizeof(struct rt_create_args), .defaults = &create_defaults, .run = rt_create,
      .examples = "tare-oci create --bundle /srv/web web1\ntare-oci start web1" },
    { .name = "start", .summary = "start a container that was created", ONE_ID, .run = rt_start },
    { .name = "run", .summary = "create a container, start it and wait for it", ONE_ID, .opts = OPTS(run_opts),
      .args_size = sizeof(struct rt_create_args), .defaults = &create_defaults, .run = rt_run,
      .examples = "tare-oci run --bundle /srv/web web1\ntare-oci run -d --pid-file /run/web1.pid -b /srv/web web1" },
    { .name = "exec", .summary = "run another process in a container", .operands = "ID [COMMAND [ARG...]]",
      .min_operands = 1, .max_operands = OPTS_ANY, .options_first = true, .opts = OPTS(exec_opts),
      .args_size = sizeof(struct rt_exec_args), .run = rt_exec,
      .examples = "tare-oci exec -t web1 sh\ntare-oci exec --process /tmp/process.json web1" },
    { .name = "kill", .summary = "send a signal (default SIGTERM) to a container", .operands = "ID [SIGNAL]",
      .min_operands = 1, .max_operands = 2, .opts = OPTS(kill_opts), .args_size = sizeof(struct rt_kill_args),
      .run = rt_kill, .examples = "tare-oci kill web1 KILL\ntare-oci kill --all web1 15" },
    { .name = "delete", .summary = "delete a container that has stopped", ONE_ID, .opts = OPTS(delete_opts),
      .args_size = sizeof(struct rt_delete_args), .run = rt_delete, .examples = "tare-oci delete --force web1" },
    { .name = "state", .summary = "show the state of a container as JSON", ONE_ID, .run = rt_state },
    { .name = "list", .summary = "list containers", .opts = OPTS(list_opts), .args_size = sizeof(struct rt_list_args),
      .defaults = &list_defaults, .run = rt_list, .examples = "tare-oci list -f json" },
    { .name = "ps", .summary = "list the processes of a container", .operands = "ID [PS-OPTION...]", .min_operands = 1,
      .max_operands = OPTS_ANY, .options_first = true, .opts = OPTS(ps_opts), .args_size = sizeof(struct rt_list_args),
      .defaults = &list_defaults, .run = rt_ps, .examples = "tare-oci ps web1\ntare-oci ps web1 -o pid,cmd" },
    { .name = "pause", .summary = "freeze every process of a container", ONE_ID, .run = rt_pause },
    { .name = "resume", .summary = "let a paused container go on", ONE_ID, .run = rt_resume },
    { .name = "update", .summary = "change the resource limits of a container", ONE_ID, .opts = OPTS(update_opts),
      .args_size = sizeof(struct rt_update_args), .defaults = &update_defaults, .run = rt_update,
      .examples = "tare-oci update --memory 256m --pids-limit 100 web1\n"
                  "echo '{\"cpu\":{\"quota\":50000}}' | tare-oci update -r - web1" },
    { .name = "events", .summary = "show figures and out-of-memory events of a container", ONE_ID,
      .opts = OPTS(events_opts), .args_size = sizeof(struct rt_events_args), .defaults = &events_defaults,
      .run = rt_events, .examples = "tare-oci events --stats web1" },
    { .name = "stats", .summary = "show figures of a container once", ONE_ID, .opts = OPTS(events_opts),
      .args_size = sizeof(struct rt_events_args), .defaults = &stats_defaults, .run = rt_events },
    { .name = "spec", .summary = "write a new config.json", .opts = OPTS(spec_opts),
      .args_size = sizeof(struct rt_spec_args), .run = rt_spec, .examples = "tare-oci spec --rootless" },
    { .name = "features", .summary = "show what this runtime can do, as JSON", .run = rt_features },
    { .name = "checkpoint", .summary = "save a running container (needs criu)", ONE_ID, .opts = OPTS(criu_opts),
      .args_size = sizeof(struct rt_criu_args), .run = rt_checkpoint },
    { .name = "restore", .summary = "restore a saved container (needs criu)", ONE_ID, .opts = OPTS(criu_opts),
      .args_size = sizeof(struct rt_criu_args), .run = rt_restore },
};

#define C(member) offsetof(struct rt, member)
static const struct opt root_opts[] = {
    OPT_FLAG('\0', "debug", C(debug), "log more"),
    OPT_STR('\0', "log", C(log), "write errors to `FILE` as well"),
    OPT_STR('\0', "log-format", C(log_format), "format of the log file: `text` or json"),
    OPT_STR('\0', "root", C(root), "`DIR` of the containers' states (default /run/tare-oci)"),
    OPT_STR('\0', "criu", C(criu), NULL),
    OPT_FLAG('\0', "systemd-cgroup", C(systemd_cgroup), "cgroups by systemd: cgroupsPath is \"slice:prefix:name\""),
    OPT_STR('\0', "rootless", C(rootless), "ignore cgroup errors for want of privilege: true, false or `auto`"),
    OPT_FLAG('v', "version", C(version), "show the version"),
};
#undef C

static const struct command root = {
    .name = "tare-oci",
    .summary = "OCI runtime: runs containers from bundles (config.json and a root file system)",
    .opts = OPTS(root_opts),
    .commands = commands,
    .n_commands = ARRAY_LEN(commands),
    .examples = "tare-oci run --bundle /srv/web web1\npodman --runtime /usr/bin/tare-oci run alpine true",
};

static bool log_open(const struct rt *g, struct log *l)
{
    if (!g->log || !*g->log) {
        return false;
    }
    l->fd = open(g->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
    l->level = g->debug ? LOG_DEBUG : LOG_INFO;
    l->format = str_eq(g->log_format, "json") ? LOG_JSON : LOG_TEXT;
    return l->fd >= 0;
}

static void tell(const struct rt *g, enum log_level level, const char *prefix, const char *text)
{
    struct log l = { .fd = -1 };
    if (log_open(g, &l)) {
        log_event(&l, level, text, NULL);
        fd_close(&l.fd);
        if (level != LOG_ERROR) {
            return;
        }
    } else if (str_eq(g->log_format, "json")) {
        l = (struct log){ .fd = STDERR_FILENO, .level = LOG_DEBUG, .format = LOG_JSON };
        log_event(&l, level, text, NULL);
        return;
    }
    CLEANUP_BUF struct buf line = { 0 };
    buf_addf(&line, "tare-oci: %s", prefix);
    for (const char *c = text; *c; c++) { /* one line, whatever came from outside */
        buf_addc(&line, *c == '\n' || *c == '\r' ? ' ' : *c);
    }
    buf_addc(&line, '\n');
    if (fd_write_all(STDERR_FILENO, buf_str(&line), line.len) < 0) {
        return; /* nobody is left to be told */
    }
}

int rt_fail(const struct rt *g, int code, const struct err *e)
{
    tell(g, LOG_ERROR, "", e->text[0] ? e->text : "unknown error");
    return code;
}

void rt_warn(const struct rt *g, const char *text)
{
    tell(g, LOG_WARN, "warning: ", text);
}

int rt_print(const struct rt *g, const struct buf *text)
{
    struct err e = { 0 };
    if (buf_failed(text)) {
        err_oom(&e);
        return rt_fail(g, 1, &e);
    }
    int r = fd_write_all(STDOUT_FILENO, buf_str(text), text->len);
    if (r < 0) {
        err_sys(&e, -r, "write to standard output");
        return rt_fail(g, 1, &e);
    }
    return 0;
}

static int show_version(const struct rt *g)
{
    CLEANUP_BUF struct buf b = { 0 };
    const struct scmp_version *v = seccomp_version();
    buf_addf(&b, "tare-oci version %s\nspec: %s\nlibseccomp: %u.%u.%u\n", TARE_VERSION, OCI_VERSION, v->major, v->minor,
             v->micro);
    return rt_print(g, &b);
}

/* Defaults and values of the global options. */
static int check_globals(struct rt *g, char *root_buf, size_t len, struct err *e)
{
    if (g->log_format && !str_eq(g->log_format, "text") && !str_eq(g->log_format, "json")) {
        return err_set(e, EINVAL, ERR_INVALID, "--log-format: \"%s\" is neither text nor json", g->log_format);
    }
    static const char *const words[] = { "auto", "true", "false", "1", "0", "t", "f" };
    bool known = !g->rootless;
    for (size_t i = 0; i < ARRAY_LEN(words) && !known; i++) {
        known = strcmp(g->rootless, words[i]) == 0;
    }
    if (!known) {
        return err_set(e, EINVAL, ERR_INVALID, "--rootless: \"%s\" is none of auto, true, false", g->rootless);
    }
    if (g->root) {
        return *g->root ? 0 : err_set(e, EINVAL, ERR_INVALID, "--root: must not be empty");
    }
    const char *dir = geteuid() == 0 ? NULL : getenv("XDG_RUNTIME_DIR");
    snprintf(root_buf, len, "%s/tare-oci", dir && dir[0] == '/' ? dir : "/run");
    g->root = root_buf;
    return 0;
}

/* Whether the command becomes a container's process; too often is no harm, so a word anywhere in the arguments is enough. */
static bool makes_process(char **argv)
{
    for (; *argv; argv++) {
        if (str_eq(*argv, "create") || str_eq(*argv, "run") || str_eq(*argv, "exec") || str_eq(*argv, "restore")) {
            return true;
        }
    }
    return false;
}

/* The heap grows and shrinks in few steps: each brk() is a call, and what it gives back has to be faulted in again. */
static void heap_prepare(void)
{
    mallopt(M_TOP_PAD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
}

int main(int argc, char **argv)
{
    struct err e = { 0 };
    struct rt g = { 0 };
    char root_buf[4096];
    CLEANUP_COMMAND_LINE struct command_line l = { 0 };
    /* Before the arguments are parsed, which reorders them. From here on nobody in a container can write our program. */
    int r = makes_process(argv) ? self_protect(argv, &e) : 0;
    if (r < 0) {
        return rt_fail(&g, 1, &e);
    }
    if (makes_process(argv)) {
        heap_prepare();
    }
    r = command_parse(&root, &g, argc, argv, &l, &e);
    if (r == 0 && g.version) {
        return show_version(&g);
    }
    if (r == 0 && l.help) {
        CLEANUP_BUF struct buf b = { 0 };
        command_help(l.command, l.path, &b);
        return rt_print(&g, &b);
    }
    if (r == 0) {
        r = check_globals(&g, root_buf, sizeof(root_buf), &e);
    }
    if (r < 0) {
        return rt_fail(&g, 1, &e);
    }
    return l.command->run(&g, l.args, l.argc, l.argv);
}
