/*
 * monitor/ctrlog.c: see ctrlog.h. The hot path is ctrlog_write(): one clock reading a call, records copied into the scratch buffer
 * behind a prefix that is made once a call, one write() when it is full or the input is used up.
 */
#include "monitor/ctrlog.h"

#include "base/fd.h"
#include "monitor/ctrlog-json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PREFIX_MAX = 64 };

struct ctrlog {
    char *path;
    int fd;
    enum ctrlog_format format;
    uint64_t size, max_size; /* size: of the file as far as we know */
    unsigned max_files;
    struct ctrlog_scratch *scratch;
    size_t gathered; /* bytes in scratch that are not written yet */
    size_t records;  /* as many records are those */
    uint64_t lost, lost_untold;
    struct buf carry[2]; /* an unfinished line of each stream, less than CTRLOG_LINE_MAX */
    bool partial[2];     /* the last record of the stream ended in the middle of a line */
    int64_t time_sec;    /* time_text is of this second */
    char time_text[CTRLOG_TIME_LEN + 1];
    char prefix[PREFIX_MAX]; /* of this call's records */
    size_t prefix_len;
};

static void put_digits(char *p, unsigned v, int n)
{
    while (n-- > 0) {
        p[n] = (char)('0' + v % 10);
        v /= 10;
    }
}

void ctrlog_format_time(int64_t sec, long nsec, char out[static CTRLOG_TIME_LEN + 1])
{
    /* Days since 0000-03-01 to a date in the Gregorian calendar: eras of 400 years, years that begin in March. */
    int64_t days = sec / 86400 + 719468, rest = sec % 86400;
    int64_t era = days / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    unsigned month = mp < 10 ? mp + 3 : mp - 9;
    memcpy(out, "0000-00-00T00:00:00.000000000Z", CTRLOG_TIME_LEN + 1);
    put_digits(out, (unsigned)(era * 400) + yoe + (month <= 2), 4);
    put_digits(out + 5, month, 2);
    put_digits(out + 8, doy - (153 * mp + 2) / 5 + 1, 2);
    put_digits(out + 11, (unsigned)(rest / 3600), 2);
    put_digits(out + 14, (unsigned)(rest / 60 % 60), 2);
    put_digits(out + 17, (unsigned)(rest % 60), 2);
    put_digits(out + 20, (unsigned)nsec, 9);
}

static void read_clock(struct ctrlog *l)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (t.tv_sec != l->time_sec || !l->time_text[0]) {
        l->time_sec = t.tv_sec;
        ctrlog_format_time(t.tv_sec, t.tv_nsec, l->time_text);
    } else {
        put_digits(l->time_text + 20, (unsigned)t.tv_nsec, 9);
    }
}

/* "TIME stdout F ": the tag is at prefix_len - 2. */
static void make_prefix(struct ctrlog *l, int stream)
{
    read_clock(l);
    memcpy(l->prefix, l->time_text, CTRLOG_TIME_LEN);
    memcpy(l->prefix + CTRLOG_TIME_LEN, stream == 2 ? " stderr F " : " stdout F ", 10);
    l->prefix_len = CTRLOG_TIME_LEN + 10;
}

/* ---- the file ------------------------------------------------------------------------------------------ */

static int open_file(struct ctrlog *l, int flags, struct err *e)
{
    int fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags, 0640);
    struct stat st;
    if (fd < 0) {
        return err_sys(e, errno, "open log %s", l->path);
    }
    if (fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISCHR(st.st_mode))) {
        close(fd);
        return err_set(e, EINVAL, ERR_INVALID, "log %s is not a file", l->path);
    }
    fd_close(&l->fd);
    l->fd = fd;
    l->size = (uint64_t)st.st_size;
    return 0;
}

int ctrlog_open(const char *path, enum ctrlog_format format, uint64_t max_size, unsigned max_files,
                struct ctrlog_scratch *scratch, struct ctrlog **ret, struct err *e)
{
    struct ctrlog *l = calloc(1, sizeof(*l));
    if (!l) {
        return err_oom(e);
    }
    *l = (struct ctrlog){ .fd = -1, .format = format, .max_size = max_size, .max_files = max_files, .scratch = scratch };
    l->path = strdup(path);
    int r = l->path ? open_file(l, 0, e) : err_oom(e);
    if (r < 0) {
        ctrlog_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

/* How many bytes and records of what was gathered are whole within the first n bytes. */
static size_t whole_records(const char *data, size_t n, size_t *ret_records)
{
    size_t whole = 0;
    *ret_records = 0;
    for (const char *p; (p = memchr(data + whole, '\n', n - whole)); (*ret_records)++) {
        whole = (size_t)(p - data) + 1;
    }
    return whole;
}

/* A write that failed or stopped short: what lies in the file ends with a whole record again, and the rest is counted. */
static void lose_rest(struct ctrlog *l, size_t written)
{
    size_t records, whole = whole_records(l->scratch->data, written, &records);
    struct stat st;
    if (written > whole && fstat(l->fd, &st) == 0 && (uint64_t)st.st_size >= written - whole) {
        (void)!ftruncate(l->fd, st.st_size - (off_t)(written - whole));
    }
    l->size += whole;
    l->lost += l->records - records;
    l->lost_untold += l->records - records;
}

static ssize_t write_fully(int fd, const char *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(fd, data + done, len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* Says in the log how many records are missing here. */
static bool tell_lost(struct ctrlog *l)
{
    char line[256];
    int n;
    read_clock(l);
    if (l->format == CTRLOG_CRI) {
        n = snprintf(line, sizeof(line), "%s stderr F tare: %llu log lines lost: the log could not be written\n",
                     l->time_text, (unsigned long long)l->lost_untold);
    } else {
        n = snprintf(line, sizeof(line),
                     "{\"log\":\"tare: %llu log lines lost: the log could not be written\\n\",\"stream\":\"stderr\",\"time\":\"%s\"}\n",
                     (unsigned long long)l->lost_untold, l->time_text);
    }
    ssize_t done = write_fully(l->fd, line, (size_t)n);
    if (done < n) {
        struct stat st;
        if (done > 0 && fstat(l->fd, &st) == 0 && st.st_size >= done) {
            (void)!ftruncate(l->fd, st.st_size - done);
        }
        return false;
    }
    l->size += (uint64_t)n;
    l->lost_untold = 0;
    return true;
}

static void flush(struct ctrlog *l)
{
    if (l->gathered == 0) {
        return;
    }
    if (l->lost_untold > 0 && !tell_lost(l)) {
        l->lost += l->records;
        l->lost_untold += l->records;
    } else {
        ssize_t n = write_fully(l->fd, l->scratch->data, l->gathered);
        if ((size_t)n == l->gathered) {
            l->size += (uint64_t)n;
        } else {
            lose_rest(l, (size_t)n);
        }
    }
    l->gathered = l->records = 0;
}

static char *numbered(const char *path, unsigned n)
{
    return n == 0 ? strdup(path) : str_printf("%s.%u", path, n);
}

/* path → path.1 → path.2 …, at most max_files in all; then a new file. Whatever fails, logging goes on. */
static void rotate(struct ctrlog *l)
{
    flush(l);
    if (l->max_files <= 1) {
        if (ftruncate(l->fd, 0) == 0) {
            l->size = 0;
        }
        return;
    }
    for (unsigned i = l->max_files - 1; i > 0; i--) {
        CLEANUP_FREE char *from = numbered(l->path, i - 1), *to = numbered(l->path, i);
        if (from && to) {
            (void)!rename(from, to);
        }
    }
    if (open_file(l, 0, NULL) < 0) {
        l->size = 0; /* the old file goes on; tried again when as much has been written */
    }
}

/* ---- records ------------------------------------------------------------------------------------------- */

/* Room for a record of len bytes, after rotating or writing if that is due. */
static char *room(struct ctrlog *l, size_t len, bool at_line)
{
    if (l->max_size && at_line && l->size + l->gathered > 0 && l->size + l->gathered + len > l->max_size) {
        rotate(l);
    }
    if (l->gathered + len > l->scratch->cap) {
        flush(l);
    }
    return l->scratch->data + l->gathered;
}

static void put_cri(struct ctrlog *l, int stream, const char *line, size_t len, bool whole)
{
    size_t need = l->prefix_len + len + 1;
    char *p = room(l, need, !l->partial[stream - 1]);
    memcpy(p, l->prefix, l->prefix_len);
    if (!whole) {
        p[l->prefix_len - 2] = 'P';
    }
    memcpy(p + l->prefix_len, line, len);
    p[need - 1] = '\n';
    l->gathered += need;
}

static void put_json(struct ctrlog *l, int stream, const char *line, size_t len, bool whole)
{
    size_t most = ctrlog_json_max(len);
    char *p = room(l, most, !l->partial[stream - 1]);
    l->gathered += ctrlog_json_record(p, line, len, whole, stream == 2 ? "stderr" : "stdout", l->time_text);
}

/* A line without its newline, or with whole false a piece of one. */
static void put_record(struct ctrlog *l, int stream, const char *line, size_t len, bool whole)
{
    if (l->format == CTRLOG_CRI) {
        put_cri(l, stream, line, len, whole);
    } else {
        put_json(l, stream, line, len, whole);
    }
    l->records++;
    l->partial[stream - 1] = !whole;
}

/* Takes bytes until the carried line is whole or long enough. Returns how many it took. */
static size_t fill_carry(struct ctrlog *l, int stream, const char *data, size_t len)
{
    struct buf *c = &l->carry[stream - 1];
    size_t most = CTRLOG_LINE_MAX - c->len, n = len < most ? len : most;
    const char *end = memchr(data, '\n', n);
    if (end) {
        n = (size_t)(end - data);
    }
    buf_add(c, data, n);
    if (c->failed) { /* out of memory: the line is lost, not the container */
        l->lost++;
        l->lost_untold++;
        buf_done(c);
        return end ? n + 1 : n;
    }
    if (end || c->len == CTRLOG_LINE_MAX) {
        put_record(l, stream, c->data, c->len, end != NULL);
        buf_done(c);
    }
    return end ? n + 1 : n;
}

void ctrlog_write(struct ctrlog *l, int stream, const char *data, size_t len)
{
    make_prefix(l, stream);
    while (len > 0 && l->carry[stream - 1].len > 0) {
        size_t n = fill_carry(l, stream, data, len);
        data += n;
        len -= n;
    }
    while (len > 0) {
        size_t most = len < CTRLOG_LINE_MAX ? len : CTRLOG_LINE_MAX;
        const char *end = memchr(data, '\n', most);
        size_t n = end ? (size_t)(end - data) : most;
        if (!end && most < CTRLOG_LINE_MAX) {
            fill_carry(l, stream, data, len);
            break;
        }
        put_record(l, stream, data, n, end != NULL);
        data += n + (end != NULL);
        len -= n + (end != NULL);
    }
    flush(l);
}

void ctrlog_end(struct ctrlog *l, int stream)
{
    struct buf *c = &l->carry[stream - 1];
    if (c->len > 0) {
        make_prefix(l, stream);
        put_record(l, stream, c->data, c->len, false);
        flush(l);
        buf_done(c);
    }
}

int ctrlog_reopen(struct ctrlog *l, struct err *e)
{
    flush(l);
    return open_file(l, 0, e);
}

uint64_t ctrlog_lost(const struct ctrlog *l)
{
    return l->lost;
}

void ctrlog_free(struct ctrlog *l)
{
    if (!l) {
        return;
    }
    if (l->fd >= 0) {
        ctrlog_end(l, 1);
        ctrlog_end(l, 2);
        if (l->lost_untold > 0) {
            (void)tell_lost(l);
        }
    }
    fd_close(&l->fd);
    free(l->path);
    buf_done(&l->carry[0]);
    buf_done(&l->carry[1]);
    free(l);
}
