/*
 * cmd/tare-systemd-helper.c: the one program that speaks to systemd, over its bus, so that the runtime can stay static.
 *
 *   start UNIT SLICE [NAME=VALUE...]   makes a transient scope with itself in it, prints "ok", and stays until standard input ends: by
 *                                      then somebody else lives in the scope
 *   set UNIT NAME=VALUE...             changes properties until the next boot
 *   stop UNIT                          stops the scope and forgets that it failed
 *
 * --system or --user before them names the manager that is asked.
 *
 * VALUE is written as in GVariant text: true, 5, uint64 5, 0.5, 'text', ['a', 'b'], [byte 1, 2]. An error is one line on standard output, exit code 1.
 */
#include "base/buf.h"
#include "base/num.h"

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define MANAGER "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
enum { JOB_TIMEOUT_US = 30 * 1000 * 1000 };

struct job {
    const char *path;
    char result[32];
};

static int on_job_removed(sd_bus_message *m, void *data, sd_bus_error *error)
{
    (void)error;
    struct job *j = data;
    const char *path, *unit, *result;
    uint32_t id;
    if (sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) >= 0 && j->path && strcmp(path, j->path) == 0) {
        snprintf(j->result, sizeof(j->result), "%s", result);
    }
    return 0;
}

/* Waits until the job's end is announced. Its result has to be "done". */
static int job_wait(sd_bus *bus, struct job *j, struct err *e)
{
    while (j->result[0] == '\0') {
        int r = sd_bus_process(bus, NULL);
        if (r == 0) {
            r = sd_bus_wait(bus, JOB_TIMEOUT_US);
            if (r == 0) {
                return err_set(e, ETIMEDOUT, ERR_TIMEOUT, "systemd did not finish the job in time");
            }
        }
        if (r < 0) {
            return err_sys(e, -r, "wait for systemd");
        }
    }
    return strcmp(j->result, "done") == 0 ? 0 : err_set(e, EIO, ERR_INTERNAL, "systemd's job ended with \"%s\"", j->result);
}

static int bus_open(bool user, sd_bus **ret, struct err *e)
{
    int r = user ? sd_bus_open_user(ret) : sd_bus_open_system(ret);
    return r < 0 ? err_sys(e, -r, "connect to systemd's bus") : 0;
}

/* 'text' at *s: cut out in place; *s moves behind it. NULL if there is none. */
static char *take_quoted(char **s)
{
    char *start = *s + 1, *end = **s == '\'' || **s == '"' ? strchr(start, **s) : NULL;
    if (!end) {
        return NULL;
    }
    *end = '\0';
    *s = end + 1;
    return start;
}

static int append_strings(sd_bus_message *m, char *value)
{
    CLEANUP_STRV char **list = NULL;
    for (char *s = value + 1; *s != ']';) {
        s += strspn(s, " ,");
        if (*s == ']') {
            break;
        }
        char *one = take_quoted(&s);
        if (!one) {
            return -EINVAL;
        }
        if (strv_push(&list, one) < 0) {
            return -ENOMEM;
        }
    }
    int r = sd_bus_message_open_container(m, 'v', "as");
    r = r < 0 ? r : sd_bus_message_append_strv(m, list);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_bytes(sd_bus_message *m, const char *value)
{
    uint8_t bytes[1024];
    size_t n = 0;
    for (const char *s = value; *s != ']' && n < sizeof(bytes);) {
        char *end;
        unsigned long v = strtoul(s, &end, 0);
        if (end == s || v > UINT8_MAX || (*end != ',' && *end != ']')) {
            return -EINVAL;
        }
        bytes[n++] = (uint8_t)v;
        s = *end == ',' ? end + 1 + strspn(end + 1, " ") : end;
    }
    int r = sd_bus_message_open_container(m, 'v', "ay");
    r = r < 0 ? r : sd_bus_message_append_array(m, 'y', bytes, n);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_double(sd_bus_message *m, const char *value)
{
    char *end;
    double d = strtod(value, &end);
    return end == value || *end ? -EINVAL : sd_bus_message_append(m, "v", "d", d);
}

static int append_number(sd_bus_message *m, const char *value)
{
    static const struct {
        const char *word, *type;
    } types[] = { { "uint64 ", "t" }, { "int64 ", "x" }, { "uint32 ", "u" }, { "int32 ", "i" }, { "", "i" } };
    size_t i = 0;
    while (!str_starts(value, types[i].word)) {
        i++;
    }
    const char *digits = value + strlen(types[i].word);
    uint64_t u = 0;
    int64_t s = 0;
    bool is_unsigned = types[i].type[0] == 't' || types[i].type[0] == 'u';
    if (is_unsigned ? num_u64(digits, &u) < 0 || (types[i].type[0] == 'u' && u > UINT32_MAX)
                    : num_i64(digits, &s) < 0 || (types[i].type[0] == 'i' && (s > INT32_MAX || s < INT32_MIN))) {
        return -EINVAL;
    }
    switch (types[i].type[0]) {
    case 't':
        return sd_bus_message_append(m, "v", "t", u);
    case 'u':
        return sd_bus_message_append(m, "v", "u", (uint32_t)u);
    case 'x':
        return sd_bus_message_append(m, "v", "x", s);
    default:
        return sd_bus_message_append(m, "v", "i", (int32_t)s);
    }
}

static int append_value(sd_bus_message *m, char *value)
{
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) {
        return sd_bus_message_append(m, "v", "b", value[0] == 't');
    }
    if (*value == '\'' || *value == '"') {
        char *s = value, *text = take_quoted(&s);
        return !text || *s ? -EINVAL : sd_bus_message_append(m, "v", "s", text);
    }
    size_t n = strlen(value);
    if (n >= 2 && value[0] == '[' && value[n - 1] == ']') {
        return str_starts(value, "[byte ") ? append_bytes(m, value + strlen("[byte ")) : append_strings(m, value);
    }
    return strchr(value, '.') ? append_double(m, value) : append_number(m, value);
}

static int append_property(sd_bus_message *m, char *property, struct err *e)
{
    char *value = strchr(property, '=');
    if (!value || value == property) {
        return err_set(e, EINVAL, ERR_INVALID, "property %s: no value", property);
    }
    *value++ = '\0';
    int r = sd_bus_message_open_container(m, 'r', "sv");
    r = r < 0 ? r : sd_bus_message_append(m, "s", property);
    r = r < 0 ? r : append_value(m, value);
    r = r < 0 ? r : sd_bus_message_close_container(m);
    return r < 0 ? err_sys(e, -r, "property %s", property) : 0;
}

static int append_properties(sd_bus_message *m, int n, char **properties, struct err *e)
{
    int r = 0;
    for (int i = 0; r == 0 && i < n; i++) {
        CLEANUP_FREE char *copy = strdup(properties[i]); /* it is cut to pieces, and may be needed again */
        r = copy ? append_property(m, copy, e) : err_oom(e);
    }
    return r;
}

/* StartTransientUnit(name, mode, properties, auxiliary units) */
static int build_start(sd_bus_message *m, const char *unit, const char *slice, int n, char **properties, struct err *e)
{
    int r = sd_bus_message_append(m, "ss", unit, "replace");
    r = r < 0 ? r : sd_bus_message_open_container(m, 'a', "(sv)");
    r = r < 0 ? r : sd_bus_message_append(m, "(sv)", "Description", "s", "tare container");
    r = r < 0 ? r : sd_bus_message_append(m, "(sv)", "Slice", "s", slice);
    r = r < 0 ? r : sd_bus_message_append(m, "(sv)", "Delegate", "b", 1);
    r = r < 0 ? r : sd_bus_message_append(m, "(sv)", "DefaultDependencies", "b", 0);
    r = r < 0 ? r : sd_bus_message_append(m, "(sv)", "CollectMode", "s", "inactive-or-failed");
    r = r < 0 ? r : sd_bus_message_append(m, "(sv)", "PIDs", "au", 1, (uint32_t)getpid());
    if (r < 0) {
        return err_sys(e, -r, "make a message");
    }
    r = append_properties(m, n, properties, e);
    if (r < 0) {
        return r;
    }
    r = sd_bus_message_close_container(m);
    r = r < 0 ? r : sd_bus_message_append(m, "a(sa(sv))", 0);
    return r < 0 ? err_sys(e, -r, "make a message") : 0;
}

static int run_job(sd_bus *bus, sd_bus_message *m, const char *what, struct err *e)
{
    struct job j = { 0 };
    sd_bus_slot *slot = NULL;
    sd_bus_message *reply = NULL;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    int r = sd_bus_match_signal(bus, &slot, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                "org.freedesktop.systemd1.Manager", "JobRemoved", on_job_removed, &j);
    r = r < 0 ? r : sd_bus_call(bus, m, JOB_TIMEOUT_US, &error, &reply);
    if (r < 0 && sd_bus_error_has_name(&error, "org.freedesktop.systemd1.NoSuchUnit")) {
        r = err_set(e, ENOENT, ERR_NOT_FOUND, "%s: no such unit", what);
    } else if (r < 0 && sd_bus_error_has_name(&error, "org.freedesktop.systemd1.UnitExists")) {
        r = err_set(e, EEXIST, ERR_EXISTS, "unit %s exists already", what);
    } else if (r < 0) {
        r = err_set(e, -r, ERR_INTERNAL, "%s: %s", what, error.message ? error.message : strerrordesc_np(-r));
    } else if ((r = sd_bus_message_read(reply, "o", &j.path)) < 0) {
        r = err_sys(e, -r, "%s: answer", what);
    } else {
        r = job_wait(bus, &j, e);
    }
    sd_bus_error_free(&error);
    sd_bus_message_unref(reply);
    sd_bus_slot_unref(slot);
    return r;
}

static int subscribe(sd_bus *bus, struct err *e)
{
    /* JobRemoved is only sent to those who subscribed. */
    int r = sd_bus_call_method(bus, MANAGER, "Subscribe", NULL, NULL, "");
    return r < 0 ? err_sys(e, -r, "speak to systemd") : 0;
}

static int start_once(sd_bus *bus, int argc, char **argv, struct err *e)
{
    sd_bus_message *m = NULL;
    int r = sd_bus_message_new_method_call(bus, &m, MANAGER, "StartTransientUnit");
    r = r < 0 ? err_sys(e, -r, "speak to systemd") : build_start(m, argv[0], argv[1], argc - 2, argv + 2, e);
    r = r < 0 ? r : run_job(bus, m, argv[0], e);
    sd_bus_message_unref(m);
    return r;
}

static int start(sd_bus *bus, int argc, char **argv, struct err *e)
{
    int r = subscribe(bus, e);
    r = r < 0 ? r : start_once(bus, argc, argv, e);
    /* What is only remembered as failed does not keep its name. */
    if (r == -EEXIST && sd_bus_call_method(bus, MANAGER, "ResetFailedUnit", NULL, NULL, "s", argv[0]) >= 0) {
        r = start_once(bus, argc, argv, e);
    }
    return r;
}

static int set(sd_bus *bus, int argc, char **argv, struct err *e)
{
    sd_bus_message *m = NULL;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    int r = sd_bus_message_new_method_call(bus, &m, MANAGER, "SetUnitProperties");
    r = r < 0 ? r : sd_bus_message_append(m, "sb", argv[0], 1);
    r = r < 0 ? r : sd_bus_message_open_container(m, 'a', "(sv)");
    r = r < 0 ? err_sys(e, -r, "make a message") : append_properties(m, argc - 1, argv + 1, e);
    if (r == 0) {
        r = sd_bus_message_close_container(m);
        r = r < 0 ? r : sd_bus_call(bus, m, JOB_TIMEOUT_US, &error, NULL);
        r = r < 0 ? err_set(e, -r, ERR_INTERNAL, "%s: %s", argv[0], error.message ? error.message : strerrordesc_np(-r)) : 0;
    }
    sd_bus_error_free(&error);
    sd_bus_message_unref(m);
    return r;
}

static int stop(sd_bus *bus, int argc, char **argv, struct err *e)
{
    (void)argc;
    const char *unit = argv[0];
    sd_bus_message *m = NULL;
    int r = subscribe(bus, e);
    if (r < 0) {
        return r;
    }
    r = sd_bus_message_new_method_call(bus, &m, MANAGER, "StopUnit");
    r = r < 0 ? r : sd_bus_message_append(m, "ss", unit, "replace");
    r = r < 0 ? err_sys(e, -r, "speak to systemd") : run_job(bus, m, unit, e);
    sd_bus_message_unref(m);
    /* Neither is an error: a scope that has ended is gone by itself. */
    (void)sd_bus_call_method(bus, MANAGER, "ResetFailedUnit", NULL, NULL, "s", unit);
    return r == -ENOENT ? 0 : r;
}

/* Until the other side has put its own process into the scope. */
static void stay(void)
{
    char byte;
    ssize_t n;
    do {
        n = read(STDIN_FILENO, &byte, 1);
    } while (n > 0 || (n < 0 && errno == EINTR));
}

static const struct verb {
    const char *name;
    int operands; /* at least */
    int (*run)(sd_bus *bus, int argc, char **argv, struct err *e);
} verbs[] = { { "start", 2, start }, { "set", 2, set }, { "stop", 1, stop } };

int main(int argc, char **argv)
{
    struct err e = { 0 };
    sd_bus *bus = NULL;
    const struct verb *v = NULL;
    bool user = argc > 1 && strcmp(argv[1], "--user") == 0;
    for (size_t i = 0; argc > 3 && i < ARRAY_LEN(verbs); i++) {
        v = strcmp(argv[2], verbs[i].name) == 0 && argc - 3 >= verbs[i].operands ? &verbs[i] : v;
    }
    if (!v || (!user && strcmp(argv[1], "--system") != 0)) {
        printf("usage: tare-systemd-helper --system|--user start UNIT SLICE [NAME=VALUE...] | set UNIT NAME=VALUE... | stop UNIT\n");
        return 2;
    }
    int r = bus_open(user, &bus, &e);
    r = r < 0 ? r : v->run(bus, argc - 3, argv + 3, &e);
    sd_bus_flush_close_unref(bus);
    printf("%s\n", r < 0 ? e.text : "ok");
    fflush(stdout);
    if (r == 0 && v->run == start) {
        stay();
    }
    return r < 0;
}
