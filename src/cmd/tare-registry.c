/* cmd/tare-registry.c: pull, push, login, logout, registry explain. */
#include "base/fd.h"
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/progress.h"
#include "image/auth.h"

#include <errno.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

enum { SECRET_MAX = 64 << 10 };

static const struct pull_args pull_defaults = { .tls_verify = true };

struct login_args {
    const char *username, *password;
    bool password_stdin, tls_verify, all;
};
static const struct login_args login_defaults = { .tls_verify = true };

/* "USER:PASSWORD" into auth; the copy is the caller's to free. */
static int creds(const char *s, struct engine_auth *auth, char **ret_copy, struct err *e)
{
    char *copy = strdup(s), *colon = copy ? strchr(copy, ':') : NULL;
    if (!copy) {
        return err_oom(e);
    }
    *ret_copy = copy;
    if (!colon) {
        return err_set(e, EINVAL, ERR_INVALID, "--creds: USER:PASSWORD is wanted");
    }
    *colon = '\0';
    auth->username = copy;
    auth->password = colon + 1;
    return 0;
}

struct transfer {
    struct engine_pull_options o;
    struct engine_auth auth;
    struct progress *progress;
    char *secret;
};

static int transfer_begin(const struct pull_args *a, struct transfer *t, struct err *e)
{
    *t = (struct transfer){ .o = { .platform = a->platform, .tls_verify = a->tls_verify } };
    int r = a->creds ? creds(a->creds, &t->auth, &t->secret, e) : 0;
    if (r == 0) {
        r = progress_new(a->quiet ? "none" : a->progress, STDERR_FILENO, &t->progress, e);
    }
    t->o.auth = a->creds ? &t->auth : NULL;
    t->o.progress = progress_update;
    t->o.data = t->progress;
    return r;
}

static void transfer_end(struct transfer *t)
{
    progress_free(t->progress);
    free(t->secret);
}

int pull_image(struct cli *c, const char *ref, const struct pull_args *a, char **ret_id, struct err *e)
{
    struct transfer t;
    int r = transfer_begin(a, &t, e);
    if (r == 0) {
        r = engine_image_pull(c->g, ref, &t.o, ret_id, e);
    }
    transfer_end(&t);
    return r;
}

static int run_pull(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct err e = { 0 };
    int code = 0;
    if (cli_engine(c, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    for (int i = 0; i < argc; i++) {
        CLEANUP_FREE char *id = NULL;
        err_clear(&e);
        if (pull_image(c, argv[i], args, &id, &e) < 0) {
            code = cli_fail(c, &e, 1);
        } else {
            cli_puts(id);
        }
    }
    return code;
}

static int run_push(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct err e = { 0 };
    struct transfer t;
    CLEANUP_FREE char *digest = NULL;
    int r = transfer_begin(args, &t, &e);
    if (r == 0) {
        r = cli_engine(c, &e);
    }
    if (r == 0) {
        r = engine_image_push(c->g, argv[0], argc > 1 ? argv[1] : argv[0], &t.o, &digest, &e);
    }
    transfer_end(&t);
    return r < 0 ? cli_fail(c, &e, 1) : cli_puts(digest);
}

/* ---- login ------------------------------------------------------------------------------------- */

/* One line; from a terminal with a prompt, a secret without echo. */
static int ask(const char *prompt, bool secret, struct buf *out, struct err *e)
{
    struct termios saved, t;
    bool tty = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved) == 0;
    char line[4096];
    if (!tty) {
        return err_set(e, ENOTTY, ERR_INVALID, "cannot ask without a terminal; try --username and --password-stdin");
    }
    t = saved;
    t.c_lflag &= secret ? ~(tcflag_t)ECHO : ~(tcflag_t)0;
    fprintf(stderr, "%s", prompt);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &t);
    ssize_t n = read(STDIN_FILENO, line, sizeof(line));
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved);
    if (secret) {
        fputc('\n', stderr);
    }
    if (n <= 0) {
        return err_set(e, ECANCELED, ERR_INVALID, "nothing was typed");
    }
    buf_add(out, line, (size_t)n);
    return 0;
}

static void chomp(struct buf *b)
{
    while (b->len > 0 && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == '\r')) {
        b->data[--b->len] = '\0';
    }
}

static int read_credentials(const struct login_args *a, struct buf *user, struct buf *password, struct err *e)
{
    int r = 0;
    buf_adds(user, a->username ? a->username : "");
    buf_adds(password, a->password ? a->password : "");
    if (a->password_stdin) {
        int rc = fd_read_all(STDIN_FILENO, password, SECRET_MAX);
        r = rc < 0 ? err_sys(e, -rc, "read the password from standard input") : 0;
    }
    if (r == 0 && !a->username) {
        r = a->password_stdin ? err_set(e, EINVAL, ERR_INVALID, "--password-stdin needs --username") : ask("Username: ", false, user, e);
    }
    if (r == 0 && !a->password && !a->password_stdin) {
        r = ask("Password: ", true, password, e);
    }
    chomp(user);
    chomp(password);
    return r;
}

static int run_login(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct login_args *a = args;
    const char *server = argc > 0 ? argv[0] : "docker.io";
    CLEANUP_BUF struct buf user = { 0 };
    CLEANUP_BUF struct buf password = { 0 };
    CLEANUP_FREE char *where = NULL;
    struct auth_paths paths = { 0 };
    struct err e = { 0 };
    int r = read_credentials(a, &user, &password, &e);
    struct engine_auth auth = { .username = user.data, .password = password.data };
    if (r == 0) {
        r = cli_engine(c, &e);
    }
    if (r == 0) {
        r = engine_registry_login(c->g, server, &auth, a->tls_verify, &e);
    }
    struct credential cred = { .username = user.data, .password = password.data };
    if (r == 0) {
        r = auth_store(&paths, server, &cred, &where, &e);
    }
    if (password.data) {
        explicit_bzero(password.data, password.len);
    }
    return r < 0 ? cli_fail(c, &e, 1) : cli_puts("Login Succeeded");
}

static int run_logout(void *globals, void *args, int argc, char **argv)
{
    const struct login_args *a = args;
    const char *server = a->all ? NULL : argc > 0 ? argv[0] : "docker.io";
    CLEANUP_STRV char **where = NULL;
    struct auth_paths paths = { 0 };
    struct err e = { 0 };
    if (auth_erase(&paths, server, &where, &e) < 0) {
        return cli_fail(globals, &e, 1);
    }
    for (size_t i = 0; where && where[i]; i++) {
        CLEANUP_FREE char *line = str_printf("Removed login credentials for %s (%s)", server ? server : "all registries", where[i]);
        cli_puts(line ? line : "");
    }
    return 0;
}

static int run_explain(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    CLEANUP_BUF struct buf out = { 0 };
    struct err e = { 0 };
    (void)args, (void)argc;
    if (cli_engine(c, &e) < 0 || engine_registry_explain(c->g, argv[0], &out, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    return cli_put(&out);
}

#define R(member) offsetof(struct pull_args, member)
static const struct opt pull_opts[] = {
    OPT_STR('\0', "platform", R(platform), "image for `OS/ARCH[/VARIANT]`"),
    OPT_STR('\0', "creds", R(creds), "`USER:PASSWORD` for the registry"),
    OPT_STR('\0', "progress", R(progress), "`auto`, plain, json or none"),
    OPT_FLAG('\0', "tls-verify", R(tls_verify), "false: any certificate, and plain HTTP"),
    OPT_FLAG('q', "quiet", R(quiet), "no progress"),
};
#define N(member) offsetof(struct login_args, member)
static const struct opt login_opts[] = {
    OPT_STR('u', "username", N(username), "log in as `NAME`"),
    OPT_STR('p', "password", N(password), "`PASSWORD`; better: --password-stdin"),
    OPT_FLAG('\0', "password-stdin", N(password_stdin), "read the password from standard input"),
    OPT_FLAG('\0', "tls-verify", N(tls_verify), "false: any certificate, and plain HTTP"),
};
static const struct opt logout_opts[] = { OPT_FLAG('a', "all", N(all), "from all registries") };
#define TRANSFER(fn) .opts = OPTS(pull_opts), .args_size = sizeof(struct pull_args), .defaults = &pull_defaults, .run = fn, .min_operands = 1
#define LOGIN(fn, table) .opts = OPTS(table), .args_size = sizeof(struct login_args), .defaults = &login_defaults, .run = fn, .max_operands = 1
const struct command command_pull = { .name = "pull", .operands = "IMAGE [IMAGE...]", .summary = "Download images",
                                      .examples = "tare pull busybox\ntare pull --tls-verify=false localhost:5000/app:v1",
                                      TRANSFER(run_pull), .max_operands = OPTS_ANY };
const struct command command_push = { .name = "push", .operands = "IMAGE [DESTINATION]", .summary = "Upload an image", TRANSFER(run_push),
                                      .max_operands = 2 };
const struct command command_login = { .name = "login", .operands = "[SERVER]", .summary = "Log in to a registry", LOGIN(run_login, login_opts) };
const struct command command_logout = { .name = "logout", .operands = "[SERVER]", .summary = "Forget a registry's credentials",
                                        LOGIN(run_logout, logout_opts) };
const struct command command_registry_explain = { .name = "explain", .operands = "IMAGE", .summary = "Show how an image would be pulled, and why",
                                                  .min_operands = 1, .max_operands = 1, .run = run_explain };
