/*
 * spec/image.h: the documents of an image (OCI image-spec 1.1 and Docker schema 2): descriptor, index, manifest, configuration, and
 * the files of archives. Unknown fields are skipped.
 */
#pragma once

#include "spec/json.h"

#define MEDIA_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_OCI_LAYER_GZIP "application/vnd.oci.image.layer.v1.tar+gzip"
#define MEDIA_OCI_LAYER_ZSTD "application/vnd.oci.image.layer.v1.tar+zstd"
#define MEDIA_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"
#define MEDIA_DOCKER_LAYER "application/vnd.docker.image.rootfs.diff.tar"
#define MEDIA_DOCKER_LAYER_GZIP "application/vnd.docker.image.rootfs.diff.tar.gzip"

enum { IMAGE_MANIFEST_MAX = 4 << 20, IMAGE_CONFIG_MAX = 8 << 20, IMAGE_LAYERS_MAX = 500 };

struct image_platform {
    char *architecture, *os, *os_version, *variant;
    char **os_features;
};

struct image_descriptor {
    char *media_type, *digest;
    uint64_t size;
    char **urls;
    struct str_map annotations;
    struct image_platform *platform; /* NULL: none */
    char *artifact_type, *data;
};

struct image_index {
    int32_t schema_version;
    char *media_type, *artifact_type;
    JSON_ARRAY(struct image_descriptor) manifests;
    struct image_descriptor *subject;
    struct str_map annotations;
};

struct image_manifest {
    int32_t schema_version;
    char *media_type, *artifact_type;
    struct image_descriptor config;
    JSON_ARRAY(struct image_descriptor) layers;
    struct image_descriptor *subject;
    struct str_map annotations;
};

struct image_healthcheck {
    char **test;
    int64_t interval, timeout, start_period;
    int32_t retries;
};

/* "config" of the configuration: how to run it. */
struct image_run_config {
    char *user, *working_dir, *stop_signal;
    char **env, **entrypoint, **cmd;
    json_t *exposed_ports, *volumes; /* objects whose keys count; NULL: none */
    struct str_map labels;
    bool args_escaped;
    int32_t stop_timeout;
    struct image_healthcheck *healthcheck;
    char **on_build, **shell;
};

struct image_rootfs {
    char *type; /* "layers" */
    char **diff_ids;
};

struct image_history {
    char *created, *created_by, *author, *comment;
    bool empty_layer;
};

struct image_config {
    char *created, *author, *architecture, *variant, *os, *os_version;
    char **os_features;
    struct image_run_config config;
    struct image_rootfs rootfs;
    JSON_ARRAY(struct image_history) history;
};

/* manifest.json of a docker archive is a list of these. */
struct docker_archive_entry {
    char *config;
    char **repo_tags, **layers;
};

extern const struct json_type image_descriptor_type, image_index_type, image_manifest_type, image_config_type,
        docker_archive_entry_type;

/*
 * Parse and check: schema version 2, media type (media_type: what the transport said, NULL: unknown) is one of the known ones and agrees with the document,
 * digests well-formed, sizes and counts in bounds. A document that is both manifest and index is refused.
 */
MUST_USE int image_manifest_parse(const char *text, size_t len, const char *media_type, struct image_manifest *ret, struct err *e);
MUST_USE int image_index_parse(const char *text, size_t len, const char *media_type, struct image_index *ret, struct err *e);
/* Diff ids well-formed, rootfs type "layers". */
MUST_USE int image_config_parse(const char *text, size_t len, struct image_config *ret, struct err *e);
void image_descriptor_done(struct image_descriptor *d);
void image_manifest_done(struct image_manifest *m);
void image_index_done(struct image_index *i);
void image_config_done(struct image_config *c);
#define CLEANUP_IMAGE_MANIFEST CLEANUP(image_manifest_done)
#define CLEANUP_IMAGE_INDEX CLEANUP(image_index_done)
#define CLEANUP_IMAGE_CONFIG CLEANUP(image_config_done)

bool media_type_is_index(const char *media_type);
bool media_type_is_manifest(const char *media_type);
/* Layers that are unpacked; false for artifacts. */
bool media_type_is_layer(const char *media_type);

/* "linux/arm64/v8" of this machine; want NULL: this machine's. *ret points into the index. ERR_NOT_FOUND names what there is. */
MUST_USE int image_index_choose(const struct image_index *i, const char *want, const struct image_descriptor **ret, struct err *e);
