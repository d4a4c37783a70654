/* cmd/tmpl.c: interprets a template directly from its text; a range runs its part of the text again. See tmpl.h. */
#include "cmd/tmpl.h"

#include "cmd/tmpl-func.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

enum { VARS_MAX = 16, DEPTH_MAX = 32, OUTPUT_MAX = 64 << 20 };

struct var {
    char name[32];
    json_t *value;
};

struct run {
    const char *at; /* in the template */
    json_t *root, *dot;
    struct var vars[VARS_MAX];
    size_t n_vars;
    struct buf *out;
    int depth;
    bool trim; /* the last action ended with "-}}" */
    struct err *e;
};

/* What a piece of text between {{ and }} holds. */
struct action {
    char text[1024];
    char word[16]; /* its first word */
    const char *rest;
};

static int bad(struct run *r, const char *what, const char *text)
{
    return err_set(r->e, EINVAL, ERR_INVALID, "template: %s: %.200s", what, text);
}

static int no_field(struct run *r, const char *name, json_t *object)
{
    size_t n;
    const char **keys = tmpl_sorted_keys(object, &n);
    CLEANUP_BUF struct buf list = { 0 };
    for (size_t i = 0; keys && i < n; i++) {
        buf_addf(&list, "%s.%s", i ? " " : "", keys[i]);
    }
    free(keys);
    return err_set(r->e, EINVAL, ERR_INVALID, "template: no field .%.60s here; there are: %.700s", name, buf_str(&list));
}

/* Walks ".A.B" from v; *ret borrowed. */
static int walk(struct run *r, json_t *v, const char *path, json_t **ret)
{
    char name[128];
    while (*path == '.' && path[1]) {
        size_t n = strcspn(++path, ".");
        snprintf(name, sizeof(name), "%.*s", (int)n, path);
        if (json_is_object(v) && !json_object_get(v, name) && v == r->root) {
            return no_field(r, name, v);
        }
        if (v && !json_is_object(v) && !json_is_null(v)) {
            return bad(r, "not an object, has no field", name);
        }
        v = json_object_get(v, name);
        path += n;
    }
    *ret = v;
    return 0;
}

static json_t *var_get(struct run *r, const char *name, size_t len)
{
    for (size_t i = r->n_vars; i-- > 0;) {
        if (strlen(r->vars[i].name) == len && strncmp(r->vars[i].name, name, len) == 0) {
            return r->vars[i].value;
        }
    }
    return NULL;
}

/* A literal: "text", `text`, number, true, false. New reference. */
static json_t *literal(const char *s)
{
    size_t n = strlen(s);
    if (n >= 2 && s[0] == '`') {
        return json_stringn(s + 1, n - 2);
    }
    if (n >= 2 && s[0] == '"') {
        return json_loads(s, JSON_DECODE_ANY, NULL);
    }
    if (isdigit((unsigned char)s[0]) || strcmp(s, "true") == 0 || strcmp(s, "false") == 0) {
        return json_loads(s, JSON_DECODE_ANY, NULL);
    }
    return NULL;
}

static int eval_pipe(struct run *r, const char *text, json_t **ret);

/* One operand; *ret is a new reference. */
static int operand(struct run *r, const char *s, json_t **ret)
{
    json_t *v = NULL;
    int rc = 0;
    if (s[0] == '(') {
        char inner[1024];
        snprintf(inner, sizeof(inner), "%.*s", (int)strlen(s) - 2, s + 1);
        return eval_pipe(r, inner, ret);
    }
    if (s[0] == '.') {
        rc = walk(r, r->dot, s, &v);
    } else if (s[0] == '$') {
        size_t n = strcspn(s, ".");
        v = n == 1 ? r->root : var_get(r, s, n);
        if (!v) {
            return bad(r, "undefined variable", s);
        }
        rc = walk(r, v, s + n, &v);
    } else {
        *ret = literal(s);
        return *ret ? 0 : bad(r, "not understood", s);
    }
    *ret = v ? json_incref(v) : json_null();
    return rc;
}

/* The end of the word that begins at s: quotes and brackets kept together; NULL if they do not close. */
static const char *word_end(const char *s)
{
    int depth = 0;
    for (; *s && (depth > 0 || (!isspace((unsigned char)*s) && *s != '|')); s++) {
        if (*s == '"' || *s == '`') {
            char q = *s++;
            while (*s && *s != q) {
                s += *s == '\\' && q == '"' && s[1] ? 2 : 1;
            }
            if (!*s) {
                return NULL;
            }
        }
        depth += *s == '(' ? 1 : *s == ')' ? -1 : 0;
    }
    return depth == 0 ? s : NULL;
}

/* One command of a pipeline: "join .Tags ","", "." …; piped (may be NULL) becomes its last argument. */
static int eval_command(struct run *r, const char **text, json_t *piped, json_t **ret)
{
    json_t *args[TMPL_ARGS_MAX + 1] = { 0 };
    char word[1024], func[32] = "";
    size_t n = 0, words = 0;
    int rc = 0;
    const char *s = *text + strspn(*text, " \t\n");
    while (rc == 0 && *s && *s != '|') {
        const char *end = word_end(s);
        if (!end || (size_t)(end - s) >= sizeof(word) || n >= TMPL_ARGS_MAX) {
            rc = bad(r, "cannot be parsed", s);
            break;
        }
        snprintf(word, sizeof(word), "%.*s", (int)(end - s), s);
        if (words++ == 0 && isalpha((unsigned char)word[0]) && !strchr(word, '"') && strcmp(word, "true") != 0 &&
            strcmp(word, "false") != 0) {
            snprintf(func, sizeof(func), "%.31s", word);
        } else {
            rc = operand(r, word, &args[n]);
            n += rc == 0;
        }
        s = end + strspn(end, " \t\n");
    }
    if (rc == 0 && piped) {
        args[n++] = json_incref(piped);
    }
    if (rc == 0 && *func) {
        rc = tmpl_call(func, args, n, ret, r->e);
    } else if (rc == 0 && n == 1) {
        *ret = json_incref(args[0]);
    } else if (rc == 0) {
        rc = bad(r, "not a function call", *text);
    }
    for (size_t i = 0; i < n; i++) {
        json_decref(args[i]);
    }
    *text = s;
    return rc;
}

static int eval_pipe(struct run *r, const char *text, json_t **ret)
{
    json_t *v = NULL;
    int rc;
    if (r->depth > DEPTH_MAX) {
        return bad(r, "nested too deep", text);
    }
    r->depth++;
    for (;;) {
        json_t *next = NULL;
        rc = eval_command(r, &text, v, &next);
        json_decref(v);
        v = next;
        if (rc < 0 || *text != '|') {
            break;
        }
        text++;
    }
    r->depth--;
    if (rc == 0) {
        *ret = v;
    } else {
        json_decref(v);
    }
    return rc;
}

/* Copies text up to the next action (or the end) and reads the action. Returns 1, 0 at the end, or an error. */
static int next_action(struct run *r, bool skip, struct action *a)
{
    const char *open = strstr(r->at, "{{"), *from = r->at;
    const char *end = open ? open : r->at + strlen(r->at);
    bool trim_left = open && open[2] == '-' && isspace((unsigned char)open[3]);
    if (r->trim) {
        from += strspn(from, " \t\n");
    }
    while (trim_left && end > from && isspace((unsigned char)end[-1])) {
        end--;
    }
    if (!skip && end > from) {
        buf_add(r->out, from, (size_t)(end - from));
    }
    r->trim = false;
    if (!open) {
        r->at += strlen(r->at);
        return 0;
    }
    const char *body = open + (trim_left ? 3 : 2), *close = strstr(body, "}}");
    if (!close || (size_t)(close - body) >= sizeof(a->text)) {
        return bad(r, "unclosed action", open);
    }
    r->at = close + 2;
    if (close > body && close[-1] == '-') {
        close--;
        r->trim = true;
    }
    body += strspn(body, " \t\n");
    while (close > body && isspace((unsigned char)close[-1])) {
        close--;
    }
    snprintf(a->text, sizeof(a->text), "%.*s", (int)(close > body ? close - body : 0), body);
    size_t n = strcspn(a->text, " \t\n");
    snprintf(a->word, sizeof(a->word), "%.*s", (int)(n < sizeof(a->word) ? n : 0), a->text);
    a->rest = a->text + n + strspn(a->text + n, " \t\n");
    return 1;
}

static int block(struct run *r, bool skip, bool *ret_else, struct action *stop);

static bool opens(const struct action *a)
{
    return !strcmp(a->word, "if") || !strcmp(a->word, "range") || !strcmp(a->word, "with");
}

/* The part up to {{end}} with dot; *ret_else is set when it stopped at {{else}}. */
static int part(struct run *r, bool skip, json_t *dot, bool *ret_else, struct action *stop)
{
    json_t *saved = r->dot;
    r->dot = dot;
    int rc = block(r, skip, ret_else, stop);
    r->dot = saved;
    return rc;
}

static int run_if(struct run *r, bool skip, bool with, const char *cond)
{
    json_t *v = NULL;
    struct action stop;
    bool at_else = false;
    int rc = skip ? 0 : eval_pipe(r, cond, &v);
    bool yes = !skip && rc == 0 && tmpl_is_true(v);
    if (rc == 0) {
        rc = part(r, skip || !yes, with ? v : r->dot, &at_else, &stop);
    }
    json_decref(v);
    if (rc == 0 && at_else && strncmp(stop.rest, "if ", 3) == 0) { /* {{else if}} shares the {{end}} */
        return run_if(r, skip || yes, false, stop.rest + 3);
    }
    return rc == 0 && at_else ? part(r, skip || yes, r->dot, &at_else, &stop) : rc;
}

static void set_var(struct run *r, const char *name, json_t *v)
{
    if (*name && r->n_vars < VARS_MAX) {
        snprintf(r->vars[r->n_vars].name, sizeof(r->vars[0].name), "%.31s", name);
        r->vars[r->n_vars++].value = v;
    }
}

/* "$k, $v := PIPE" or "$v := PIPE" or "PIPE". */
static const char *range_names(const char *text, char key[32], char value[32])
{
    const char *assign = strstr(text, ":=");
    key[0] = value[0] = '\0';
    if (!assign || text[0] != '$') {
        return text;
    }
    size_t first = strcspn(text, ", :");
    const char *second = strchr(text, ',');
    if (second && second < assign) {
        second += 1 + strspn(second + 1, " ");
        snprintf(key, 32, "%.*s", (int)(first < 31 ? first : 31), text);
        snprintf(value, 32, "%.*s", (int)strcspn(second, " :"), second);
    } else {
        snprintf(value, 32, "%.*s", (int)(first < 31 ? first : 31), text);
    }
    return assign + 2;
}

static int range_item(struct run *r, const char *kname, const char *vname, json_t *key, json_t *item, bool *at_else,
                      struct action *stop)
{
    size_t vars = r->n_vars;
    set_var(r, kname, key);
    set_var(r, vname, item);
    int rc = part(r, false, item, at_else, stop);
    r->n_vars = vars;
    json_decref(key);
    return rc;
}

static int run_range(struct run *r, bool skip, const char *text)
{
    char kname[32], vname[32];
    const char *pipe = range_names(text, kname, vname), *start = r->at;
    json_t *v = NULL;
    struct action stop;
    bool at_else = false, trim = r->trim;
    int rc = skip ? 0 : eval_pipe(r, pipe, &v);
    size_t n = 0, done = 0;
    const char **keys = json_is_object(v) ? tmpl_sorted_keys(v, &n) : NULL;
    n = json_is_array(v) ? json_array_size(v) : n;
    for (; rc == 0 && done < n && !buf_failed(r->out); done++) {
        r->at = start;
        r->trim = trim;
        json_t *item = keys ? json_object_get(v, keys[done]) : json_array_get(v, done);
        rc = range_item(r, kname, vname, keys ? json_string(keys[done]) : json_integer((json_int_t)done), item, &at_else, &stop);
    }
    if (rc == 0 && done == 0) {
        rc = part(r, true, r->dot, &at_else, &stop);
    }
    if (rc == 0 && at_else) {
        rc = part(r, skip || done > 0, r->dot, &at_else, &stop);
    }
    free(keys);
    json_decref(v);
    return rc;
}

static int output(struct run *r, const char *text)
{
    json_t *v = NULL;
    int rc = eval_pipe(r, text, &v);
    if (rc == 0) {
        tmpl_print(r->out, v);
    }
    json_decref(v);
    return rc;
}

/* Runs until the {{end}} or {{else}} that belongs to it, or the end of the text at depth 0. */
static int block(struct run *r, bool skip, bool *ret_else, struct action *stop)
{
    bool inner = stop != NULL;
    struct action a;
    int rc;
    if (++r->depth > DEPTH_MAX) {
        return bad(r, "nested too deep", r->at);
    }
    if (ret_else) {
        *ret_else = false;
    }
    while ((rc = next_action(r, skip, &a)) == 1) {
        bool is_else = strcmp(a.word, "else") == 0;
        if (is_else || strcmp(a.word, "end") == 0) {
            r->depth--;
            if (!inner) {
                return bad(r, "unexpected", a.text);
            }
            *ret_else = is_else;
            *stop = a;
            stop->rest = stop->text + (a.rest - a.text);
            return 0;
        }
        if (opens(&a)) {
            rc = a.word[0] == 'r' ? run_range(r, skip, a.rest) : run_if(r, skip, a.word[0] == 'w', a.rest);
        } else {
            rc = skip || str_starts(a.text, "/*") ? 0 : output(r, a.text);
        }
        if (rc < 0) {
            return rc;
        }
    }
    r->depth--;
    return rc == 0 && inner ? bad(r, "unexpected end: {{end}} is missing", "") : rc;
}

int tmpl_run(const char *text, json_t *value, struct buf *out, struct err *e)
{
    struct run r = { .at = text, .root = value, .dot = value, .out = out, .e = e };
    size_t max = out->max;
    out->max = OUTPUT_MAX;
    int rc = block(&r, false, NULL, NULL);
    out->max = max;
    return rc == 0 && buf_failed(out) ? err_oom(e) : rc;
}
