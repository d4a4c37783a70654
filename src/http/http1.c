/* http/http1.c: see http1.h. */
#include "http/http1.h"

#include <errno.h>
#include <strings.h>

void http1_request_done(struct http1_request *q)
{
    free(q->text);
    *q = (struct http1_request){ 0 };
}

static bool is_token(const char *s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    const char *p = s;
    for (; *p; p++) {
        bool alnum = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (!alnum && !strchr(others, *p)) {
            return false;
        }
    }
    return p > s;
}

static bool is_text(const char *s, bool spaces)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == 0x7f || (c < 0x20 && !(spaces && c == '\t')) || (c == ' ' && !spaces)) {
            return false;
        }
    }
    return true;
}

static int bad(struct err *e, const char *what)
{
    return err_set(e, EINVAL, ERR_INVALID, "%s", what);
}

/* The length of the head with its empty line, 0 when it is not whole. */
static size_t head_length(const char *data, size_t len)
{
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    return end ? (size_t)(end - data) + 4 : 0;
}

static int parse_request_line(char *line, struct http1_request *q, struct err *e)
{
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version) {
        return bad(e, "malformed request line");
    }
    *target++ = '\0';
    *version++ = '\0';
    if (!is_token(line) || *target != '/' || !is_text(target, false)) {
        return bad(e, "malformed request line");
    }
    if (!str_eq(version, "HTTP/1.1")) {
        return bad(e, "HTTP/1.1 is required");
    }
    target[strcspn(target, "?#")] = '\0';
    q->method = line;
    q->path = target;
    return 0;
}

static int parse_header(char *line, struct http1_request *q, struct err *e)
{
    char *colon = strchr(line, ':');
    if (q->n_headers == HTTP1_HEADERS_MAX) {
        return err_set(e, EMSGSIZE, ERR_INVALID, "more than %d headers", HTTP1_HEADERS_MAX);
    }
    if (!colon) {
        return bad(e, "malformed header");
    }
    *colon++ = '\0';
    colon += strspn(colon, " \t");
    size_t n = strlen(colon);
    while (n > 0 && (colon[n - 1] == ' ' || colon[n - 1] == '\t')) {
        colon[--n] = '\0';
    }
    if (!is_token(line) || !is_text(colon, true)) {
        return bad(e, "malformed header");
    }
    for (char *p = line; *p; p++) {
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p);
    }
    q->headers[q->n_headers++] = (struct http1_header){ line, colon };
    return 0;
}

static int check(const struct http1_request *q, struct err *e)
{
    const char *length = http1_get(q, "content-length");
    if (!http1_get(q, "host")) {
        return bad(e, "one Host header is required");
    }
    for (size_t i = 0; i < q->n_headers; i++) {
        bool body = str_eq(q->headers[i].name, "transfer-encoding") ||
                    (str_eq(q->headers[i].name, "content-length") && !str_eq(length, "0"));
        if (body) {
            return bad(e, "a request with a body cannot be upgraded");
        }
    }
    return 0;
}

static int parse_lines(struct http1_request *q, struct err *e)
{
    int r = 0;
    bool first = true;
    for (char *line = q->text, *end; r == 0 && *line; line = end + 2) {
        end = strstr(line, "\r\n");
        if (!end) {
            return bad(e, "malformed head");
        }
        *end = '\0';
        r = first ? parse_request_line(line, q, e) : parse_header(line, q, e);
        first = false;
    }
    return r < 0 ? r : first ? bad(e, "malformed request line") : check(q, e);
}

ssize_t http1_parse(const char *data, size_t len, struct http1_request *ret, struct err *e)
{
    size_t n = head_length(data, len < HTTP1_HEAD_MAX ? len : HTTP1_HEAD_MAX);
    if (n == 0) {
        return len >= HTTP1_HEAD_MAX ? err_set(e, EMSGSIZE, ERR_INVALID, "a head of more than %d bytes", HTTP1_HEAD_MAX) : 0;
    }
    if (memchr(data, '\0', n)) {
        return bad(e, "malformed head");
    }
    /* The last empty line is left out, so that every line ends with \r\n. */
    struct http1_request q = { .text = strndup(data, n - 2) };
    if (!q.text) {
        return err_oom(e);
    }
    int r = parse_lines(&q, e);
    if (r < 0) {
        http1_request_done(&q);
        return r;
    }
    *ret = q;
    return (ssize_t)n;
}

const char *http1_get(const struct http1_request *q, const char *name)
{
    const char *found = NULL;
    for (size_t i = 0; i < q->n_headers; i++) {
        if (str_eq(q->headers[i].name, name)) {
            if (found) {
                return NULL;
            }
            found = q->headers[i].value;
        }
    }
    return found;
}

bool http1_next(const struct http1_request *q, const char *name, size_t *at, char ret[static HTTP1_TOKEN_MAX])
{
    /* *at counts the values that were given out. */
    size_t k = 0;
    for (size_t i = 0; i < q->n_headers; i++) {
        if (!str_eq(q->headers[i].name, name)) {
            continue;
        }
        for (const char *p = q->headers[i].value;;) {
            p += strspn(p, " \t");
            size_t n = strcspn(p, ",");
            const char *next = p + n;
            while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) {
                n--;
            }
            if (k++ == *at) {
                n = n < HTTP1_TOKEN_MAX ? n : 0;
                memcpy(ret, p, n);
                ret[n] = '\0';
                ++*at;
                return true;
            }
            if (!*next) {
                break;
            }
            p = next + 1;
        }
    }
    return false;
}

bool http1_has(const struct http1_request *q, const char *name, const char *value)
{
    char token[HTTP1_TOKEN_MAX];
    for (size_t at = 0; http1_next(q, name, &at, token);) {
        if (strcasecmp(token, value) == 0) {
            return true;
        }
    }
    return false;
}

const char *http1_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } t[] = {
        { 101, "Switching Protocols" }, { 400, "Bad Request" }, { 403, "Forbidden" }, { 404, "Not Found" },
        { 405, "Method Not Allowed" }, { 408, "Request Timeout" }, { 431, "Request Header Fields Too Large" },
        { 503, "Service Unavailable" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        if (t[i].status == status) {
            return t[i].reason;
        }
    }
    return "Internal Server Error";
}

void http1_refuse(struct buf *out, unsigned status, const char *text)
{
    buf_addf(out,
             "HTTP/1.1 %u %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
             status, http1_reason(status), strlen(text) + 1, text);
}
