/* cmd/tare-run.c: run, create, start -a, attach, exec: everything that joins a person's terminal to a container. */
#include "base/fd.h"
#include "cmd/commands.h"
#include "cmd/names.h"
#include "cmd/parse.h"
#include "cmd/run-args.h"
#include "cmd/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { EXIT_TARE = 125, EXIT_CANNOT = 126, EXIT_MISSING = 127 };

/*
 * docker's exit codes for a process that could not be started. The built-in runtime, runc and crun find that out when they
 * create the container, so the code of the error alone does not tell it from a missing volume: the text names the program.
 */
static int start_code(const struct err *e)
{
    if (!strstr(e->text, "exec: \"") && !strstr(e->text, "executable file")) {
        return EXIT_TARE;
    }
    return strstr(e->text, "no such file") || strstr(e->text, "not found") ? EXIT_MISSING : EXIT_CANNOT;
}

static int ensure_image(struct cli *c, const struct run_args *a, const char *ref, struct err *e)
{
    const char *policy = a->pull ? a->pull : "missing";
    struct engine_image *img = NULL;
    bool always = strcmp(policy, "always") == 0, never = strcmp(policy, "never") == 0;
    if (!always && !never && strcmp(policy, "missing") != 0) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid pull option: '%.40s': must be one of always, missing, never", policy);
    }
    if (!always) {
        int r = engine_image_get(c->g, ref, &img, e);
        engine_image_free(img);
        if (r == 0 || e->kind != ERR_NOT_FOUND) {
            return r;
        }
        if (never) {
            return err_set(e, ENOENT, ERR_NOT_FOUND, "no such image: %.200s; try 'tare pull %.200s'", ref, ref);
        }
        err_clear(e);
        if (!a->quiet) {
            fprintf(stderr, "Unable to find image '%s' locally\n", ref);
        }
    }
    struct pull_args p = { .platform = a->platform, .quiet = a->quiet, .tls_verify = a->tls_verify, .progress = a->progress };
    CLEANUP_FREE char *id = NULL;
    return pull_image(c, ref, &p, &id, e);
}

/* Ports that the image exposes, for -P. */
static int publish_exposed(struct cli *c, const char *image, char *const *expose, struct engine_pod_spec *pod, struct err *e)
{
    CLEANUP_FREE char *config = NULL, *manifest = NULL;
    int r = engine_image_config(c->g, image, &config, &manifest, e);
    json_t *doc = r == 0 ? json_loads(config, 0, NULL) : NULL, *value;
    json_t *ports = json_object_get(json_object_get(doc, "config"), "ExposedPorts");
    const char *key;
    json_object_foreach(ports, key, value) {
        r = r == 0 ? parse_publish(key, &pod->ports.v, &pod->ports.n, e) : r;
    }
    for (size_t i = 0; r == 0 && expose && expose[i]; i++) {
        r = parse_publish(expose[i], &pod->ports.v, &pod->ports.n, e);
    }
    json_decref(doc);
    return r;
}

/* Opened before anything is made, so that an existing file costs nothing. */
static int open_cidfile(const char *path, int *ret_fd, struct err *e)
{
    if (!path) {
        return 0;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_sys(e, errno, "container ID file %s", path);
    }
    *ret_fd = fd;
    return 0;
}

/* A container without a name gets one, drawn again while it is taken. */
static int create_named(struct cli *c, const struct run_args *a, const struct engine_pod_spec *pod, struct engine_ctr_spec *ctr,
                        char **ret_id, struct err *e)
{
    for (int tries = 0;; tries++) {
        if (!a->name) {
            free(ctr->name);
            ctr->name = name_random();
        }
        int r = !a->name && !ctr->name ? err_oom(e) : engine_ctr_create(c->g, a->pod, a->pod ? NULL : pod, ctr, ret_id, e);
        if (r == 0 || a->name || e->kind != ERR_EXISTS || tries > 20) {
            return r;
        }
        err_clear(e);
    }
}

static int create(struct cli *c, const struct run_args *a, int argc, char **argv, char **ret_id, struct err *e)
{
    struct engine_ctr_spec ctr = { 0 };
    struct engine_pod_spec pod = { 0 };
    CLEANUP_FD int cid = -1;
    int r = run_specs(c, a, argc, argv, &ctr, &pod, e);
    if (r == 0) {
        r = cli_engine(c, e);
    }
    if (r == 0) {
        r = ensure_image(c, a, argv[0], e);
    }
    if (r == 0 && a->publish_all) {
        r = publish_exposed(c, argv[0], a->expose, &pod, e);
    }
    if (r == 0) {
        r = open_cidfile(a->cidfile, &cid, e);
    }
    if (r == 0) {
        r = create_named(c, a, &pod, &ctr, ret_id, e);
        if (r == 0 && cid >= 0 && fd_write_all(cid, *ret_id, strlen(*ret_id)) < 0) {
            r = err_set(e, EIO, ERR_INTERNAL, "container ID file %s: cannot be written", a->cidfile);
        } else if (r < 0 && cid >= 0) {
            unlink(a->cidfile);
        }
    }
    engine_ctr_spec_done(&ctr);
    engine_pod_spec_done(&pod);
    return r;
}

int run_create(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct err e = { 0 };
    CLEANUP_FREE char *id = NULL;
    if (create(c, args, argc, argv, &id, &e) < 0) {
        return cli_fail(c, &e, EXIT_TARE);
    }
    return cli_puts(id);
}

/* After the exit of an attached --rm container: the monitor's exit command does the same; whoever is first. */
static void remove_after(struct cli *c, const char *id, const struct engine_ctr *ctr)
{
    struct err e = { 0 };
    if (engine_ctr_remove(c->g, id, true, &e) < 0 && e.kind != ERR_NOT_FOUND) {
        cli_fail(c, &e, 0);
    }
    if (ctr) {
        volumes_forget(c, ctr);
    }
}

struct attached {
    const char *id, *detach_keys;
    bool with_stdin, sig_proxy, start, rm;
};

/* Attach, start, join, and the exit code. */
static int run_attached(struct cli *c, const struct attached *t, const struct engine_ctr *ctr)
{
    struct session s = { .stream = { .fd = -1 }, .with_stdin = t->with_stdin, .sig_proxy = t->sig_proxy, .ref = t->id, .g = c->g,
                         .detach_keys = t->detach_keys ? t->detach_keys : c->config.detach_keys };
    struct err e = { 0 };
    int32_t code = EXIT_TARE;
    int r = engine_ctr_attach(c->g, t->id, t->with_stdin, &s.stream, &e);
    if (r == 0) {
        r = session_open(&s, &e);
    }
    if (r == 0 && t->start) {
        r = engine_ctr_start(c->g, t->id, &e);
        code = r < 0 ? start_code(&e) : code;
    }
    if (r == 0) {
        r = session_run(&s, &e);
    }
    session_close(&s);
    if (r < 0) {
        cli_fail(c, &e, 0);
    } else if (s.detached) {
        return 0;
    } else if (s.got_exit) {
        code = s.exit_code;
    } else if (engine_ctr_wait(c->g, t->id, -1, &code, &e) < 0) {
        code = cli_fail(c, &e, EXIT_TARE);
    }
    if (t->rm) {
        remove_after(c, t->id, ctr);
    }
    return code;
}

static bool wants_stdin(const struct run_args *a)
{
    bool named = false;
    for (size_t i = 0; a->attach && a->attach[i]; i++) {
        named |= strcmp(a->attach[i], "stdin") == 0 || strcmp(a->attach[i], "STDIN") == 0;
    }
    return a->interactive && (!a->attach || named);
}

int run_run(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct run_args *a = args;
    struct err e = { 0 };
    CLEANUP_FREE char *id = NULL;
    if (a->detach && a->attach) {
        err_set(&e, EINVAL, ERR_INVALID, "conflicting options: cannot specify both --attach and --detach");
        return cli_fail(c, &e, EXIT_TARE);
    }
    if (a->tty && a->interactive && !a->detach && !isatty(STDIN_FILENO)) {
        err_set(&e, ENOTTY, ERR_INVALID, "the input device is not a TTY; leave -t out");
        return cli_fail(c, &e, 1);
    }
    if (create(c, a, argc, argv, &id, &e) < 0) {
        return cli_fail(c, &e, start_code(&e));
    }
    struct engine_ctr *ctr = NULL;
    if (a->rm && engine_ctr_get(c->g, id, &ctr, &e) < 0) {
        ctr = NULL;
    }
    int code;
    if (a->detach) {
        err_clear(&e);
        code = engine_ctr_start(c->g, id, &e) < 0 ? cli_fail(c, &e, start_code(&e)) : cli_puts(id);
        if (e.code && a->rm) {
            remove_after(c, id, ctr);
        }
    } else {
        struct attached t = { id, a->detach_keys, wants_stdin(a), a->sig_proxy, true, a->rm };
        code = run_attached(c, &t, ctr);
    }
    engine_ctr_free(ctr);
    return code;
}

/* ---- start, attach -------------------------------------------------------------------------- */

struct start_args {
    bool attach, interactive, sig_proxy, no_stdin;
    const char *detach_keys;
};
static const struct start_args start_defaults = { .sig_proxy = true };

static int start_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    (void)args;
    return engine_ctr_start(c->g, ref, e);
}

static int attach_to(struct cli *c, const struct start_args *a, const char *ref, bool start)
{
    struct engine_ctr *ctr = NULL;
    struct err e = { 0 };
    if (cli_engine(c, &e) < 0 || engine_ctr_get(c->g, ref, &ctr, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    int code = 1;
    if (!start && ctr->state != ENGINE_CTR_RUNNING && ctr->state != ENGINE_CTR_PAUSED) {
        cli_note(c, "cannot attach to a container that is %s; try 'tare start -a %s'", engine_ctr_state_name(ctr->state), ref);
    } else {
        struct attached t = { ctr->id, a->detach_keys ? a->detach_keys : ctr->spec.detach_keys,
                              (start ? a->interactive : !a->no_stdin) && ctr->spec.stdin_open, a->sig_proxy, start,
                              start && ctr->spec.auto_remove };
        code = run_attached(c, &t, ctr);
    }
    engine_ctr_free(ctr);
    return code;
}

static int run_start(void *globals, void *args, int argc, char **argv)
{
    const struct start_args *a = args;
    if (!a->attach && !a->interactive) {
        return cli_each(globals, argc, argv, start_one, NULL, false);
    }
    if (argc > 1) {
        cli_note(globals, "you cannot start and attach multiple containers at once");
        return 1;
    }
    return attach_to(globals, a, argv[0], true);
}

static int run_attach(void *globals, void *args, int argc, char **argv)
{
    (void)argc;
    return attach_to(globals, args, argv[0], false);
}

/* ---- exec ------------------------------------------------------------------------------------ */

struct exec_args {
    bool interactive, tty, detach, privileged;
    const char *workdir, *user, *detach_keys;
    char **env, **env_file;
};

static int exec_session(struct cli *c, const struct exec_args *a, const char *ref, const struct engine_exec_spec *spec)
{
    struct session s = { .stream = { .fd = -1 }, .with_stdin = a->interactive, .g = c->g, .detach_keys = a->detach_keys };
    struct err e = { 0 };
    CLEANUP_FREE char *exec_id = NULL;
    int32_t code = EXIT_CANNOT;
    int r = engine_exec_start(c->g, ref, spec, a->detach, &s.stream, &e);
    if (r < 0) {
        code = start_code(&e);
        return cli_fail(c, &e, code == EXIT_TARE ? 1 : code);
    }
    if (a->detach) {
        session_close(&s);
        return 0;
    }
    exec_id = s.stream.exec_id ? strdup(s.stream.exec_id) : NULL;
    r = session_open(&s, &e);
    if (r == 0) {
        r = session_run(&s, &e);
    }
    session_close(&s);
    if (r < 0) {
        return cli_fail(c, &e, code);
    }
    if (s.detached) {
        return 0;
    }
    if (s.got_exit) {
        return s.exit_code;
    }
    return engine_exec_wait(c->g, ref, exec_id, -1, &code, &e) < 0 ? cli_fail(c, &e, EXIT_CANNOT) : code;
}

static int run_exec(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct exec_args *a = args;
    struct err e = { 0 };
    struct engine_exec_spec spec = { .tty = a->tty, .stdin_open = a->interactive, .privileged = a->privileged };
    (void)argc;
    spec.args = argv + 1;
    spec.working_dir = a->workdir ? strdup(a->workdir) : NULL;
    spec.user = a->user ? strdup(a->user) : NULL;
    session_size(&spec.tty_rows, &spec.tty_cols);
    int r = cli_engine(c, &e);
    if (r == 0 && a->tty && a->interactive && !a->detach && !isatty(STDIN_FILENO)) {
        r = err_set(&e, ENOTTY, ERR_INVALID, "the input device is not a TTY; leave -t out");
    }
    for (size_t i = 0; r == 0 && a->env_file && a->env_file[i]; i++) {
        r = parse_env_file(a->env_file[i], &spec.env, &e);
    }
    for (size_t i = 0; r == 0 && a->env && a->env[i]; i++) {
        r = parse_env(a->env[i], &spec.env, &e);
    }
    int code = r < 0 ? cli_fail(c, &e, 1) : exec_session(c, a, argv[0], &spec);
    free(spec.working_dir);
    free(spec.user);
    strv_free(spec.env);
    return code;
}

#define S(member) offsetof(struct start_args, member)
static const struct opt start_opts[] = {
    OPT_FLAG('a', "attach", S(attach), "attach its output and pass signals on"),
    OPT_FLAG('i', "interactive", S(interactive), "attach standard input"),
    OPT_STR('\0', "detach-keys", S(detach_keys), "`KEYS` that detach"),
    OPT_FLAG('\0', "sig-proxy", S(sig_proxy), "pass signals on (default true)"),
};
static const struct opt attach_opts[] = {
    OPT_STR('\0', "detach-keys", S(detach_keys), "`KEYS` that detach"),
    OPT_FLAG('\0', "no-stdin", S(no_stdin), "do not attach standard input"),
    OPT_FLAG('\0', "sig-proxy", S(sig_proxy), "pass signals on (default true)"),
};
#define X(member) offsetof(struct exec_args, member)
static const struct opt exec_opts[] = {
    OPT_FLAG('i', "interactive", X(interactive), "keep standard input open"),
    OPT_FLAG('t', "tty", X(tty), "give it a terminal"),
    OPT_FLAG('d', "detach", X(detach), "run in the background"),
    OPT_STRS('e', "env", X(env), "set a variable, `K=V`"),
    OPT_STRS('\0', "env-file", X(env_file), "read variables from `FILE`"),
    OPT_STR('w', "workdir", X(workdir), "start in `DIR`"),
    OPT_STR('u', "user", X(user), "run as `USER[:GROUP]`"),
    OPT_FLAG('\0', "privileged", X(privileged), "all capabilities"),
    OPT_STR('\0', "detach-keys", X(detach_keys), "`KEYS` that detach"),
};

const struct command command_start = {
    .name = "start", .operands = "CONTAINER [CONTAINER...]", .summary = "Start stopped containers", .opts = OPTS(start_opts),
    .args_size = sizeof(struct start_args), .defaults = &start_defaults, .min_operands = 1, .max_operands = OPTS_ANY, .run = run_start,
};
const struct command command_attach = {
    .name = "attach", .operands = "CONTAINER", .summary = "Attach to a running container", .opts = OPTS(attach_opts),
    .args_size = sizeof(struct start_args), .defaults = &start_defaults, .min_operands = 1, .max_operands = 1, .run = run_attach,
};
const struct command command_exec = {
    .name = "exec", .operands = "CONTAINER COMMAND [ARG...]", .summary = "Run a command in a running container",
    .examples = "tare exec -it web sh\ntare exec -u 33 -w /www web ls", .opts = OPTS(exec_opts), .args_size = sizeof(struct exec_args),
    .min_operands = 2, .max_operands = OPTS_ANY, .options_first = true, .run = run_exec,
};
