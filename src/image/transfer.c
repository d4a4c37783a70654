/*
 * image/transfer.c: one HTTP exchange on a pooled libcurl handle. Redirects are followed here, not by libcurl, so that a credential, a
 * client certificate or a configured header never reaches another host than the endpoint's own.
 */
#include "image/registry-internal.h"

#include "base/num.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

struct exchange {
    struct registry *g;
    const struct endpoint *ep;
    const struct request *q;
    struct response *r;
    struct err *e;
    uint64_t skip;     /* bytes of the answer that the sink has already */
    uint64_t sent;
    bool ca_failed, too_large, started;
};

void response_done(struct response *r)
{
    free(r->content_type);
    free(r->digest);
    free(r->location);
    free(r->link);
    free(r->range);
    free(r->filters);
    challenges_done(&r->challenges);
    buf_done(&r->body);
    *r = (struct response){ 0 };
}

static CURL *handle_take(struct registry *g)
{
    pthread_mutex_lock(&g->lock);
    CURL *c = g->n_idle > 0 ? g->idle[--g->n_idle] : NULL;
    pthread_mutex_unlock(&g->lock);
    return c ? c : curl_easy_init();
}

/* A handle keeps its connections: the next exchange finds them open. */
static void handle_put(struct registry *g, CURL *c)
{
    curl_easy_reset(c);
    pthread_mutex_lock(&g->lock);
    bool kept = g->n_idle < REGISTRY_IDLE_MAX;
    if (kept) {
        g->idle[g->n_idle++] = c;
    }
    pthread_mutex_unlock(&g->lock);
    if (!kept) {
        curl_easy_cleanup(c);
    }
}

int registry_sleep(struct registry *g, int64_t ms, struct err *e)
{
    for (; ms > 0 && !atomic_load(&g->cancelled); ms -= 100) {
        const struct timespec t = { .tv_nsec = (ms < 100 ? ms : 100) * 1000000 };
        nanosleep(&t, NULL);
    }
    return atomic_load(&g->cancelled) ? err_set(e, ECANCELED, ERR_UNAVAILABLE, "cancelled") : 0;
}

static void keep(char **to, const char *value, size_t len)
{
    free(*to);
    *to = strndup(value, len);
}

/* "bytes 100-199/200" */
static void read_content_range(struct response *r, const char *v)
{
    char digits[24];
    size_t n = str_starts(v, "bytes ") ? strspn(v + 6, "0123456789") : 0;
    if (n > 0 && n < sizeof(digits) && v[6 + n] == '-') {
        (void)snprintf(digits, sizeof(digits), "%.*s", (int)n, v + 6);
        r->has_range = num_u64(digits, &r->first_byte) == 0;
    }
}

/* Seconds, or a date. */
static int64_t read_retry_after(const char *v)
{
    int64_t n;
    if (num_i64(v, &n) == 0) {
        return n < 0 ? 0 : n;
    }
    time_t at = curl_getdate(v, NULL), now = time(NULL);
    return at < 0 ? -1 : at > now ? (int64_t)(at - now) : 0;
}

static void read_header(struct response *r, const char *name, size_t name_len, const char *value)
{
    const struct {
        const char *name;
        char **to;
    } texts[] = {
        { "content-type", &r->content_type }, { "docker-content-digest", &r->digest }, { "location", &r->location },
        { "link", &r->link },                 { "range", &r->range },                  { "oci-filters-applied", &r->filters },
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (strlen(texts[i].name) == name_len && strncasecmp(texts[i].name, name, name_len) == 0) {
            keep(texts[i].to, value, strlen(value));
            return;
        }
    }
    if (name_len == 16 && strncasecmp(name, "www-authenticate", 16) == 0) {
        struct err why = { 0 };
        r->bad_challenge |= challenge_parse(value, &r->challenges, &why) < 0;
    } else if (name_len == 11 && strncasecmp(name, "retry-after", 11) == 0) {
        r->retry_after = read_retry_after(value);
    } else if (name_len == 13 && strncasecmp(name, "content-range", 13) == 0) {
        read_content_range(r, value);
    } else if (name_len == 14 && strncasecmp(name, "content-length", 14) == 0 && num_i64(value, &r->length) < 0) {
        r->length = -1;
    }
}

/* Drops what an interim or earlier answer said. */
static void response_reset(struct response *r)
{
    struct response fresh = { .retry_after = -1, .length = -1, .sank = r->sank };
    memcpy(fresh.host, r->host, sizeof(fresh.host));
    memcpy(fresh.curl_text, r->curl_text, sizeof(fresh.curl_text));
    response_done(r);
    *r = fresh;
}

static size_t on_header(char *data, size_t size, size_t n, void *user)
{
    struct exchange *x = user;
    size_t len = size * n;
    char line[32768];
    if (len >= sizeof(line)) {
        return 0;
    }
    memcpy(line, data, len);
    while (len > 0 && strchr("\r\n \t", line[len - 1])) {
        len--;
    }
    line[len] = '\0';
    if (strlen(line) != len) {
        return 0;
    }
    if (str_starts(line, "HTTP/")) {
        response_reset(x->r);
        const char *code = strchr(line, ' ');
        x->r->status = code ? strtol(code + 1, NULL, 10) : 0;
        return size * n;
    }
    char *colon = strchr(line, ':');
    if (colon) {
        read_header(x->r, line, (size_t)(colon - line), colon + 1 + strspn(colon + 1, " \t"));
    }
    return size * n;
}

static bool to_sink(struct exchange *x, const char *data, size_t len)
{
    if (!x->started) {
        x->started = true;
        bool ranged = x->r->status == 206;
        if (ranged && (!x->r->has_range || x->r->first_byte > x->q->range_from)) {
            x->r->sink_error = err_set(x->e, EPROTO, ERR_UNAVAILABLE, "%s sent another range than was asked for", x->r->host);
            return false;
        }
        x->skip = x->q->range_from - (ranged ? x->r->first_byte : 0);
    }
    size_t cut = x->skip < len ? (size_t)x->skip : len;
    x->skip -= cut;
    if (cut == len) {
        return true;
    }
    x->r->sank = true;
    x->r->sink_error = x->q->sink(x->q->sink_data, data + cut, len - cut, x->e);
    return x->r->sink_error == 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct exchange *x = user;
    size_t len = size * n;
    bool good = x->r->status == 200 || x->r->status == 206;
    if (good && x->q->sink && !response_is_html(x->r)) {
        return to_sink(x, data, len) ? len : 0;
    }
    size_t max = good && x->q->max ? x->q->max : ERROR_BODY_MAX;
    if (len > max - x->r->body.len) {
        x->too_large = good;
        return good ? 0 : len; /* a long error page is cut off */
    }
    buf_add(&x->r->body, data, len);
    return buf_failed(&x->r->body) ? 0 : len;
}

static size_t on_read(char *data, size_t size, size_t n, void *user)
{
    struct exchange *x = user;
    uint64_t left = (x->q->fd_len ? x->q->fd_len : x->q->text_len) - x->sent;
    size_t want = left < size * n ? (size_t)left : size * n;
    if (want == 0) {
        return 0;
    }
    if (!x->q->fd_len) {
        memcpy(data, x->q->text + x->sent, want);
        x->sent += want;
        return want;
    }
    ssize_t got = pread(x->q->fd, data, want, (off_t)(x->q->fd_from + x->sent));
    if (got <= 0) {
        return CURL_READFUNC_ABORT;
    }
    x->sent += (uint64_t)got;
    if (x->q->progress) {
        x->q->progress(x->q->progress_data, x->q->fd_from + x->sent);
    }
    return (size_t)got;
}

static int on_seek(void *user, curl_off_t offset, int origin)
{
    struct exchange *x = user;
    if (origin != SEEK_SET || offset < 0) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    x->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    const struct exchange *x = user;
    return atomic_load(&x->g->cancelled) ? 1 : 0;
}

/* Adds the endpoint's CAs to those of the system. */
static CURLcode on_ssl(CURL *c, void *ctx, void *user)
{
    (void)c;
    struct exchange *x = user;
    for (char **ca = x->ep->ca; ca && *ca; ca++) {
        if (SSL_CTX_load_verify_locations(ctx, *ca, NULL) != 1) {
            x->ca_failed = true;
            (void)err_set(x->e, EINVAL, ERR_INVALID, "CA file %s cannot be read as certificates (%s)", *ca, x->ep->why);
            return CURLE_SSL_CACERT_BADFILE;
        }
    }
    return CURLE_OK;
}

/* "https://host:port" of a URL: what has to be equal for a credential to be sent. Compared without case. */
static bool same_origin(const char *a, const char *b)
{
    const char *sa = strstr(a, "://"), *sb = strstr(b, "://");
    if (!sa || !sb) {
        return false;
    }
    size_t na = (size_t)(sa - a) + 3 + strcspn(sa + 3, "/?#"), nb = (size_t)(sb - b) + 3 + strcspn(sb + 3, "/?#");
    return na == nb && strncasecmp(a, b, na) == 0;
}

static struct curl_slist *add_line(struct curl_slist *l, const char *name, const char *value)
{
    CLEANUP_FREE char *line = str_printf("%s: %s", name, value);
    struct curl_slist *n = line ? curl_slist_append(l, line) : NULL;
    return n ? n : l;
}

static struct curl_slist *request_headers(const struct exchange *x, const char *auth, bool own)
{
    struct curl_slist *l = curl_slist_append(NULL, "Expect:");
    if (x->q->accept) {
        l = add_line(l, "Accept", x->q->accept);
    }
    if (x->q->content_type) {
        l = add_line(l, "Content-Type", x->q->content_type);
    }
    if (x->q->content_range) {
        l = add_line(l, "Content-Range", x->q->content_range);
    }
    for (size_t i = 0; own && i < x->ep->headers.n; i++) {
        l = add_line(l, x->ep->headers.v[i].key, x->ep->headers.v[i].value);
    }
    if (own && auth) {
        l = add_line(l, "Authorization", auth);
    }
    return l;
}

static void set_body(CURL *c, struct exchange *x)
{
    const struct request *q = x->q;
    bool get = str_eq(q->method, "GET"), head = str_eq(q->method, "HEAD");
    uint64_t len = q->fd_len ? q->fd_len : q->text_len;
    if (head) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    } else if (!get) {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)len);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(c, CURLOPT_READDATA, x);
        curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(c, CURLOPT_SEEKDATA, x);
    }
}

static void set_tls(CURL *c, struct exchange *x, bool own)
{
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, x->ep->skip_verify ? 0L : 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, x->ep->skip_verify ? 0L : 2L);
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (x->ep->ca) {
        curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, on_ssl);
        curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, x);
    }
    if (own && x->ep->clients.n > 0) {
        const struct endpoint_client *k = &x->ep->clients.v[0];
        curl_easy_setopt(c, CURLOPT_SSLCERT, k->cert);
        curl_easy_setopt(c, CURLOPT_SSLKEY, k->key ? k->key : k->cert);
    }
}

static void set_common(CURL *c, struct exchange *x, const char *url)
{
    struct registry *g = x->g;
    int64_t connect = x->ep->connect_timeout_ms > 0 ? x->ep->connect_timeout_ms : g->connect_timeout_ms;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_SHARE, g->share);
    curl_easy_setopt(c, CURLOPT_USERAGENT, g->user_agent);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)connect);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1024L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)g->stall_seconds);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, x->r->curl_text);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, x);
}

static void note_host(struct response *r, const char *url)
{
    const char *s = strstr(url, "://");
    s = s ? s + 3 : url;
    (void)snprintf(r->host, sizeof(r->host), "%.*s", (int)strcspn(s, "/?#"), s);
}

bool transfer_retryable(CURLcode c)
{
    switch (c) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_WEIRD_SERVER_REPLY:
        return true;
    default:
        return false;
    }
}

static int connection_error(const struct exchange *x, struct err *e)
{
    const struct response *r = x->r;
    const char *why = r->curl_text[0] ? r->curl_text : curl_easy_strerror(r->curl);
    switch (r->curl) {
    case CURLE_ABORTED_BY_CALLBACK:
        return err_set(e, ECANCELED, ERR_UNAVAILABLE, "transfer from %s was cancelled", r->host);
    case CURLE_PEER_FAILED_VERIFICATION:
        return err_set(e, EKEYREJECTED, ERR_DENIED,
                       "the certificate of %s is not trusted: %s (put its CA into /etc/containerd/certs.d/%s/, or use --tls-verify=false)",
                       r->host, why, r->host);
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(e, ETIMEDOUT, ERR_UNAVAILABLE, "%s: %s", r->host, why);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        return err_set(e, EHOSTUNREACH, ERR_UNAVAILABLE, "%s cannot be reached: %s", r->host, why);
    default:
        return err_set(e, EIO, ERR_UNAVAILABLE, "%s: %s", r->host, why);
    }
}

/* One exchange with one host. */
static int exchange_once(CURL *c, struct exchange *x, const char *url, const char *auth, bool own)
{
    char range[40];
    struct curl_slist *headers = request_headers(x, auth, own);
    x->sent = 0;
    x->started = false;
    x->too_large = false;
    response_reset(x->r);
    note_host(x->r, url);
    curl_easy_reset(c);
    set_common(c, x, url);
    set_tls(c, x, own);
    set_body(c, x);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    if (x->q->range_from > 0) {
        (void)snprintf(range, sizeof(range), "%llu-", (unsigned long long)x->q->range_from);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
    }
    x->r->curl = curl_easy_perform(c);
    curl_slist_free_all(headers);
    if (x->r->curl == CURLE_OK) {
        return 0;
    }
    if (x->r->sink_error < 0) {
        return x->r->sink_error;
    }
    if (x->ca_failed) {
        return -EINVAL;
    }
    if (x->too_large) {
        return err_set(x->e, EFBIG, ERR_INVALID, "%s: the answer is larger than %zu bytes", x->r->host, x->q->max);
    }
    return connection_error(x, x->e);
}

/* Where a redirect leads; allocated. */
static int next_url(const struct exchange *x, const char *url, char **ret, struct err *e)
{
    const char *host = x->r->host;
    if (str_empty(x->r->location)) {
        return err_set(e, EPROTO, ERR_UNAVAILABLE, "%s answered %ld without a Location", host, x->r->status);
    }
    CURLU *u = curl_url();
    char *out = NULL, *scheme = NULL;
    bool fine = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_set(u, CURLUPART_URL, x->r->location, 0) == CURLUE_OK &&
                curl_url_set(u, CURLUPART_USER, NULL, 0) == CURLUE_OK && curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
                curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_URL, &out, 0) == CURLUE_OK;
    bool web = fine && (str_eq(scheme, "https") || str_eq(scheme, "http"));
    bool downgrade = web && str_starts(url, "https:") && str_eq(scheme, "http") && !x->ep->skip_verify;
    *ret = web && !downgrade ? strdup(out) : NULL;
    curl_free(out);
    curl_free(scheme);
    curl_url_cleanup(u);
    if (downgrade) {
        return err_set(e, EPROTO, ERR_DENIED, "%s redirects from HTTPS to plain HTTP (\"%.200s\")", host, x->r->location);
    }
    return *ret ? 0 : err_set(e, EPROTO, ERR_UNAVAILABLE, "%s redirects to \"%.200s\", which cannot be followed", host, x->r->location);
}

static bool is_redirect(const struct request *q, long status)
{
    bool reads = str_eq(q->method, "GET") || str_eq(q->method, "HEAD");
    return status == 307 || status == 308 || (reads && (status == 301 || status == 302 || status == 303));
}

int transfer(struct registry *g, const struct endpoint *ep, const char *url, const char *auth, const struct request *q,
             struct response *ret, struct err *e)
{
    struct exchange x = { .g = g, .ep = ep, .q = q, .r = ret, .e = e };
    CLEANUP_FREE char *at = strdup(url);
    CURL *c = handle_take(g);
    if (!c || !at) {
        curl_easy_cleanup(c);
        return err_oom(e);
    }
    int r = 0;
    for (unsigned hops = 0;; hops++) {
        r = atomic_load(&g->cancelled) ? err_set(e, ECANCELED, ERR_UNAVAILABLE, "cancelled")
                                       : exchange_once(c, &x, at, auth, same_origin(at, url));
        if (r < 0 || !is_redirect(q, ret->status)) {
            break;
        }
        char *next = NULL;
        r = hops < REDIRECTS_MAX ? next_url(&x, at, &next, e)
                                 : err_set(e, ELOOP, ERR_UNAVAILABLE, "%s redirects without end (more than %d times)", ret->host,
                                           REDIRECTS_MAX);
        if (r < 0) {
            break;
        }
        free(at);
        at = next;
    }
    handle_put(g, c);
    return r;
}
