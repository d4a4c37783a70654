/* cmd/commands.h: the sub-commands of tare, each in the file of its subject; tare.c puts the tree together. */
#pragma once

#include "base/opts.h"

extern const struct command command_run, command_create, command_start, command_attach, command_exec; /* tare-run.c, run-opts.c */
extern const struct command command_stop, command_restart, command_kill, command_pause, command_unpause, command_rm, command_wait,
        command_rename, command_update, command_cleanup, command_container_prune; /* tare-life.c */
extern const struct command command_ps, command_port, command_top, command_stats, command_diff; /* tare-ps.c, tare-stats.c */
extern const struct command command_logs, command_events;                                       /* tare-logs.c */
extern const struct command command_cp;                                                         /* tare-cp.c */
extern const struct command command_inspect, command_container_inspect, command_image_inspect, command_pod_inspect,
        command_volume_inspect; /* tare-inspect.c */
extern const struct command command_images, command_rmi, command_tag, command_history, command_load, command_save,
        command_image_prune; /* tare-image.c */
extern const struct command command_pull, command_push, command_login, command_logout, command_registry_explain; /* tare-registry.c */
extern const struct command command_pod_run, command_pod_ls, command_pod_stop, command_pod_rm, command_pod_logs; /* tare-pod.c */
extern const struct command command_volume_create, command_volume_ls, command_volume_rm, command_volume_prune,
        command_network_ls; /* tare-volume.c */
extern const struct command command_info, command_version, command_df, command_prune, command_why, command_fsck; /* tare-system.c */
extern const struct command command_completion; /* tare-completion.c */
