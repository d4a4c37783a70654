/* image/reference.c: see reference.h. A small scanner a part; no regular expressions. */
#include "image/reference.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define DEFAULT_DOMAIN "docker.io"
#define DEFAULT_NAMESPACE "library/"

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Length of the separator at s: one of . _ __ or dashes; 0: none. */
static size_t separator_len(const char *s)
{
    if (*s == '.') {
        return 1;
    }
    if (*s == '_') {
        return s[1] == '_' ? 2 : 1;
    }
    return strspn(s, "-");
}

/* path: components of lower-case letters and digits, joined by separators, divided by slashes. */
static bool path_valid(const char *s)
{
    for (;;) {
        if (!is_lower_alnum(*s)) {
            return false;
        }
        while (is_lower_alnum(*s)) {
            s++;
        }
        if (*s == '\0') {
            return true;
        }
        s += *s == '/' ? 1 : separator_len(s);
    }
}

static bool port_valid(const char *s)
{
    size_t n = strspn(s, "0123456789");
    unsigned long v = n > 0 && n <= 5 ? strtoul(s, NULL, 10) : 0;
    return s[n] == '\0' && v > 0 && v <= 65535;
}

static bool ipv6_valid(const char *s, const char *end)
{
    size_t colons = 0;
    for (const char *p = s; p < end; p++) {
        if (!isxdigit((unsigned char)*p) && *p != ':' && *p != '.') {
            return false;
        }
        colons += *p == ':';
    }
    return colons >= 2 && end - s <= 45;
}

bool reference_domain_valid(const char *s)
{
    if (strlen(s) > REFERENCE_NAME_MAX) {
        return false;
    }
    if (*s == '[') {
        const char *end = strchr(s, ']');
        return end && ipv6_valid(s + 1, end) && (end[1] == '\0' || (end[1] == ':' && port_valid(end + 2)));
    }
    for (;;) {
        const char *begin = s;
        while (is_alnum(*s) || *s == '-') {
            s++;
        }
        if (s == begin || *begin == '-' || s[-1] == '-') {
            return false;
        }
        if (*s != '.') {
            break;
        }
        s++;
    }
    return *s == '\0' || (*s == ':' && port_valid(s + 1));
}

bool reference_tag_valid(const char *tag)
{
    size_t n = 0;
    for (; tag[n]; n++) {
        char c = tag[n];
        if (n >= REFERENCE_TAG_MAX || !(is_alnum(c) || c == '_' || (n > 0 && (c == '.' || c == '-')))) {
            return false;
        }
    }
    return n > 0;
}

bool reference_digest_valid(const char *digest)
{
    size_t want = str_starts(digest, "sha256:") ? 64 : str_starts(digest, "sha512:") ? 128 : 0;
    const char *hex = digest + 7;
    return want > 0 && strspn(hex, "0123456789abcdef") == want && hex[want] == '\0';
}

static int bad(const char *text, const char *why, struct err *e)
{
    return err_set(e, EINVAL, ERR_INVALID, "image reference \"%.300s\": %s", text, why);
}

/* Cuts ":TAG" and "@DIGEST" off the end of name. */
static int split_suffixes(const char *text, char *name, struct reference *r, struct err *e)
{
    char *at = strchr(name, '@');
    if (at) {
        if (!reference_digest_valid(at + 1)) {
            return bad(text, "the digest has to be sha256: or sha512: and lower-case hex digits of its length", e);
        }
        (void)snprintf(r->digest, sizeof(r->digest), "%s", at + 1);
        *at = '\0';
    }
    char *slash = strrchr(name, '/');
    char *colon = strrchr(slash ? slash : name, ':');
    if (colon) {
        if (!reference_tag_valid(colon + 1)) {
            return bad(text, "the tag has to be at most 128 of letters, digits, _ . -, not beginning with . or -", e);
        }
        (void)snprintf(r->tag, sizeof(r->tag), "%s", colon + 1);
        *colon = '\0';
    }
    return 0;
}

/* Is the part before the first slash a domain? As docker decides: a dot, a port, localhost, or an upper-case letter. */
static bool looks_like_domain(const char *s, size_t len)
{
    if (memchr(s, '.', len) || memchr(s, ':', len) || (len == 9 && memcmp(s, "localhost", 9) == 0)) {
        return true;
    }
    for (size_t i = 0; i < len; i++) {
        if (s[i] >= 'A' && s[i] <= 'Z') {
            return true;
        }
    }
    return false;
}

static int set_name(const char *text, const char *domain, const char *path, struct reference *r, struct err *e)
{
    bool hub = str_eq(domain, DEFAULT_DOMAIN) || str_eq(domain, "index.docker.io") || str_eq(domain, "registry-1.docker.io");
    const char *space = hub && !strchr(path, '/') ? DEFAULT_NAMESPACE : "";
    domain = hub ? DEFAULT_DOMAIN : domain;
    if (!reference_domain_valid(domain)) {
        return bad(text, "the registry has to be a host name or address with an optional port", e);
    }
    if (strlen(domain) + 1 + strlen(space) + strlen(path) > REFERENCE_NAME_MAX) {
        return bad(text, "the name is longer than 255 bytes", e);
    }
    for (const char *p = path; *p; p++) {
        if (*p >= 'A' && *p <= 'Z') {
            return bad(text, "the repository has to be in lower case", e);
        }
    }
    if (!path_valid(path)) {
        return bad(text, "the repository has to be of lower-case letters and digits, joined by . _ __ - and /", e);
    }
    (void)snprintf(r->domain, sizeof(r->domain), "%s", domain);
    (void)snprintf(r->path, sizeof(r->path), "%s%s", space, path);
    return 0;
}

static int parse(const char *text, const char *at_domain, struct reference *ret, struct err *e)
{
    struct reference r = { 0 };
    char name[REFERENCE_TEXT_MAX + 1];
    size_t len = strlen(text);
    if (len == 0) {
        return bad(text, "it is empty", e);
    }
    if (len > REFERENCE_TEXT_MAX) {
        return bad(text, "it is too long", e);
    }
    memcpy(name, text, len + 1);
    if (len == 64 && strspn(name, "0123456789abcdef") == 64) {
        return bad(text, "64 hex digits are an image's id, not a name", e);
    }
    int q = split_suffixes(text, name, &r, e);
    if (q < 0) {
        return q;
    }
    char *slash = strchr(name, '/');
    if (slash && looks_like_domain(name, (size_t)(slash - name))) {
        *slash = '\0';
        q = set_name(text, name, slash + 1, &r, e);
    } else {
        r.is_short = true;
        q = set_name(text, at_domain, name, &r, e);
    }
    if (q == 0) {
        *ret = r;
    }
    return q;
}

int reference_parse(const char *text, struct reference *ret, struct err *e)
{
    return parse(text, DEFAULT_DOMAIN, ret, e);
}

int reference_parse_at(const char *domain, const char *text, struct reference *ret, struct err *e)
{
    return parse(text, domain, ret, e);
}

int reference_parse_tagged(const char *text, struct reference *ret, struct err *e)
{
    int q = parse(text, DEFAULT_DOMAIN, ret, e);
    if (q == 0 && !ret->tag[0] && !ret->digest[0]) {
        (void)snprintf(ret->tag, sizeof(ret->tag), "latest");
    }
    return q;
}

void reference_put_name(const struct reference *r, struct buf *out)
{
    buf_addf(out, "%s/%s", r->domain, r->path);
}

static void put_suffixes(const struct reference *r, struct buf *out)
{
    if (r->tag[0]) {
        buf_addf(out, ":%s", r->tag);
    }
    if (r->digest[0]) {
        buf_addf(out, "@%s", r->digest);
    }
}

void reference_put(const struct reference *r, struct buf *out)
{
    reference_put_name(r, out);
    put_suffixes(r, out);
}

char *reference_string(const struct reference *r)
{
    CLEANUP_BUF struct buf b = { 0 };
    reference_put(r, &b);
    return buf_steal(&b);
}

char *reference_name(const struct reference *r)
{
    return str_printf("%s/%s", r->domain, r->path);
}

char *reference_tagged(const struct reference *r)
{
    return str_printf("%s/%s:%s", r->domain, r->path, r->tag);
}

char *reference_at(const struct reference *r, const char *digest)
{
    return str_printf("%s/%s@%s", r->domain, r->path, digest);
}

char *reference_familiar(const struct reference *r)
{
    CLEANUP_BUF struct buf b = { 0 };
    const char *path = r->path;
    if (str_eq(r->domain, DEFAULT_DOMAIN)) {
        size_t n = strlen(DEFAULT_NAMESPACE);
        path += str_starts(path, DEFAULT_NAMESPACE) && !strchr(path + n, '/') ? n : 0;
    } else {
        buf_addf(&b, "%s/", r->domain);
    }
    buf_adds(&b, path);
    put_suffixes(r, &b);
    return buf_steal(&b);
}

const char *reference_host(const char *domain)
{
    return str_eq(domain, DEFAULT_DOMAIN) || str_eq(domain, "index.docker.io") ? "registry-1.docker.io" : domain;
}

bool reference_is_loopback(const char *host)
{
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if ((n == 9 && memcmp(host, "localhost", 9) == 0) || (n == 5 && memcmp(host, "[::1]", 5) == 0)) {
        return true;
    }
    /* Four numbers, the first one 127: "127.example.com" is somebody's name. */
    size_t dots = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(host[i]) && host[i] != '.') {
            return false;
        }
        dots += host[i] == '.';
    }
    return dots == 3 && n <= 15 && str_starts(host, "127.");
}
