/* cmd/run-opts.c: the options of run and create. See run-args.h. */
#include "cmd/commands.h"
#include "cmd/run-args.h"

#define O(member) offsetof(struct run_args, member)

static const struct run_args run_defaults = { .sig_proxy = true, .tls_verify = true, .stop_timeout = -1, .oom_score_adj = INT64_MIN };

#define COMMON_OPTIONS                                                                                                          \
    OPT_FLAG('i', "interactive", O(interactive), "keep standard input open"),                                                   \
    OPT_FLAG('t', "tty", O(tty), "give it a terminal"),                                                                         \
    OPT_FLAG('\0', "rm", O(rm), "remove the container when it exits"),                                                          \
    OPT_STR('\0', "name", O(name), "call the container `NAME`"),                                                                \
    OPT_STRS('e', "env", O(env), "set a variable, `K=V`, or pass on K"),                                                        \
    OPT_STRS('\0', "env-file", O(env_file), "read variables from `FILE`"),                                                      \
    OPT_STRS('v', "volume", O(volume), "mount `[SRC:]DST[:OPTS]`, a folder or a volume"),                                       \
    OPT_STRS('\0', "mount", O(mount), "mount by `KEY=VALUE,...`: type, src, dst, ro, ..."),                                     \
    OPT_STRS('\0', "tmpfs", O(tmpfs), "mount a tmpfs at `DST[:OPTS]`"),                                                         \
    OPT_STR('w', "workdir", O(workdir), "start in `DIR`"),                                                                      \
    OPT_STR('u', "user", O(user), "run as `USER[:GROUP]`, names or numbers"),                                                   \
    OPT_STRS('\0', "group-add", O(group_add), "add `GROUP` to the process"),                                                    \
    OPT_STR('\0', "network", O(network), "bridge, host, none, container:ID, or `NET` by name"),                                 \
    OPT_STR('\0', "net", O(network), NULL),                                                                                     \
    OPT_STRS('p', "publish", O(publish), "publish a port, `[[IP:]HOST:]CTR[/PROTO]`"),                                          \
    OPT_FLAG('P', "publish-all", O(publish_all), "publish all ports that the image exposes"),                                   \
    OPT_STRS('\0', "expose", O(expose), "expose `PORT` (for -P)"),                                                              \
    OPT_STR('h', "hostname", O(hostname), "host name `NAME`"),                                                                  \
    OPT_STR('\0', "domainname", O(domainname), "domain name `NAME`"),                                                           \
    OPT_STRS('\0', "add-host", O(add_host), "add `NAME:IP` to /etc/hosts"),                                                     \
    OPT_STRS('\0', "dns", O(dns), "name server `IP`"),                                                                          \
    OPT_STRS('\0', "dns-search", O(dns_search), "search `DOMAIN`"),                                                             \
    OPT_STRS('\0', "dns-option", O(dns_option), "resolver option `OPT`"),                                                       \
    OPT_STRS('\0', "dns-opt", O(dns_option), NULL),                                                                             \
    OPT_SIZE('m', "memory", O(memory), "limit of memory"),                                                                      \
    OPT_SIZE('\0', "memory-swap", O(memory_swap), "limit of memory and swap; -1: none"),                                        \
    OPT_SIZE('\0', "memory-reservation", O(memory_reservation), "soft limit of memory"),                                        \
    OPT_STR('\0', "cpus", O(cpus), "number of CPUs, `1.5`"),                                                                    \
    OPT_I64('c', "cpu-shares", O(cpu_shares), "relative weight"),                                                               \
    OPT_I64('\0', "cpu-period", O(cpu_period), "CFS period in `µs`"),                                                           \
    OPT_I64('\0', "cpu-quota", O(cpu_quota), "CFS quota in `µs`"),                                                              \
    OPT_STR('\0', "cpuset-cpus", O(cpuset_cpus), "run on CPUs `0-3,5`"),                                                        \
    OPT_STR('\0', "cpuset-mems", O(cpuset_mems), "use memory nodes `0,1`"),                                                     \
    OPT_I64('\0', "pids-limit", O(pids_limit), "limit of processes; -1: none"),                                                 \
    OPT_I64('\0', "oom-score-adj", O(oom_score_adj), "OOM score, -1000 to 1000"),                                               \
    OPT_STRS('\0', "cap-add", O(cap_add), "add capability `CAP`, or ALL"),                                                      \
    OPT_STRS('\0', "cap-drop", O(cap_drop), "drop capability `CAP`, or ALL"),                                                   \
    OPT_FLAG('\0', "privileged", O(privileged), "all capabilities and devices, no confinement"),                                \
    OPT_STRS('\0', "device", O(device), "give it `DEV[:CTR][:rwm]` or a CDI name"),                                             \
    OPT_STRS('\0', "security-opt", O(security_opt), "`OPT`: seccomp=, apparmor=, label=, no-new-privileges, unmask=ALL"),       \
    OPT_FLAG('\0', "read-only", O(read_only), "mount its root read-only"),                                                      \
    OPT_SIZE('\0', "shm-size", O(shm_size), "size of /dev/shm"),                                                                \
    OPT_STR('\0', "entrypoint", O(entrypoint), "run `PROGRAM` in place of the image's entry point"),                            \
    OPT_FLAG('\0', "init", O(init), "run a small init that reaps processes"),                                                   \
    OPT_STR('\0', "runtime", O(runtime), "OCI runtime `PROGRAM`; tare: built in"),                                              \
    OPT_STRS('l', "label", O(label), "set label `K=V`"),                                                                        \
    OPT_STRS('\0', "label-file", O(label_file), "read labels from `FILE`"),                                                     \
    OPT_STRS('\0', "annotation", O(annotation), "set annotation `K=V` in the OCI config"),                                      \
    OPT_STRS('\0', "ulimit", O(ulimit), "resource limit `NAME=SOFT[:HARD]`"),                                                   \
    OPT_STRS('\0', "sysctl", O(sysctl), "kernel parameter `K=V`"),                                                              \
    OPT_STR('\0', "stop-signal", O(stop_signal), "`SIGNAL` that stops it"),                                                     \
    OPT_I64('\0', "stop-timeout", O(stop_timeout), "`SECONDS` before it is killed"),                                            \
    OPT_STR('\0', "restart", O(restart), "`POLICY`: no, on-failure[:N], always, unless-stopped"),                               \
    OPT_STR('\0', "pid", O(pid), "PID namespace: `host` or container:ID"),                                                      \
    OPT_STR('\0', "ipc", O(ipc), "IPC namespace: `host`, private or container:ID"),                                             \
    OPT_STR('\0', "userns", O(userns), "user namespace: `host` or auto"),                                                       \
    OPT_STR('\0', "uts", O(uts), "UTS namespace: `host`"),                                                                      \
    OPT_STR('\0', "cgroup-parent", O(cgroup_parent), "put it below cgroup `PATH`"),                                             \
    OPT_STR('\0', "cgroupns", O(cgroupns), "cgroup namespace: `private` or host"),                                              \
    OPT_STR('\0', "log-driver", O(log_driver), "`json-file` or none"),                                                          \
    OPT_STRS('\0', "log-opt", O(log_opt), "`K=V`: max-size, max-file"),                                                         \
    OPT_STR('\0', "pull", O(pull), "pull the image: always, `missing` or never"),                                               \
    OPT_FLAG('q', "quiet", O(quiet), "no progress of the pull"),                                                                \
    OPT_STR('\0', "progress", O(progress), "`auto`, plain or json"),                                                            \
    OPT_FLAG('\0', "tls-verify", O(tls_verify), "false: any certificate, and plain HTTP"),                                      \
    OPT_STR('\0', "platform", O(platform), "image for `OS/ARCH[/VARIANT]`"),                                                    \
    OPT_STR('\0', "cidfile", O(cidfile), "write the id to `FILE`, which must not exist"),                                       \
    OPT_STR('\0', "pod", O(pod), "run in `POD`"),                                                                               \
    OPT_STRS('a', "attach", O(attach), "attach stdin, stdout or stderr"),                                                       \
    OPT_FLAG('\0', "no-healthcheck", O(no_healthcheck), NULL),                                                                  \
    OPT_STR('\0', "detach-keys", O(detach_keys), "`KEYS` that detach: ctrl-p,ctrl-q")

static const struct opt create_opts[] = { COMMON_OPTIONS };
static const struct opt run_opts[] = {
    OPT_FLAG('d', "detach", O(detach), "run in the background and print the id"),
    COMMON_OPTIONS,
    OPT_FLAG('\0', "sig-proxy", O(sig_proxy), "pass signals on to the process (default true)"),
};

const struct command command_run = {
    .name = "run", .operands = "IMAGE [COMMAND] [ARG...]", .summary = "Create and run a new container from an image",
    .description = "The image is pulled if it is missing. Exit code: that of the process; 125 if tare failed, 126 if the command\n"
                   "cannot be executed, 127 if it does not exist, 128+N if signal N ended it.",
    .examples = "tare run -it --rm busybox\ntare run -d --name web -p 8080:80 -v /srv/www:/www:ro busybox httpd -f -h /www\n"
                "tare run --rm --memory 64m --cpus 0.5 --network none busybox true",
    .opts = OPTS(run_opts), .args_size = sizeof(struct run_args), .defaults = &run_defaults, .min_operands = 1,
    .max_operands = OPTS_ANY, .options_first = true, .run = run_run,
};
const struct command command_create = {
    .name = "create", .operands = "IMAGE [COMMAND] [ARG...]", .summary = "Create a new container",
    .examples = "tare create --name job busybox sleep 10\ntare start -a job", .opts = OPTS(create_opts),
    .args_size = sizeof(struct run_args), .defaults = &run_defaults, .min_operands = 1, .max_operands = OPTS_ANY,
    .options_first = true, .run = run_create,
};
