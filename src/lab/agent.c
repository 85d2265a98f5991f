/* The hosts' agents: see agent.h. */
#include "lab/agent.h"

#include <curl/curl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/socket.h"
#include "lab/folder.h"
#include "lab/init.h"
#include "lab/mount_points.h"
#include "lab/node.h"

#define ANSWER_BYTES_MOST ((size_t)4 << 20)
#define CONTROL_TIMEOUT_NS (5 * NANOSECONDS_PER_SECOND)
#define WAIT_TIMEOUT_NS (30 * NANOSECONDS_PER_SECOND)
#define ASK_INTERVAL_NS (50 * NANOSECONDS_PER_MILLISECOND)
#define CALL_SECONDS 5
#define LOG_TAIL 400

/* ---- the program ---- */

static bool is_program(const char *folder, const char *below, char ret_path[LAB_PATH_SIZE])
{
    snprintf(ret_path, LAB_PATH_SIZE, "%s%s", folder, below);
    return access(ret_path, X_OK) == 0;
}

static bool find_in_path(const char *below, char ret_path[LAB_PATH_SIZE])
{
    const char *path = getenv("PATH");
    CLEANUP_FREE char *folders = path ? strdup(path) : NULL;
    char *rest = folders;
    for (char *folder; rest && (folder = strsep(&rest, ":"));) {
        if (is_program(folder, below, ret_path)) {
            return true;
        }
    }
    return false;
}

/* `name` is the program's, `in_tree` where it is from this one in the build tree. */
static int find_program(const char *name, const char *in_tree, char ret_path[LAB_PATH_SIZE],
                        struct error *err)
{
    char folder[LAB_PATH_SIZE];
    char below[64];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
    folder[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash) {
        *slash = '\0';
    }
    snprintf(below, sizeof(below), "/%s", name);
    if (is_program(folder, below, ret_path) || is_program(folder, in_tree, ret_path) ||
        find_in_path(below, ret_path)) {
        return 0;
    }
    error_set(err, ENOENT, "the program %s is neither in %s nor in PATH", name, folder);
    return error_remedy(err, "build it, or make a lab without agents (--no-agents)");
}

int agent_find_programs(struct lab_programs *ret_programs, struct error *err)
{
    int result = find_program("droverd", "/../agent/droverd", ret_programs->agent, err);
    return result < 0
               ? result
               : find_program("drover-guard", "/../guard/drover-guard", ret_programs->guard, err);
}

/* ---- through the init ---- */

static int read_answer(const struct lab_node *node, int fd, json_t **ret_answer, struct error *err)
{
    char text[2048];
    if (socket_wait_readable(fd, CONTROL_TIMEOUT_NS) <= 0) {
        return error_set(err, ETIMEDOUT, "the init of %s does not answer", node->name);
    }
    ssize_t length = read(fd, text, sizeof(text));
    if (length <= 0) {
        return error_set(err, ECONNRESET, "the init of %s hung up", node->name);
    }
    CLEANUP_JSON json_t *answer = json_parse(text, (size_t)length, "the init's answer", err);
    if (!answer) {
        return error_wrap(err, "%s", node->name);
    }
    if (json_object_get(answer, "error")) {
        return json_to_error(answer, err);
    }
    if (ret_answer) {
        *ret_answer = steal_pointer(&answer);
    }
    return 0;
}

int agent_control(const struct lab *lab, const struct lab_node *node, const char *service,
                  const char *action, json_t **ret_answer, struct error *err)
{
    char path[LAB_PATH_SIZE];
    char request[32];
    snprintf(request, sizeof(request), "%s %s", service, action);
    if (!process_is_alive(&node->init)) {
        error_set(err, ESRCH, "%s is switched off", node->name);
        return error_remedy(err, "\"drover lab power-on %s\" starts it", node->name);
    }
    node_control_path(lab, node, path);
    CLEANUP_CLOSE int fd = socket_connect_unix(path, err);
    if (fd < 0) {
        return fd;
    }
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
        return error_set_errno(err, errno, "cannot ask the init of %s", node->name);
    }
    return read_answer(node, fd, ret_answer, err);
}

int agent_start(const struct lab *lab, const struct lab_node *node, struct error *err)
{
    int result = folder_wants_sanlock(lab)
                     ? agent_control(lab, node, INIT_SANLOCK, INIT_START, NULL, err)
                     : 0;
    if (result == 0) {
        result = agent_control(lab, node, INIT_GUARD, INIT_START, NULL, err);
    }
    return result < 0 ? result : agent_control(lab, node, INIT_AGENT, INIT_START, NULL, err);
}

/* ---- through the API ---- */

static size_t take_bytes(char *bytes, size_t size, size_t count, void *context)
{
    struct buffer *body = context;
    if (body->length + size * count > ANSWER_BYTES_MOST) {
        return 0;
    }
    return buffer_append(body, bytes, size * count) == 0 ? size * count : 0;
}

static int perform(CURL *curl, const char *node, struct buffer *body, struct error *err)
{
    long status = 0;
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        return error_set(err, ECONNREFUSED, "the agent of %s does not answer: %s", node,
                         curl_easy_strerror(code));
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        return error_set(err, EPROTO, "the agent of %s answers with status %ld", node, status);
    }
    return buffer_append(body, "", 1);
}

int agent_get(const struct lab_node *node, const char *path, json_t **ret_answer, struct error *err)
{
    char socket[LAB_PATH_SIZE];
    char url[LAB_PATH_SIZE];
    struct error ignored;
    CLEANUP_BUFFER struct buffer body = {0};
    CURL *curl = curl_easy_init();
    err = err ? err : &ignored;
    if (!curl) {
        return error_set_errno(err, ENOMEM, "cannot ask the agent of %s", node->name);
    }
    /* The node's own tree, seen through its init. */
    snprintf(socket, sizeof(socket), "/proc/%d/root" MOUNT_POINT_RUN "/droverd.sock",
             (int)node->init.pid);
    snprintf(url, sizeof(url), "http://localhost%s", path);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)CALL_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    int result = perform(curl, node->name, &body, err);
    curl_easy_cleanup(curl);
    if (result < 0) {
        return result;
    }
    *ret_answer = json_parse((const char *)body.data, body.length - 1, "the agent's answer", err);
    return *ret_answer ? 0 : -err->code;
}

/* ---- waiting ---- */

static bool has_stopped(const struct lab *lab, const struct lab_node *node, const char *service,
                        char *ended, size_t size)
{
    CLEANUP_JSON json_t *answer = NULL;
    if (agent_control(lab, node, service, INIT_STATUS, &answer, NULL) < 0) {
        snprintf(ended, size, "the host is gone");
        return true;
    }
    const char *how = json_string_value(json_object_get(answer, "ended"));
    snprintf(ended, size, "%s", how ? how : "");
    return how != NULL;
}

/* The end of the agent's log, for an error's message. */
static void read_log_tail(const struct lab *lab, const struct lab_node *node, char *text,
                          size_t size)
{
    char path[LAB_PATH_SIZE];
    snprintf(path, sizeof(path), "%s/%s/droverd.log", lab->folder, node->name);
    CLEANUP_FILE FILE *log = fopen(path, "re");
    size_t length = 0;
    if (log) {
        if (fseek(log, -(long)(size - 1), SEEK_END) < 0) {
            rewind(log);
        }
        length = fread(text, 1, size - 1, log);
    }
    while (length > 0 && text[length - 1] == '\n') {
        length--;
    }
    text[length] = '\0';
}

static int tell_failed_start(const struct lab *lab, const struct lab_node *node, int code,
                             const char *why, struct error *err)
{
    char tail[LOG_TAIL];
    read_log_tail(lab, node, tail, sizeof(tail));
    error_set(err, code, "the agent of %s did not start: %s", node->name, why);
    return tail[0] ? error_remedy(err, "its log ends with: %s", tail)
                   : error_remedy(err, "it left no log");
}

int agent_wait_until_ready(const struct lab *lab, const struct lab_node *node, int give_up,
                           struct error *err)
{
    char ended[96];
    uint64_t end = clock_monotonic_ns() + WAIT_TIMEOUT_NS;
    while (clock_monotonic_ns() < end) {
        CLEANUP_JSON json_t *answer = NULL;
        if (agent_get(node, "/v1/host", &answer, NULL) == 0) {
            return 0;
        }
        if (has_stopped(lab, node, INIT_AGENT, ended, sizeof(ended))) {
            return tell_failed_start(lab, node, EIO, ended, err);
        }
        if (give_up >= 0 && socket_wait_readable(give_up, ASK_INTERVAL_NS) > 0) {
            return error_set(err, ECANCELED, "interrupted");
        }
        if (give_up < 0) {
            clock_sleep_ns(ASK_INTERVAL_NS);
        }
    }
    return tell_failed_start(lab, node, ETIMEDOUT, "it runs, but does not answer", err);
}

int agent_wait_until_stopped(const struct lab *lab, const struct lab_node *node,
                             const char *service, struct error *err)
{
    char ended[96];
    uint64_t end = clock_monotonic_ns() + WAIT_TIMEOUT_NS;
    while (!has_stopped(lab, node, service, ended, sizeof(ended))) {
        if (clock_monotonic_ns() > end) {
            return error_set(err, ETIMEDOUT, "the %s of %s does not stop", service, node->name);
        }
        clock_sleep_ns(ASK_INTERVAL_NS);
    }
    return 0;
}
