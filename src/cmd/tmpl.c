/* cmd/tmpl.c: interprets a template directly from its text; a range runs its part of the text again. See tmpl.h. */
#include "cmd/tmpl.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

enum { VARS_MAX = 16, ARGS_MAX = 16, DEPTH_MAX = 32, OUTPUT_MAX = 64 << 20 };

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

static bool is_true(const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT:
        return json_object_size(v) > 0;
    case JSON_ARRAY:
        return json_array_size(v) > 0;
    case JSON_STRING:
        return json_string_length(v) > 0;
    case JSON_INTEGER:
        return json_integer_value(v) != 0;
    case JSON_REAL:
        return json_real_value(v) < 0 || json_real_value(v) > 0;
    case JSON_TRUE:
        return true;
    default:
        return false;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys in order, as Go walks maps; caller frees the list alone. */
static const char **sorted_keys(json_t *object, size_t *ret_n)
{
    size_t n = 0;
    const char **keys = calloc(json_object_size(object) + 1, sizeof(*keys)), *key;
    json_t *value;
    if (keys) {
        json_object_foreach(object, key, value) {
            keys[n++] = key;
        }
        qsort(keys, n, sizeof(*keys), by_name);
    }
    *ret_n = n;
    return keys;
}

static void print(struct buf *out, json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_STRING:
        buf_add(out, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        buf_addf(out, "%lld", (long long)json_integer_value(v));
        break;
    case JSON_REAL:
        buf_addf(out, "%g", json_real_value(v));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        buf_adds(out, json_is_true(v) ? "true" : "false");
        break;
    case JSON_NULL:
        buf_adds(out, "<no value>");
        break;
    case JSON_ARRAY:
        buf_addc(out, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            buf_adds(out, i ? " " : "");
            print(out, json_array_get(v, i));
        }
        buf_addc(out, ']');
        break;
    case JSON_OBJECT: {
        size_t n;
        const char **keys = sorted_keys(v, &n);
        buf_adds(out, "map[");
        for (size_t i = 0; keys && i < n; i++) {
            buf_addf(out, "%s%s:", i ? " " : "", keys[i]);
            print(out, json_object_get(v, keys[i]));
        }
        buf_addc(out, ']');
        free(keys);
        break;
    }
    }
}

static int no_field(struct run *r, const char *name, json_t *object)
{
    size_t n;
    const char **keys = sorted_keys(object, &n);
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

typedef json_t *func_fn(json_t **v, size_t n);

static json_t *fn_json(json_t **v, size_t n)
{
    (void)n;
    CLEANUP_FREE char *s = json_dumps(v[0], JSON_ENCODE_ANY | JSON_COMPACT);
    return s ? json_string(s) : NULL;
}

static json_t *fn_len(json_t **v, size_t n)
{
    (void)n;
    size_t len = json_is_array(v[0]) ? json_array_size(v[0])
                 : json_is_object(v[0]) ? json_object_size(v[0]) : json_string_length(v[0]);
    return json_integer((json_int_t)len);
}

static json_t *fn_index(json_t **v, size_t n)
{
    json_t *at = v[0];
    for (size_t i = 1; i < n; i++) {
        at = json_is_array(at) ? json_array_get(at, (size_t)json_integer_value(v[i]))
                               : json_object_get(at, json_is_string(v[i]) ? json_string_value(v[i]) : "");
    }
    return at ? json_incref(at) : json_null();
}

static json_t *fn_join(json_t **v, size_t n)
{
    CLEANUP_BUF struct buf out = { 0 };
    (void)n;
    for (size_t i = 0; i < json_array_size(v[0]); i++) {
        buf_adds(&out, i && json_is_string(v[1]) ? json_string_value(v[1]) : "");
        print(&out, json_array_get(v[0], i));
    }
    return json_string(buf_str(&out));
}

static json_t *fn_split(json_t **v, size_t n)
{
    (void)n;
    json_t *list = json_array();
    const char *s = json_string_value(v[0]), *sep = json_string_value(v[1]);
    while (s && sep && *sep) {
        const char *hit = strstr(s, sep);
        json_array_append_new(list, json_stringn(s, hit ? (size_t)(hit - s) : strlen(s)));
        s = hit ? hit + strlen(sep) : NULL;
    }
    return list;
}

static json_t *cased(json_t *v, int (*first)(int), int (*rest)(int))
{
    CLEANUP_BUF struct buf out = { 0 };
    print(&out, v);
    for (size_t i = 0; i < out.len; i++) {
        unsigned char c = (unsigned char)out.data[i];
        int (*fn)(int) = i == 0 ? first : rest;
        out.data[i] = (char)(fn ? fn(c) : c);
    }
    return json_string(buf_str(&out));
}

static json_t *fn_upper(json_t **v, size_t n)
{
    (void)n;
    return cased(v[0], toupper, toupper);
}

static json_t *fn_lower(json_t **v, size_t n)
{
    (void)n;
    return cased(v[0], tolower, tolower);
}

static json_t *fn_title(json_t **v, size_t n)
{
    (void)n;
    return cased(v[0], toupper, NULL);
}

static json_t *fn_eq(json_t **v, size_t n)
{
    bool any = false;
    for (size_t i = 1; i < n; i++) {
        any |= json_equal(v[0], v[i]) != 0;
    }
    return json_boolean(any);
}

static json_t *fn_ne(json_t **v, size_t n)
{
    (void)n;
    return json_boolean(!json_equal(v[0], v[1]));
}

static json_t *fn_and(json_t **v, size_t n)
{
    size_t i = 0;
    while (i + 1 < n && is_true(v[i])) {
        i++;
    }
    return json_incref(v[i]);
}

static json_t *fn_or(json_t **v, size_t n)
{
    size_t i = 0;
    while (i + 1 < n && !is_true(v[i])) {
        i++;
    }
    return json_incref(v[i]);
}

static json_t *fn_not(json_t **v, size_t n)
{
    (void)n;
    return json_boolean(!is_true(v[0]));
}

static json_t *fn_println(json_t **v, size_t n)
{
    CLEANUP_BUF struct buf out = { 0 };
    for (size_t i = 0; i < n; i++) {
        buf_adds(&out, i ? " " : "");
        print(&out, v[i]);
    }
    buf_addc(&out, '\n');
    return json_string(buf_str(&out));
}

/* Verbs print their value whatever they are; %q quotes it. */
static json_t *fn_printf(json_t **v, size_t n)
{
    CLEANUP_BUF struct buf out = { 0 };
    size_t next = 1;
    for (const char *f = json_string_value(v[0]); f && *f; f++) {
        if (*f != '%' || !f[1]) {
            buf_addc(&out, *f);
            continue;
        }
        f++;
        if (*f == '%') {
            buf_addc(&out, '%');
        } else if (next < n) {
            buf_adds(&out, *f == 'q' ? "\"" : "");
            print(&out, v[next++]);
            buf_adds(&out, *f == 'q' ? "\"" : "");
        }
    }
    return json_string(buf_str(&out));
}

static const struct {
    const char *name;
    func_fn *fn;
    size_t min, max;
} funcs[] = {
    { "json", fn_json, 1, 1 },   { "len", fn_len, 1, 1 },     { "index", fn_index, 1, ARGS_MAX }, { "join", fn_join, 2, 2 },
    { "split", fn_split, 2, 2 }, { "upper", fn_upper, 1, 1 }, { "lower", fn_lower, 1, 1 },        { "title", fn_title, 1, 1 },
    { "eq", fn_eq, 2, ARGS_MAX }, { "ne", fn_ne, 2, 2 },      { "and", fn_and, 1, ARGS_MAX },     { "or", fn_or, 1, ARGS_MAX },
    { "not", fn_not, 1, 1 },     { "println", fn_println, 0, ARGS_MAX }, { "printf", fn_printf, 1, ARGS_MAX },
};

static int call(struct run *r, const char *name, json_t **args, size_t n, json_t **ret)
{
    for (size_t i = 0; i < ARRAY_LEN(funcs); i++) {
        if (strcmp(funcs[i].name, name) != 0) {
            continue;
        }
        if (n < funcs[i].min || n > funcs[i].max) {
            return bad(r, "wrong number of arguments for", name);
        }
        *ret = funcs[i].fn(args, n);
        return *ret ? 0 : err_oom(r->e);
    }
    return bad(r, "function not defined", name);
}

/* One command of a pipeline: "join .Tags ","", "." …; piped (may be NULL) becomes its last argument. */
static int eval_command(struct run *r, const char **text, json_t *piped, json_t **ret)
{
    json_t *args[ARGS_MAX + 1] = { 0 };
    char word[1024], func[32] = "";
    size_t n = 0, words = 0;
    int rc = 0;
    const char *s = *text + strspn(*text, " \t\n");
    while (rc == 0 && *s && *s != '|') {
        const char *end = word_end(s);
        if (!end || (size_t)(end - s) >= sizeof(word) || n >= ARGS_MAX) {
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
        rc = call(r, func, args, n, ret);
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
    bool yes = !skip && rc == 0 && is_true(v);
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
    const char **keys = json_is_object(v) ? sorted_keys(v, &n) : NULL;
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
        print(r->out, v);
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
