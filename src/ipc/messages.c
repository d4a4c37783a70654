/* ipc/messages.c: the field tables of every message of ipc/proto.h. */
#include "ipc/proto.h"

#define F(strct, member, tag, kind)                                                                \
    {                                                                                              \
        MON_T_##tag, MON_K_##kind, false, offsetof(struct strct, member)                           \
    }
#define REQ(strct, member, tag, kind)                                                              \
    {                                                                                              \
        MON_T_##tag, MON_K_##kind, true, offsetof(struct strct, member)                            \
    }
#define TYPE(strct, table)                                                                         \
    const struct mon_type strct##_type = { #strct, sizeof(struct strct), table, ARRAY_LEN(table) }

static const struct mon_field error_fields[] = {
    F(mon_error, code, ERRNO, U32),
    F(mon_error, kind, KIND, U32),
    F(mon_error, text, TEXT, STR),
};
TYPE(mon_error, error_fields);

static const struct mon_field hello_fields[] = {
    REQ(mon_hello, major, MAJOR, U32),
    REQ(mon_hello, minor, MINOR, U32),
    F(mon_hello, version, VERSION, STR),
    F(mon_hello, pid, PID, I32),
};
TYPE(mon_hello, hello_fields);

static const struct mon_field pod_fields[] = {
    F(mon_pod, hostname, HOSTNAME, STR),
    F(mon_pod, domainname, DOMAINNAME, STR),
    F(mon_pod, netns, NETNS, STR),
    F(mon_pod, new_net, NEW_NET, BOOL),
    F(mon_pod, new_ipc, NEW_IPC, BOOL),
    F(mon_pod, new_uts, NEW_UTS, BOOL),
    F(mon_pod, pid_init, PID_INIT, BOOL),
    F(mon_pod, uid_map, UID_MAP, STRS),
    F(mon_pod, gid_map, GID_MAP, STRS),
    F(mon_pod, sysctls, SYSCTL, STRS),
    F(mon_pod, cgroups, CGROUP, STRS),
    F(mon_pod, notify, NOTIFY, STR),
    F(mon_pod, oom_score_adj, OOM_SCORE_ADJ, I32),
};
TYPE(mon_pod, pod_fields);

static const struct mon_field create_fields[] = {
    REQ(mon_create, id, ID, STR),
    REQ(mon_create, bundle, BUNDLE, STR),
    F(mon_create, lower, LOWER, STRS),
    F(mon_create, upper, UPPER, STR),
    F(mon_create, work, WORK, STR),
    F(mon_create, mount_options, MOUNT_OPTION, STRS),
    F(mon_create, tty, TTY, BOOL),
    F(mon_create, stdin_open, STDIN, BOOL),
    F(mon_create, stdin_once, STDIN_ONCE, BOOL),
    F(mon_create, systemd_cgroup, SYSTEMD_CGROUP, BOOL),
    F(mon_create, rows, ROWS, U32),
    F(mon_create, cols, COLS, U32),
    F(mon_create, log_path, LOG_PATH, STR),
    F(mon_create, log_format, LOG_FORMAT, U32),
    F(mon_create, log_max_size, LOG_MAX_SIZE, U64),
    F(mon_create, log_max_files, LOG_MAX_FILES, U32),
    F(mon_create, runtime, RUNTIME, STR),
    F(mon_create, runtime_args, RUNTIME_ARG, STRS),
    F(mon_create, exit_command, EXIT_COMMAND, STRS),
    F(mon_create, exit_grace_ms, EXIT_GRACE_MS, U64),
    F(mon_create, timeout_ms, TIMEOUT_MS, U64),
};
TYPE(mon_create, create_fields);

static const struct mon_field target_fields[] = {
    F(mon_target, id, ID, STR),
    F(mon_target, exec_id, EXEC_ID, STR),
    F(mon_target, force, FORCE, BOOL),
};
TYPE(mon_target, target_fields);

static const struct mon_field kill_fields[] = {
    REQ(mon_kill, id, ID, STR),
    F(mon_kill, exec_id, EXEC_ID, STR),
    REQ(mon_kill, signal, SIGNAL, I32),
    F(mon_kill, all, ALL, BOOL),
};
TYPE(mon_kill, kill_fields);

static const struct mon_field exec_fields[] = {
    REQ(mon_exec, id, ID, STR),
    F(mon_exec, exec_id, EXEC_ID, STR),
    F(mon_exec, process, PROCESS, BYTES),
    F(mon_exec, process_fd, PROCESS_FD, FD),
    F(mon_exec, mode, MODE, U32),
    F(mon_exec, tty, TTY, BOOL),
    F(mon_exec, stdin_open, STDIN, BOOL),
    F(mon_exec, rows, ROWS, U32),
    F(mon_exec, cols, COLS, U32),
    F(mon_exec, timeout_ms, TIMEOUT_MS, U64),
    F(mon_exec, max_out, MAX_OUT, U64),
    F(mon_exec, max_err, MAX_ERR, U64),
};
TYPE(mon_exec, exec_fields);

static const struct mon_field exec_reply_fields[] = {
    F(mon_exec_reply, exec_id, EXEC_ID, STR),
    F(mon_exec_reply, pid, PID, I32),
    F(mon_exec_reply, stream_fd, STREAM_FD, FD),
    F(mon_exec_reply, exit_code, EXIT_CODE, I32),
    F(mon_exec_reply, exit_signal, EXIT_SIGNAL, I32),
    F(mon_exec_reply, timed_out, TIMED_OUT, BOOL),
    F(mon_exec_reply, truncated, TRUNCATED, BOOL),
    F(mon_exec_reply, out, STDOUT, BYTES),
    F(mon_exec_reply, err, STDERR, BYTES),
    F(mon_exec_reply, out_fd, STDOUT_FD, FD),
    F(mon_exec_reply, err_fd, STDERR_FD, FD),
};
TYPE(mon_exec_reply, exec_reply_fields);

static const struct mon_field attach_fields[] = {
    REQ(mon_attach, id, ID, STR),
    F(mon_attach, exec_id, EXEC_ID, STR),
    F(mon_attach, stdin_open, STDIN, BOOL),
};
TYPE(mon_attach, attach_fields);

static const struct mon_field resize_fields[] = {
    REQ(mon_resize, id, ID, STR),
    F(mon_resize, exec_id, EXEC_ID, STR),
    REQ(mon_resize, rows, ROWS, U32),
    REQ(mon_resize, cols, COLS, U32),
};
TYPE(mon_resize, resize_fields);

static const struct mon_field update_fields[] = {
    REQ(mon_update, id, ID, STR),
    REQ(mon_update, resources, RESOURCES, BYTES),
};
TYPE(mon_update, update_fields);

static const struct mon_field ctr_state_fields[] = {
    F(mon_ctr_state, id, ID, STR),
    F(mon_ctr_state, exec_id, EXEC_ID, STR),
    F(mon_ctr_state, state, STATE, U32),
    F(mon_ctr_state, pid, PID, I32),
    F(mon_ctr_state, start_time, START_TIME, U64),
    F(mon_ctr_state, created_ns, CREATED_NS, I64),
    F(mon_ctr_state, started_ns, STARTED_NS, I64),
    F(mon_ctr_state, exited_ns, EXITED_NS, I64),
    F(mon_ctr_state, exit_code, EXIT_CODE, I32),
    F(mon_ctr_state, exit_signal, EXIT_SIGNAL, I32),
    F(mon_ctr_state, oom_killed, OOM_KILLED, BOOL),
    F(mon_ctr_state, reason, REASON, STR),
    F(mon_ctr_state, lost_lines, LOST_LINES, U64),
};
TYPE(mon_ctr_state, ctr_state_fields);

static const struct mon_field pod_state_fields[] = {
    F(mon_pod_state, pid, PID, I32),
    F(mon_pod_state, init_pid, INIT_PID, I32),
    F(mon_pod_state, ns_net, NS_NET, STR),
    F(mon_pod_state, ns_ipc, NS_IPC, STR),
    F(mon_pod_state, ns_uts, NS_UTS, STR),
    F(mon_pod_state, ns_pid, NS_PID, STR),
    F(mon_pod_state, ns_user, NS_USER, STR),
    F(mon_pod_state, containers, CONTAINER, STRS),
};
TYPE(mon_pod_state, pod_state_fields);

static const struct {
    unsigned message;
    const char *name;
    const struct mon_type *request;
} messages[] = {
    { MON_HELLO, "hello", &mon_hello_type },
    { MON_POD, "pod", &mon_pod_type },
    { MON_CREATE, "create", &mon_create_type },
    { MON_START, "start", &mon_target_type },
    { MON_KILL, "kill", &mon_kill_type },
    { MON_EXEC, "exec", &mon_exec_type },
    { MON_ATTACH, "attach", &mon_attach_type },
    { MON_RESIZE, "resize", &mon_resize_type },
    { MON_CLOSE_STDIN, "close-stdin", &mon_target_type },
    { MON_REOPEN_LOG, "reopen-log", &mon_target_type },
    { MON_PAUSE, "pause", &mon_target_type },
    { MON_RESUME, "resume", &mon_target_type },
    { MON_UPDATE, "update", &mon_update_type },
    { MON_WAIT, "wait", &mon_target_type },
    { MON_STATE, "state", &mon_target_type },
    { MON_REMOVE, "remove", &mon_target_type },
    { MON_SHUTDOWN, "shutdown", &mon_target_type },
    { MON_SUBSCRIBE, "subscribe", &mon_target_type },
};

const struct mon_type *mon_request_type(unsigned message)
{
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        if (messages[i].message == message) {
            return messages[i].request;
        }
    }
    return NULL;
}

const char *mon_message_name(unsigned message)
{
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        if (messages[i].message == message) {
            return messages[i].name;
        }
    }
    return "?";
}
