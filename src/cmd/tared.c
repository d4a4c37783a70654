/*
 * cmd/tared.c: the daemon: CRI over gRPC on Unix sockets. It holds nothing that could not be read again: it may be killed and
 * started at any moment, and no container notices.
 */
#include "base/fd.h"
#include "base/num.h"
#include "base/opts.h"
#include "cmd/config.h"
#include "cmd/tared-socket.h"
#include "cri/cri.h"
#include "http/grpc.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN_MAX = 8, HANDLERS_MAX = 32, TRIM_S = 30, STACK = 256 << 10, STOP_MS = 300 };

struct args {
    const char *root, *run, *config, *log_level, *log_format, *hosts_dir, *monitor;
    char **listen, **cni_conf_dirs, **cni_bin_dirs, **handlers;
    bool version;
};

static const struct opt options[] = {
    OPT_STR('\0', "root", offsetof(struct args, root), "keep state in `DIR` (default /var/lib/tare)"),
    OPT_STR('\0', "run", offsetof(struct args, run), "keep what a reboot may forget in `DIR` (default /run/tare)"),
    OPT_STR('\0', "config", offsetof(struct args, config), "read `FILE` (default " CONFIG_PATH ")"),
    OPT_STR('\0', "log-level", offsetof(struct args, log_level), "error, warn, info or debug: `LEVEL`"),
    OPT_STR('\0', "log-format", offsetof(struct args, log_format), "text or json: `FORMAT`"),
    OPT_STRS('\0', "listen", offsetof(struct args, listen), "serve CRI on `ADDRESS` (default unix:///run/tare/tare.sock); repeatable"),
    OPT_STR('\0', "registry-hosts-dir", offsetof(struct args, hosts_dir), "read registries' hosts.toml below `DIR`"),
    OPT_STRS('\0', "cni-conf-dir", offsetof(struct args, cni_conf_dirs), "read network configurations in `DIR`"),
    OPT_STRS('\0', "cni-bin-dir", offsetof(struct args, cni_bin_dirs), "look for CNI plugins in `DIR`; repeatable"),
    OPT_STRS('\0', "runtime-handler", offsetof(struct args, handlers), "run RuntimeClass NAME by the program PATH: `NAME=PATH`; repeatable"),
    OPT_STR('\0', "monitor", offsetof(struct args, monitor), "start `PROGRAM` as the pods' monitor"),
    OPT_FLAG('v', "version", offsetof(struct args, version), "print the version"),
};
static const struct opts option_table = OPTS(options);

struct tared {
    struct args args;
    struct config config;
    struct log log;
    struct engine *engine;
    struct cri *cri;
    struct grpc_server *server;
    struct loop *loop;
    struct cri_handler handlers[HANDLERS_MAX];
    size_t n_handlers;
    int listen[LISTEN_MAX];
    size_t n_listen;
    int wake, lock;
    struct loop_source *trim, *watchdog;
    uint64_t watchdog_ns;
    atomic_uint calls; /* since the memory was last trimmed */
    pthread_t recover;
    bool has_recover;
};

/* ---- set-up ----------------------------------------------------------------------------------- */

static void on_config_warning(void *data, const char *text)
{
    struct tared *t = data;
    log_event(&t->log, LOG_WARN, "config", "problem", text, NULL);
}

static int load_config(struct tared *t, struct err *e)
{
    struct config fresh = { 0 };
    int r = config_load(t->args.config, on_config_warning, t, &fresh, e);
    if (r < 0) {
        return r;
    }
    const char *level = t->args.log_level ? t->args.log_level : fresh.log_level;
    const char *format = t->args.log_format ? t->args.log_format : fresh.log_format;
    enum log_level parsed = LOG_INFO;
    if (level && log_level_parse(level, &parsed) < 0) {
        config_done(&fresh);
        return err_set(e, EINVAL, ERR_INVALID, "log level %s: is none of error, warn, info, debug", level);
    }
    t->log.level = parsed;
    t->log.format = str_eq(format, "json") ? LOG_JSON : LOG_TEXT;
    if (t->server) {
        /* A reload: what is in use by others keeps its old values until the next start. */
        grpc_server_set_threads(t->server, fresh.threads);
        config_done(&fresh);
        return 0;
    }
    t->config = fresh;
    return 0;
}

static int add_handlers(struct tared *t, struct err *e)
{
    t->handlers[t->n_handlers++] = (struct cri_handler){ .name = "", .user_namespaces = true, .recursive_readonly = true };
    t->handlers[t->n_handlers++] = (struct cri_handler){ .name = "tare", .user_namespaces = true, .recursive_readonly = true };
    for (size_t i = 0; t->args.handlers && t->args.handlers[i]; i++) {
        char *equals = strchr(t->args.handlers[i], '=');
        if (!equals || equals == t->args.handlers[i] || equals[1] != '/') {
            return err_set(e, EINVAL, ERR_INVALID, "--runtime-handler %s: has to be NAME=/PATH", t->args.handlers[i]);
        }
        if (t->n_handlers == HANDLERS_MAX) {
            return err_set(e, E2BIG, ERR_INVALID, "--runtime-handler: more than %d", HANDLERS_MAX - 2);
        }
        *equals = '\0';
        t->handlers[t->n_handlers++] = (struct cri_handler){ .name = t->args.handlers[i], .runtime = equals + 1 };
    }
    return 0;
}

static int open_engine(struct tared *t, struct err *e)
{
    struct engine_options o = { 0 };
    config_engine_options(&t->config, &o);
    o.log = &t->log;
    o.root = t->args.root ? t->args.root : o.root;
    o.run = t->args.run ? t->args.run : o.run;
    o.hosts_dir = t->args.hosts_dir ? t->args.hosts_dir : o.hosts_dir;
    o.cni_conf_dirs = t->args.cni_conf_dirs ? t->args.cni_conf_dirs : o.cni_conf_dirs;
    o.cni_bin_dirs = t->args.cni_bin_dirs ? t->args.cni_bin_dirs : o.cni_bin_dirs;
    o.monitor_path = t->args.monitor ? t->args.monitor : o.monitor_path;
    CLEANUP_FREE char *lock = str_printf("%s/tared.lock", o.run);
    CLEANUP_FREE char *wake = str_printf("%s/tared.sock", o.run);
    if (!lock || !wake) {
        return err_oom(e);
    }
    int r = dir_make_all(AT_FDCWD, o.run, 0755, e);
    r = r < 0 ? r : socket_lock(lock, &t->lock, e);
    r = r < 0 ? r : socket_wake(wake, &t->wake, e);
    return r < 0 ? r : engine_open(&o, &t->engine, e);
}

static int open_sockets(struct tared *t, struct err *e)
{
    char *fallback[] = { t->config.listen, NULL };
    CLEANUP_FREE char *own = str_printf("unix://%s/tare.sock", t->args.run ? t->args.run : t->config.run);
    char *builtin[] = { own, NULL };
    char **urls = t->args.listen ? t->args.listen : t->config.listen ? fallback : builtin;
    int given = socket_activated();
    for (int i = 0; i < given; i++) {
        t->listen[t->n_listen++] = 3 + i;
    }
    for (size_t i = 0; given == 0 && urls[i]; i++) {
        if (t->n_listen == LISTEN_MAX) {
            return err_set(e, E2BIG, ERR_INVALID, "--listen: more than %d addresses", LISTEN_MAX);
        }
        int r = socket_listen(urls[i], &t->listen[t->n_listen], e);
        if (r < 0) {
            return r;
        }
        t->n_listen++;
    }
    return 0;
}

/* ---- while it runs --------------------------------------------------------------------------- */

static void on_call(void *data, const char *path, enum grpc_status status, uint64_t ns, const char *message)
{
    struct tared *t = data;
    char us[24];
    atomic_fetch_add(&t->calls, 1);
    enum log_level level = status == GRPC_OK || status == GRPC_CANCELLED ? LOG_DEBUG : status == GRPC_INTERNAL ? LOG_WARN : LOG_INFO;
    if (level > t->log.level) {
        return;
    }
    (void)snprintf(us, sizeof(us), "%llu", (unsigned long long)(ns / 1000));
    log_event(&t->log, level, "call", "method", strrchr(path, '/') + 1, "status", grpc_status_name(status), "us", us, "error", message,
              NULL);
}

static void on_wake(struct loop_source *s, int fd, uint32_t events, void *data)
{
    (void)s;
    (void)events;
    struct tared *t = data;
    char text[4096];
    for (ssize_t n; (n = recv(fd, text, sizeof(text), MSG_DONTWAIT)) >= 0;) {
        cri_wake(t->cri, text, (size_t)n);
    }
}

static void on_signal(struct loop_source *s, const struct signalfd_siginfo *si, void *data)
{
    (void)s;
    struct tared *t = data;
    struct err e = { 0 };
    char running[16];
    switch (si->ssi_signo) {
    case SIGHUP:
        socket_notify("RELOADING=1");
        if (load_config(t, &e) < 0) {
            log_event(&t->log, LOG_WARN, "reload.failed", "error", e.text, NULL);
        }
        socket_notify("READY=1");
        break;
    case SIGUSR1:
        (void)snprintf(running, sizeof(running), "%u", grpc_server_running(t->server));
        log_event(&t->log, LOG_INFO, "state", "running_calls", running, NULL);
        break;
    default:
        loop_stop(t->loop);
    }
}

/* What a burst of calls used goes back to the kernel when it is over. */
static void on_trim(struct loop_source *s, void *data)
{
    struct tared *t = data;
    if (atomic_exchange(&t->calls, 0) > 0) {
        (void)malloc_trim(0);
    }
    loop_set_timer(s, TRIM_S * (uint64_t)1000000000);
}

static void on_watchdog(struct loop_source *s, void *data)
{
    struct tared *t = data;
    socket_notify("WATCHDOG=1");
    loop_set_timer(s, t->watchdog_ns);
}

/* Journal and clean-ups: in the background, the sockets are served meanwhile. */
static void *recover(void *data)
{
    struct tared *t = data;
    struct err e = { 0 };
    if (engine_recover(t->engine, &e) < 0) {
        log_event(&t->log, LOG_WARN, "recover", "error", e.text, NULL);
    }
    cri_wake(t->cri, "", 0);
    return NULL;
}

static int start_recover(struct tared *t, struct err *e)
{
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&t->recover, &attr, recover, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    t->has_recover = r == 0;
    return r == 0 ? 0 : err_sys(e, r, "start thread");
}

static int attach_loop(struct tared *t, struct err *e)
{
    struct loop_source *s = NULL;
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < 4; i++) {
        sigaddset(&set, (const int[]){ SIGTERM, SIGINT, SIGHUP, SIGUSR1 }[i]);
    }
    int r = loop_add_signals(t->loop, &set, on_signal, t, &s, e);
    r = r < 0 ? r : loop_add_fd(t->loop, t->wake, EPOLLIN, on_wake, t, &s, e);
    r = r < 0 ? r : loop_add_timer(t->loop, 2000000000, on_trim, t, &t->trim, e);
    t->watchdog_ns = socket_watchdog();
    if (r == 0 && t->watchdog_ns > 0) {
        r = loop_add_timer(t->loop, t->watchdog_ns, on_watchdog, t, &t->watchdog, e);
    }
    for (size_t i = 0; i < t->n_listen && r == 0; i++) {
        r = grpc_server_listen(t->server, t->listen[i], e);
    }
    return r;
}

static int streaming_options(const struct tared *t, struct cri_streaming *ret, struct err *e)
{
    int64_t idle = 0;
    if (t->config.stream_port > UINT16_MAX) {
        return err_set(e, EINVAL, ERR_INVALID, "streaming.port: %u is no port", t->config.stream_port);
    }
    if (t->config.stream_idle && num_duration(t->config.stream_idle, &idle) < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "streaming.idle_timeout: %s is no duration", t->config.stream_idle);
    }
    *ret = (struct cri_streaming){ .address = t->config.stream_address, .port = (uint16_t)t->config.stream_port,
                                   .connections = t->config.stream_connections, .idle_ns = (uint64_t)idle };
    return 0;
}

static int start(struct tared *t, struct err *e)
{
    struct grpc_options g = { .observe = on_call, .observe_data = t, .limits.threads = t->config.threads };
    int r = add_handlers(t, e);
    r = r < 0 ? r : open_engine(t, e);
    r = r < 0 ? r : open_sockets(t, e);
    struct cri_options c = { .engine = t->engine, .log = &t->log, .handlers = t->handlers, .n_handlers = t->n_handlers };
    r = r < 0 ? r : streaming_options(t, &c.streaming, e);
    r = r < 0 ? r : cri_new(&c, &t->cri, e);
    r = r < 0 ? r : cri_start(t->cri, e);
    r = r < 0 ? r : loop_new(&t->loop, e);
    g.data = t->cri;
    g.methods = cri_methods(&g.n_methods);
    r = r < 0 ? r : grpc_server_new(t->loop, &g, &t->server, e);
    r = r < 0 ? r : attach_loop(t, e);
    return r < 0 ? r : start_recover(t, e);
}

/* Memory stays small only if threads share arenas; descriptors are needed by the thousand. */
static void tune(void)
{
    struct rlimit l;
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 10);
    (void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max < 1 << 20 ? l.rlim_max : 1 << 20;
        (void)setrlimit(RLIMIT_NOFILE, &l);
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

static int serve(struct tared *t)
{
    struct err e = { 0 };
    int r = load_config(t, &e);
    r = r < 0 ? r : start(t, &e);
    if (r == 0) {
        socket_notify("READY=1");
        log_event(&t->log, LOG_INFO, "serving", "version", TARE_VERSION, NULL);
        r = loop_run(t->loop, &e);
    }
    if (r < 0) {
        log_event(&t->log, LOG_ERROR, "failed", "error", e.text, NULL);
    }
    return r;
}

/* Containers stay. Calls that still run are cut off as by a crash, which every one of them survives. */
static void end(struct tared *t, int code)
{
    socket_notify("STOPPING=1");
    unsigned left = t->server ? grpc_server_stop(t->server, STOP_MS) : 0;
    left += t->cri ? cri_stop_streams(t->cri, STOP_MS) : 0;
    if (left > 0 || t->has_recover) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
        if (left > 0 || pthread_timedjoin_np(t->recover, NULL, &until) != 0) {
            _exit(code);
        }
    }
    grpc_server_free(t->server);
    cri_free(t->cri);
    engine_close(t->engine);
    loop_free(t->loop);
    fd_close(&t->wake);
    fd_close(&t->lock);
    for (size_t i = 0; i < t->n_listen; i++) {
        fd_close(&t->listen[i]);
    }
    config_done(&t->config);
    opts_free(&option_table, &t->args);
}

int main(int argc, char **argv)
{
    struct tared t = { .log = { .fd = STDERR_FILENO, .level = LOG_INFO }, .wake = -1, .lock = -1 };
    struct err e = { 0 };
    bool help = false;
    tune();
    if (opts_parse(&option_table, &t.args, false, "tared", &argc, &argv, &help, &e) < 0 ||
        (argc > 0 && err_set(&e, EINVAL, ERR_INVALID, "tared takes no operands: %s", argv[0]) < 0)) {
        (void)fprintf(stderr, "tared: %s\n", e.text);
        return 2;
    }
    if (help) {
        CLEANUP_BUF struct buf text = { 0 };
        command_help(&(const struct command){ .name = "tared", .summary = "Serve CRI to a kubelet", .opts = option_table }, "tared", &text);
        (void)fputs(buf_str(&text), stdout);
        return 0;
    }
    if (t.args.version) {
        (void)puts("tared " TARE_VERSION);
        return 0;
    }
    int code = serve(&t) < 0 ? 1 : 0;
    end(&t, code);
    return code;
}
