/* cmd/tare-completion.c: completion scripts for bash, zsh and fish, from the tables of commands. */
#include "cmd/cli.h"
#include "cmd/commands.h"

#include <stdio.h>

typedef void emit_fn(struct buf *out, const struct command *c, const char *path);

/* fn for the command and all below it; path: "run" or "pod ls", "" for the root. */
static void walk(const struct command *c, const char *path, emit_fn *fn, struct buf *out)
{
    fn(out, c, path);
    for (size_t i = 0; i < c->n_commands; i++) {
        CLEANUP_FREE char *sub = str_printf("%s%s%s", path, *path ? " " : "", c->commands[i].name);
        if (sub && c->commands[i].summary) {
            walk(&c->commands[i], sub, fn, out);
        }
    }
}

static void add_words(struct buf *out, const struct command *c)
{
    for (size_t i = 0; i < c->n_commands; i++) {
        if (c->commands[i].summary) {
            buf_addf(out, "%s ", c->commands[i].name);
        }
    }
    for (size_t i = 0; i < c->opts.n; i++) {
        if (c->opts.v[i].help && c->opts.v[i].name) {
            buf_addf(out, "--%s ", c->opts.v[i].name);
        }
    }
    buf_adds(out, "--help");
}

static void bash_case(struct buf *out, const struct command *c, const char *path)
{
    buf_addf(out, "    '%s') words='", path);
    add_words(out, c);
    buf_adds(out, "' ;;\n");
}

/* Names of what an operand can be. */
static const char bash_head[] =
        "_tare() {\n  local cur=${COMP_WORDS[COMP_CWORD]} path='' words='' w i\n"
        "  for ((i = 1; i < COMP_CWORD; i++)); do\n    w=${COMP_WORDS[i]}\n    [[ $w == -* ]] && continue\n"
        "    case \"$path $w\" in\n";
static const char bash_middle[] = "    esac\n  done\n  case \"$path\" in\n";
static const char bash_tail[] =
        "  esac\n  if [[ $cur != -* ]]; then\n    case \"${path##* }\" in\n"
        "    start|stop|restart|kill|pause|unpause|rm|logs|exec|attach|wait|top|stats|rename|port|update|diff|inspect|cp)\n"
        "      words+=\" $(tare ps -a --format '{{.Names}}' 2>/dev/null)\" ;;\n"
        "    run|create|rmi|tag|push|history|save)\n"
        "      words+=\" $(tare images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null)\" ;;\n    esac\n  fi\n"
        "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
        "  [[ ${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=($(compgen -f -- \"$cur\"))\n}\n"
        "complete -F _tare tare\n";

static void bash_step(struct buf *out, const struct command *c, const char *path)
{
    (void)c;
    const char *last = strrchr(path, ' ');
    if (*path) {
        buf_addf(out, "    '%.*s %s') path='%s' ;;\n", last ? (int)(last - path) : 0, path, last ? last + 1 : path, path);
    }
}

static void bash(const struct command *root, struct buf *out)
{
    buf_adds(out, bash_head);
    walk(root, "", bash_step, out);
    buf_adds(out, bash_middle);
    walk(root, "", bash_case, out);
    buf_adds(out, bash_tail);
}

/* zsh runs bash's function by its own emulation. */
static void zsh(const struct command *root, struct buf *out)
{
    buf_adds(out, "#compdef tare\nautoload -Uz +X bashcompinit && bashcompinit\n");
    bash(root, out);
}

static void fish_quoted(struct buf *out, const char *s)
{
    buf_addc(out, '\'');
    for (; *s; s++) {
        if (*s == '`') {
            continue;
        }
        buf_adds(out, *s == '\'' || *s == '\\' ? "\\" : "");
        buf_addc(out, *s);
    }
    buf_addc(out, '\'');
}

static void fish_command(struct buf *out, const struct command *c, const char *path)
{
    const char *group = strchr(path, ' ');
    char when[256];
    if (!*path) {
        snprintf(when, sizeof(when), "__fish_use_subcommand");
    } else if (!group) {
        snprintf(when, sizeof(when), "__fish_seen_subcommand_from %s", path);
    } else {
        snprintf(when, sizeof(when), "__fish_seen_subcommand_from %.*s; and __fish_seen_subcommand_from %s", (int)(group - path), path,
                 group + 1);
    }
    for (size_t i = 0; i < c->n_commands; i++) {
        if (c->commands[i].summary) {
            buf_addf(out, "complete -c tare -f -n '%s' -a %s -d ", when, c->commands[i].name);
            fish_quoted(out, c->commands[i].summary);
            buf_addc(out, '\n');
        }
    }
    for (size_t i = 0; i < c->opts.n; i++) {
        const struct opt *o = &c->opts.v[i];
        if (o->help && o->name) {
            buf_addf(out, "complete -c tare -n '%s' -l %s", when, o->name);
            if (o->letter) {
                buf_addf(out, " -s %c", o->letter);
            }
            buf_adds(out, o->kind == OPT_K_FLAG ? " -d " : " -r -d ");
            fish_quoted(out, o->help);
            buf_addc(out, '\n');
        }
    }
}

static void fish(const struct command *root, struct buf *out)
{
    walk(root, "", fish_command, out);
}

static int run_completion(void *globals, void *args, int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(const struct command *root, struct buf *out);
    } shells[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };
    struct cli *c = globals;
    CLEANUP_BUF struct buf out = { 0 };
    (void)args, (void)argc;
    for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
        if (strcmp(argv[0], shells[i].name) == 0) {
            shells[i].fn(c->tree, &out);
            return cli_put(&out);
        }
    }
    cli_note(c, "no completion for '%.40s' (bash, zsh, fish)", argv[0]);
    return 1;
}

const struct command command_completion = { .name = "completion", .operands = "bash|zsh|fish", .summary = "Print a completion script",
                                            .examples = "tare completion bash >/etc/bash_completion.d/tare", .min_operands = 1,
                                            .max_operands = 1, .run = run_completion };
