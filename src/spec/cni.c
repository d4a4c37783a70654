/* spec/cni.c: see cni.h. */
#include "spec/cni.h"

#include "base/num.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>

static const char *const versions[] = { "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" };

int cni_version_compare(const char *a, const char *b)
{
    unsigned va[3] = { 0 }, vb[3] = { 0 };
    if (!a || sscanf(a, "%3u.%3u.%3u", &va[0], &va[1], &va[2]) != 3) {
        memset(va, 0, sizeof(va));
    }
    if (!b || sscanf(b, "%3u.%3u.%3u", &vb[0], &vb[1], &vb[2]) != 3) {
        memset(vb, 0, sizeof(vb));
    }
    for (size_t i = 0; i < 3; i++) {
        if (va[i] != vb[i]) {
            return va[i] < vb[i] ? -1 : 1;
        }
    }
    return 0;
}

bool cni_version_has_check(const char *version)
{
    return cni_version_compare(version, "0.4.0") >= 0;
}

bool cni_version_has_gc(const char *version)
{
    return cni_version_compare(version, "1.1.0") >= 0;
}

static bool version_known(const char *v)
{
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        if (str_eq(v, versions[i])) {
            return true;
        }
    }
    return false;
}

/* A network's name becomes part of file names, so the specification's alphabet is insisted on. */
static bool name_ok(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > 128 || !isalnum((unsigned char)s[0])) {
        return false;
    }
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

/* ---- lists ----------------------------------------------------------------------------------------- */

void cni_list_free(struct cni_list *l)
{
    if (!l) {
        return;
    }
    for (size_t i = 0; i < l->plugins.n; i++) {
        free(l->plugins.v[i].type);
        json_decref(l->plugins.v[i].conf);
    }
    free(l->plugins.v);
    free(l->name);
    free(l->version);
    free(l);
}

/* disableCheck and disableGC may be written as strings. */
static bool flag_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_true(v) || (json_is_string(v) && str_eq(json_string_value(v), "true"));
}

/* The highest of cniVersions (1.1) and cniVersion that is known here. */
static const char *choose_version(const json_t *o)
{
    const char *best = json_string_value(json_object_get(o, "cniVersion"));
    const json_t *all = json_object_get(o, "cniVersions");
    if (best && !version_known(best)) {
        best = NULL;
    }
    for (size_t i = 0; i < json_array_size(all); i++) {
        const char *v = json_string_value(json_array_get(all, i));
        if (v && version_known(v) && (!best || cni_version_compare(v, best) > 0)) {
            best = v;
        }
    }
    return best;
}

static int take_plugin(struct cni_list *l, size_t i, json_t *conf, struct err *e)
{
    const char *type = json_string_value(json_object_get(conf, "type"));
    if (!type || !*type || strchr(type, '/') || str_eq(type, ".") || str_eq(type, "..")) {
        return err_set(e, EINVAL, ERR_INVALID, "plugins[%zu].type: expected the name of a plugin", i);
    }
    const json_t *caps = json_object_get(conf, "capabilities");
    if (caps && !json_is_object(caps)) {
        return err_set(e, EINVAL, ERR_INVALID, "plugins[%zu].capabilities: expected object", i);
    }
    struct cni_plugin *p = &l->plugins.v[i];
    p->type = strdup(type);
    p->conf = json_incref(conf);
    l->plugins.n = i + 1;
    return p->type ? 0 : err_oom(e);
}

static int take_plugins(struct cni_list *l, json_t *root, struct err *e)
{
    json_t *plugins = json_object_get(root, "plugins");
    size_t n = plugins ? json_array_size(plugins) : 1;
    if (n == 0 || n > CNI_PLUGINS_MAX) {
        return err_set(e, EINVAL, ERR_INVALID, "plugins: expected 1 to %d plugins", CNI_PLUGINS_MAX);
    }
    l->plugins.v = calloc(n, sizeof(*l->plugins.v));
    if (!l->plugins.v) {
        return err_oom(e);
    }
    for (size_t i = 0; i < n; i++) {
        int r = take_plugin(l, i, plugins ? json_array_get(plugins, i) : root, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int take_list(json_t *root, struct cni_list *l, struct err *e)
{
    const char *name = json_string_value(json_object_get(root, "name"));
    const char *version = choose_version(root);
    if (!json_is_object(root)) {
        return err_set(e, EINVAL, ERR_INVALID, "expected an object");
    }
    if (!name || !name_ok(name)) {
        return err_set(e, EINVAL, ERR_INVALID, "name: expected letters, digits and _.- beginning with a letter or digit");
    }
    if (!version) {
        const char *v = json_string_value(json_object_get(root, "cniVersion"));
        return err_set(e, EINVAL, ERR_INVALID, "cniVersion: \"%.32s\" is not supported (0.3.0 to %s are)", v ? v : "",
                       CNI_VERSION_NEWEST);
    }
    l->name = strdup(name);
    l->version = strdup(version);
    if (!l->name || !l->version) {
        return err_oom(e);
    }
    l->disable_check = flag_of(root, "disableCheck");
    l->disable_gc = flag_of(root, "disableGC");
    return take_plugins(l, root, e);
}

int cni_list_parse(const char *text, size_t len, struct cni_list **ret, struct err *e)
{
    if (len > JSON_TEXT_MAX) {
        return err_set(e, EFBIG, ERR_INVALID, "configuration of %zu bytes is too long", len);
    }
    json_error_t je;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!root) {
        return err_set(e, EINVAL, ERR_INVALID, "line %d, column %d: %s", je.line, je.column, je.text);
    }
    CLEANUP_CNI_LIST struct cni_list *l = calloc(1, sizeof(*l));
    int r = l ? take_list(root, l, e) : err_oom(e);
    json_decref(root);
    if (r == 0) {
        *ret = PTR_STEAL(l);
    }
    return r;
}

json_t *cni_list_encode(const struct cni_list *l)
{
    json_t *plugins = json_array();
    for (size_t i = 0; i < l->plugins.n; i++) {
        if (json_array_append(plugins, l->plugins.v[i].conf) < 0) {
            json_decref(plugins);
            return NULL;
        }
    }
    return json_pack("{s:s, s:s, s:b, s:b, s:o}", "cniVersion", l->version, "name", l->name, "disableCheck",
                     l->disable_check, "disableGC", l->disable_gc, "plugins", plugins);
}

/* ---- a plugin's input -------------------------------------------------------------------------------- */

static int add_runtime_config(json_t *in, const struct cni_plugin *p, const json_t *args)
{
    const json_t *caps = json_object_get(p->conf, "capabilities");
    const char *key;
    json_t *value;
    json_t *rc = json_object();
    if (!rc) {
        return -ENOMEM;
    }
    json_object_foreach((json_t *)(uintptr_t)args, key, value)
    {
        if (json_is_true(json_object_get(caps, key)) && json_object_set(rc, key, value) < 0) {
            json_decref(rc);
            return -ENOMEM;
        }
    }
    if (json_object_size(rc) == 0) {
        json_decref(rc);
        return 0;
    }
    return json_object_set_new(in, "runtimeConfig", rc) < 0 ? -ENOMEM : 0;
}

json_t *cni_plugin_input(const struct cni_list *l, const struct cni_plugin *p, const json_t *capability_args,
                         const json_t *prev)
{
    json_t *in = json_copy(p->conf);
    if (!in) {
        return NULL;
    }
    /* What only runtimes read does not belong into a plugin's input. */
    json_object_del(in, "capabilities");
    json_object_del(in, "cniVersions");
    if (json_object_set_new(in, "name", json_string(l->name)) < 0 ||
        json_object_set_new(in, "cniVersion", json_string(l->version)) < 0 ||
        (capability_args && add_runtime_config(in, p, capability_args) < 0) ||
        (prev && json_object_set(in, "prevResult", (json_t *)(uintptr_t)prev) < 0)) {
        json_decref(in);
        return NULL;
    }
    return in;
}

/* ---- results --------------------------------------------------------------------------------------------- */

static const struct json_field ip_fields[] = {
    JSON_FIELD(struct cni_ip, address, "address", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct cni_ip, gateway, "gateway", STR, 0, NULL),
    JSON_FIELD(struct cni_ip, interface, "interface", OPT_I32, 0, NULL),
};
static const struct json_type ip_type = JSON_TYPE(struct cni_ip, ip_fields);

static const struct json_field interface_fields[] = {
    JSON_FIELD(struct cni_interface, name, "name", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct cni_interface, mac, "mac", STR, 0, NULL),
    JSON_FIELD(struct cni_interface, sandbox, "sandbox", STR, 0, NULL),
    JSON_FIELD(struct cni_interface, mtu, "mtu", U32, 0, NULL),
};
static const struct json_type interface_type = JSON_TYPE(struct cni_interface, interface_fields);

static const struct json_field dns_fields[] = {
    JSON_FIELD(struct cni_dns, nameservers, "nameservers", STRS, 0, NULL),
    JSON_FIELD(struct cni_dns, domain, "domain", STR, 0, NULL),
    JSON_FIELD(struct cni_dns, search, "search", STRS, 0, NULL),
    JSON_FIELD(struct cni_dns, options, "options", STRS, 0, NULL),
};
static const struct json_type dns_type = JSON_TYPE(struct cni_dns, dns_fields);

static const struct json_field result_fields[] = {
    JSON_FIELD(struct cni_result, version, "cniVersion", STR, 0, NULL),
    JSON_FIELD(struct cni_result, interfaces, "interfaces", OBJS, 0, &interface_type),
    JSON_FIELD(struct cni_result, ips, "ips", OBJS, 0, &ip_type),
    JSON_FIELD(struct cni_result, dns, "dns", OBJ, 0, &dns_type),
};
static const struct json_type result_type = JSON_TYPE(struct cni_result, result_fields);

/* "10.1.2.3/16" or "fd00::1/64" */
static bool address_ok(const char *s)
{
    char host[INET6_ADDRSTRLEN + 1];
    unsigned char a[16];
    uint32_t bits;
    const char *slash = strchr(s, '/');
    if (!slash || (size_t)(slash - s) >= sizeof(host) || num_u32(slash + 1, &bits) < 0) {
        return false;
    }
    memcpy(host, s, (size_t)(slash - s));
    host[slash - s] = '\0';
    return (inet_pton(AF_INET, host, a) == 1 && bits <= 32) || (inet_pton(AF_INET6, host, a) == 1 && bits <= 128);
}

static int check_result(const struct cni_result *r, struct err *e)
{
    if (r->ips.n > CNI_IPS_MAX || r->interfaces.n > CNI_INTERFACES_MAX) {
        return err_set(e, EINVAL, ERR_INVALID, "too many addresses or interfaces");
    }
    for (size_t i = 0; i < r->ips.n; i++) {
        const struct cni_ip *ip = &r->ips.v[i];
        if (!address_ok(ip->address)) {
            return err_set(e, EINVAL, ERR_INVALID, "ips[%zu].address: \"%.64s\" is no address with a prefix length", i,
                           ip->address);
        }
        if (ip->interface && (*ip->interface < 0 || (size_t)*ip->interface >= r->interfaces.n)) {
            return err_set(e, EINVAL, ERR_INVALID, "ips[%zu].interface: there is no interface %d", i, *ip->interface);
        }
    }
    return 0;
}

int cni_result_decode(const json_t *value, struct cni_result *ret, struct err *e)
{
    struct cni_result r = { 0 };
    int rc = json_decode(&result_type, value, &r, e);
    if (rc == 0) {
        rc = check_result(&r, e);
        if (rc < 0) {
            cni_result_done(&r);
        } else {
            *ret = r;
        }
    }
    return rc;
}

void cni_result_done(struct cni_result *r)
{
    json_free(&result_type, r);
}

static int convert_ips(json_t *ips, bool old)
{
    size_t i;
    json_t *ip;
    json_array_foreach(ips, i, ip)
    {
        const char *address = json_string_value(json_object_get(ip, "address"));
        if (!old) {
            json_object_del(ip, "version");
        } else if (json_object_set_new(ip, "version", json_string(address && strchr(address, ':') ? "6" : "4")) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

/* mtu, socketPath and pciID of interfaces; mtu, advmss, priority, table and scope of routes came with 1.1.0. */
static void drop_new_members(json_t *list)
{
    static const char *const names[] = { "mtu", "socketPath", "pciID", "advmss", "priority", "table", "scope" };
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
    {
        for (size_t k = 0; k < ARRAY_LEN(names); k++) {
            json_object_del(o, names[k]);
        }
    }
}

int cni_result_convert(const json_t *value, const char *version, json_t **ret, struct err *e)
{
    if (!json_is_object(value) || !version_known(version)) {
        return err_set(e, EINVAL, ERR_INVALID, "a CNI result cannot be converted to version \"%.32s\"", version);
    }
    json_t *copy = json_deep_copy(value);
    if (!copy) {
        return err_oom(e);
    }
    if (!cni_version_has_gc(version)) {
        drop_new_members(json_object_get(copy, "interfaces"));
        drop_new_members(json_object_get(copy, "routes"));
    }
    if (convert_ips(json_object_get(copy, "ips"), cni_version_compare(version, "1.0.0") < 0) < 0 ||
        json_object_set_new(copy, "cniVersion", json_string(version)) < 0) {
        json_decref(copy);
        return err_oom(e);
    }
    *ret = copy;
    return 0;
}

void cni_error_text(const char *text, size_t len, struct buf *out)
{
    json_t *o = json_loadb(text, len, 0, NULL);
    const char *msg = json_string_value(json_object_get(o, "msg"));
    const char *details = json_string_value(json_object_get(o, "details"));
    if (msg) {
        long long code = json_integer_value(json_object_get(o, "code"));
        buf_addf(out, "code %lld: %.400s%s%.300s", code, msg, details && *details ? ": " : "", details ? details : "");
    } else {
        buf_addf(out, "%.*s", (int)(len > 300 ? 300 : len), text ? text : "");
    }
    json_decref(o);
}
