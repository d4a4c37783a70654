/* spec/image.c: see image.h: tables of the documents, and what is checked beyond types. */
#include "spec/image.h"

#include <errno.h>
#include <sys/utsname.h>

#define F(strct, member, name, kind) JSON_FIELD(struct strct, member, name, kind, 0, NULL)
#define O(strct, member, name, kind, type) JSON_FIELD(struct strct, member, name, kind, 0, &type)

static const struct json_field platform_fields[] = {
    F(image_platform, architecture, "architecture", STR),
    F(image_platform, os, "os", STR),
    F(image_platform, os_version, "os.version", STR),
    F(image_platform, os_features, "os.features", STRS),
    F(image_platform, variant, "variant", STR),
};
static const struct json_type platform_type = JSON_TYPE(struct image_platform, platform_fields);

static const struct json_field descriptor_fields[] = {
    F(image_descriptor, media_type, "mediaType", STR),
    F(image_descriptor, digest, "digest", STR),
    JSON_FIELD(struct image_descriptor, size, "size", U64, JSON_KEEP_EMPTY, NULL),
    F(image_descriptor, urls, "urls", STRS),
    F(image_descriptor, annotations, "annotations", MAP),
    O(image_descriptor, platform, "platform", OPT_OBJ, platform_type),
    F(image_descriptor, artifact_type, "artifactType", STR),
    F(image_descriptor, data, "data", STR),
};
const struct json_type image_descriptor_type = JSON_TYPE(struct image_descriptor, descriptor_fields);

static const struct json_field index_fields[] = {
    F(image_index, schema_version, "schemaVersion", I32),
    F(image_index, media_type, "mediaType", STR),
    F(image_index, artifact_type, "artifactType", STR),
    JSON_FIELD(struct image_index, manifests, "manifests", OBJS, JSON_KEEP_EMPTY, &image_descriptor_type),
    O(image_index, subject, "subject", OPT_OBJ, image_descriptor_type),
    F(image_index, annotations, "annotations", MAP),
};
const struct json_type image_index_type = JSON_TYPE(struct image_index, index_fields);

static const struct json_field manifest_fields[] = {
    F(image_manifest, schema_version, "schemaVersion", I32),
    F(image_manifest, media_type, "mediaType", STR),
    F(image_manifest, artifact_type, "artifactType", STR),
    JSON_FIELD(struct image_manifest, config, "config", OBJ, JSON_REQUIRED, &image_descriptor_type),
    JSON_FIELD(struct image_manifest, layers, "layers", OBJS, JSON_KEEP_EMPTY, &image_descriptor_type),
    O(image_manifest, subject, "subject", OPT_OBJ, image_descriptor_type),
    F(image_manifest, annotations, "annotations", MAP),
};
const struct json_type image_manifest_type = JSON_TYPE(struct image_manifest, manifest_fields);

static const struct json_field health_fields[] = {
    F(image_healthcheck, test, "Test", STRS),
    F(image_healthcheck, interval, "Interval", I64),
    F(image_healthcheck, timeout, "Timeout", I64),
    F(image_healthcheck, start_period, "StartPeriod", I64),
    F(image_healthcheck, retries, "Retries", I32),
};
static const struct json_type health_type = JSON_TYPE(struct image_healthcheck, health_fields);

static const struct json_field run_fields[] = {
    F(image_run_config, user, "User", STR),
    F(image_run_config, working_dir, "WorkingDir", STR),
    F(image_run_config, stop_signal, "StopSignal", STR),
    F(image_run_config, env, "Env", STRS),
    F(image_run_config, entrypoint, "Entrypoint", STRS),
    F(image_run_config, cmd, "Cmd", STRS),
    F(image_run_config, exposed_ports, "ExposedPorts", RAW),
    F(image_run_config, volumes, "Volumes", RAW),
    F(image_run_config, labels, "Labels", MAP),
    F(image_run_config, args_escaped, "ArgsEscaped", BOOL),
    F(image_run_config, stop_timeout, "StopTimeout", I32),
    O(image_run_config, healthcheck, "Healthcheck", OPT_OBJ, health_type),
    F(image_run_config, on_build, "OnBuild", STRS),
    F(image_run_config, shell, "Shell", STRS),
};
static const struct json_type run_type = JSON_TYPE(struct image_run_config, run_fields);

static const struct json_field rootfs_fields[] = {
    F(image_rootfs, type, "type", STR),
    JSON_FIELD(struct image_rootfs, diff_ids, "diff_ids", STRS, JSON_KEEP_EMPTY, NULL),
};
static const struct json_type rootfs_type = JSON_TYPE(struct image_rootfs, rootfs_fields);

static const struct json_field history_fields[] = {
    F(image_history, created, "created", STR),
    F(image_history, created_by, "created_by", STR),
    F(image_history, author, "author", STR),
    F(image_history, comment, "comment", STR),
    F(image_history, empty_layer, "empty_layer", BOOL),
};
static const struct json_type history_type = JSON_TYPE(struct image_history, history_fields);

static const struct json_field config_fields[] = {
    F(image_config, created, "created", STR),
    F(image_config, author, "author", STR),
    F(image_config, architecture, "architecture", STR),
    F(image_config, variant, "variant", STR),
    F(image_config, os, "os", STR),
    F(image_config, os_version, "os.version", STR),
    F(image_config, os_features, "os.features", STRS),
    O(image_config, config, "config", OBJ, run_type),
    O(image_config, rootfs, "rootfs", OBJ, rootfs_type),
    O(image_config, history, "history", OBJS, history_type),
};
const struct json_type image_config_type = JSON_TYPE(struct image_config, config_fields);

static const struct json_field archive_fields[] = {
    JSON_FIELD(struct docker_archive_entry, config, "Config", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct docker_archive_entry, repo_tags, "RepoTags", STRS, JSON_KEEP_EMPTY, NULL),
    JSON_FIELD(struct docker_archive_entry, layers, "Layers", STRS, JSON_KEEP_EMPTY, NULL),
};
const struct json_type docker_archive_entry_type = JSON_TYPE(struct docker_archive_entry, archive_fields);

void image_descriptor_done(struct image_descriptor *d)
{
    json_free(&image_descriptor_type, d);
}

void image_manifest_done(struct image_manifest *m)
{
    json_free(&image_manifest_type, m);
}

void image_index_done(struct image_index *i)
{
    json_free(&image_index_type, i);
}

void image_config_done(struct image_config *c)
{
    json_free(&image_config_type, c);
}

bool media_type_is_index(const char *media_type)
{
    return str_eq(media_type, MEDIA_OCI_INDEX) || str_eq(media_type, MEDIA_DOCKER_LIST);
}

bool media_type_is_manifest(const char *media_type)
{
    return str_eq(media_type, MEDIA_OCI_MANIFEST) || str_eq(media_type, MEDIA_DOCKER_MANIFEST);
}

bool media_type_is_layer(const char *media_type)
{
    static const char *const types[] = {
        MEDIA_OCI_LAYER,
        MEDIA_OCI_LAYER_GZIP,
        MEDIA_OCI_LAYER_ZSTD,
        MEDIA_DOCKER_LAYER,
        MEDIA_DOCKER_LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (str_eq(media_type, types[i])) {
            return true;
        }
    }
    return false;
}

static bool digest_ok(const char *d)
{
    return d && str_starts(d, "sha256:") && strlen(d) == 71 && strspn(d + 7, "0123456789abcdef") == 64;
}

static int check_descriptor(const struct image_descriptor *d, const char *what, size_t n, struct err *e)
{
    if (!digest_ok(d->digest)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s[%zu].digest: %.100s is not a sha256 digest", what, n, d->digest ? d->digest : "(none)");
    }
    if (d->size > INT64_MAX) {
        return err_set(e, EINVAL, ERR_INVALID, "%s[%zu].size: out of range", what, n);
    }
    return 0;
}

/* The document's own media type has to be that of the transport; one that is both kinds could be read in two ways. */
static int check_kind(const char *text, size_t len, const char *said, const char *own, int32_t version, bool index, struct err *e)
{
    const char *kind = index ? "index" : "manifest";
    bool (*known)(const char *) = index ? media_type_is_index : media_type_is_manifest;
    if (version != 2) {
        return err_set(e, EINVAL, ERR_UNSUPPORTED, "%s: schemaVersion %d is not supported", kind, version);
    }
    if ((own && !known(own)) || (said && !known(said)) || (own && said && !str_eq(own, said))) {
        return err_set(e, EINVAL, ERR_INVALID, "%s: media type %.100s, announced as %.100s", kind, own ? own : "(none)", said ? said : "(none)");
    }
    json_t *doc = json_loadb(text, len, 0, NULL);
    bool both = doc && json_object_get(doc, "manifests") && (json_object_get(doc, "layers") || json_object_get(doc, "config"));
    json_decref(doc);
    return both ? err_set(e, EINVAL, ERR_INVALID, "%s: it has the fields of both a manifest and an index", kind) : 0;
}

static int check_size(size_t len, size_t max, const char *what, struct err *e)
{
    return len > max ? err_set(e, EFBIG, ERR_INVALID, "%s of %zu bytes exceeds %zu", what, len, max) : 0;
}

int image_manifest_parse(const char *text, size_t len, const char *media_type, struct image_manifest *ret, struct err *e)
{
    CLEANUP_IMAGE_MANIFEST struct image_manifest m = { 0 };
    int r = check_size(len, IMAGE_MANIFEST_MAX, "manifest", e);
    if (r == 0) {
        r = json_parse(&image_manifest_type, text, len, &m, e);
    }
    if (r == 0) {
        r = check_kind(text, len, media_type, m.media_type, m.schema_version, false, e);
    }
    if (r == 0 && m.layers.n > IMAGE_LAYERS_MAX) {
        r = err_set(e, E2BIG, ERR_INVALID, "manifest: %zu layers are more than %d", m.layers.n, IMAGE_LAYERS_MAX);
    }
    if (r == 0) {
        r = check_descriptor(&m.config, "config", 0, e);
    }
    for (size_t i = 0; r == 0 && i < m.layers.n; i++) {
        r = check_descriptor(&m.layers.v[i], "layers", i, e);
    }
    if (r == 0) {
        *ret = m;
        m = (struct image_manifest) { 0 };
    }
    return r;
}

int image_index_parse(const char *text, size_t len, const char *media_type, struct image_index *ret, struct err *e)
{
    CLEANUP_IMAGE_INDEX struct image_index x = { 0 };
    int r = check_size(len, IMAGE_MANIFEST_MAX, "index", e);
    if (r == 0) {
        r = json_parse(&image_index_type, text, len, &x, e);
    }
    if (r == 0) {
        r = check_kind(text, len, media_type, x.media_type, x.schema_version, true, e);
    }
    for (size_t i = 0; r == 0 && i < x.manifests.n; i++) {
        r = check_descriptor(&x.manifests.v[i], "manifests", i, e);
    }
    if (r == 0) {
        *ret = x;
        x = (struct image_index) { 0 };
    }
    return r;
}

int image_config_parse(const char *text, size_t len, struct image_config *ret, struct err *e)
{
    CLEANUP_IMAGE_CONFIG struct image_config c = { 0 };
    int r = check_size(len, IMAGE_CONFIG_MAX, "config", e);
    if (r == 0) {
        r = json_parse(&image_config_type, text, len, &c, e);
    }
    if (r == 0 && !str_eq(c.rootfs.type, "layers")) {
        r = err_set(e, EINVAL, ERR_INVALID, "config: rootfs.type is %.60s, not \"layers\"", c.rootfs.type ? c.rootfs.type : "(none)");
    }
    for (size_t i = 0; r == 0 && c.rootfs.diff_ids && c.rootfs.diff_ids[i]; i++) {
        if (i >= IMAGE_LAYERS_MAX || !digest_ok(c.rootfs.diff_ids[i])) {
            r = err_set(e, EINVAL, ERR_INVALID, "config: rootfs.diff_ids[%zu]: malformed, or too many", i);
        }
    }
    if (r == 0) {
        *ret = c;
        c = (struct image_config) { 0 };
    }
    return r;
}

static const struct {
    const char *machine, *arch, *variant;
} machines[] = {
    { "x86_64", "amd64", NULL }, { "aarch64", "arm64", "v8" }, { "armv7l", "arm", "v7" }, { "armv6l", "arm", "v6" },
    { "i686", "386", NULL },     { "riscv64", "riscv64", NULL }, { "ppc64le", "ppc64le", NULL }, { "s390x", "s390x", NULL },
};

/* Splits "os/arch[/variant]"; fields that are not said are taken from this machine. */
static int read_platform(const char *want, char *copy, const char **os, const char **arch, const char **variant, struct err *e)
{
    struct utsname u;
    uname(&u);
    *os = "linux";
    *arch = "amd64";
    *variant = NULL;
    for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
        if (str_eq(u.machine, machines[i].machine)) {
            *arch = machines[i].arch;
            *variant = machines[i].variant;
        }
    }
    if (!want) {
        return 0;
    }
    char *slash = strchr(copy, '/');
    if (!slash || slash == copy || !slash[1]) {
        return err_set(e, EINVAL, ERR_INVALID, "platform %.60s: expected OS/ARCHITECTURE[/VARIANT]", want);
    }
    *slash = '\0';
    *os = copy;
    *arch = slash + 1;
    char *second = strchr(slash + 1, '/');
    *variant = NULL;
    if (second) {
        *second = '\0';
        *variant = second + 1;
    } else if (str_eq(*arch, "arm64")) {
        *variant = "v8";
    } else if (str_eq(*arch, "arm")) {
        *variant = "v7";
    }
    return 0;
}

/* 0: does not fit; more is better. A lower arm variant runs on a higher one. */
static int fits(const struct image_platform *p, const char *os, const char *arch, const char *variant)
{
    if (!p || !str_eq(p->os, os) || !str_eq(p->architecture, arch)) {
        return 0;
    }
    if (str_empty(p->variant) || str_empty(variant)) {
        return str_empty(p->variant) && str_empty(variant) ? 100 : 1;
    }
    int order = strcmp(p->variant, variant);
    return order == 0 ? 100 : str_eq(arch, "arm") && order < 0 ? 2 + p->variant[1] - '0' : 0;
}

int image_index_choose(const struct image_index *i, const char *want, const struct image_descriptor **ret, struct err *e)
{
    const char *os, *arch, *variant;
    CLEANUP_FREE char *copy = want ? strdup(want) : NULL;
    int r = read_platform(want, copy, &os, &arch, &variant, e);
    if (r < 0) {
        return r;
    }
    int best = 0;
    const struct image_descriptor *found = NULL;
    CLEANUP_BUF struct buf there = { .max = 400 };
    for (size_t k = 0; k < i->manifests.n; k++) {
        const struct image_descriptor *d = &i->manifests.v[k];
        int score = fits(d->platform, os, arch, variant);
        if (score > best) {
            best = score;
            found = d;
        }
        if (d->platform) {
            buf_addf(&there, " %s/%s", d->platform->os ? d->platform->os : "?", d->platform->architecture ? d->platform->architecture : "?");
        }
    }
    /* An index of one image that does not say what it is for. */
    if (!found && i->manifests.n == 1 && !i->manifests.v[0].platform) {
        found = &i->manifests.v[0];
    }
    if (!found) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no image for %s/%s; there is:%s", os, arch, buf_str(&there));
    }
    *ret = found;
    return 0;
}
