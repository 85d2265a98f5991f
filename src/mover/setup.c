/* A mover's setup document, in and out: see setup.h. */
#include "mover/setup.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/uuid.h"
#include "engine/guest.h"
#include "mover/setup_document.h"

#define DOCUMENT_MOST ((size_t)64 << 10)
#define KEY_DIGITS ((size_t)2 * SECURE_KEY_SIZE) /* of the longest secret */
#define FD_MOST 1023
#define WHAT "the mover's setup"

static const char *const on_timeout_names[] = {
    [ENGINE_ON_TIMEOUT_ABORT] = "abort", [ENGINE_ON_TIMEOUT_STOP] = "stop", NULL};

static const char *const engine_names[] = {
    [MOVER_ENGINE_DROVER] = "drover", [MOVER_ENGINE_NATIVE] = "native", NULL};

bool mover_setup_tracks(const struct mover_setup *setup)
{
    return setup->role == MOVER_ROLE_SAMPLE ||
           (setup->role == MOVER_ROLE_SOURCE && setup->engine == MOVER_ENGINE_DROVER);
}

/* ---- out, in the agent ---- */

/* At most SECURE_KEY_SIZE bytes, in hexadecimal. */
static json_t *encode_secret(const uint8_t *bytes, size_t size)
{
    char text[KEY_DIGITS + 1];
    hex_encode(bytes, size, text);
    json_t *string = json_string(text);
    explicit_bzero(text, sizeof(text));
    return string;
}

static json_t *encode_nics(const struct mover_setup *setup)
{
    json_t *nics = json_array();
    for (size_t i = 0; i < setup->nic_count; i++) {
        json_array_append_new(nics, json_pack("{s:i, s:s}", "tap_fd", setup->nics[i].tap_fd, "mac",
                                              setup->nics[i].mac));
    }
    return nics;
}

static json_t *encode_paths(const struct mover_setup *setup)
{
    json_t *paths = json_array();
    for (size_t i = 0; i < setup->path_count; i++) {
        const struct mover_path *path = &setup->paths[i];
        json_array_append_new(paths,
                              json_pack("{s:s, s:s, s:i}", "local_address", path->local_address,
                                        "address", path->address, "port", (int)path->port));
    }
    return paths;
}

json_t *mover_options_encode(const struct engine_source_options *options)
{
    return json_pack("{s:I, s:I, s:s, s:b, s:b, s:i, s:I, s:I}", "blackout_target_ns",
                     (json_int_t)options->blackout_target_ns, "timeout_ns",
                     (json_int_t)options->timeout_ns, "on_timeout",
                     on_timeout_names[options->on_timeout], "pace", options->pace, "compress",
                     options->compress, "channels", (int)options->channels, "bandwidth_limit",
                     (json_int_t)options->bandwidth_limit, "device_state_ns",
                     (json_int_t)options->device_state_ns);
}

static int encode_tracking(json_t *document, const struct mover_setup *setup)
{
    CLEANUP_JSON json_t *part = json_pack(
        "{s:i, s:i, s:i, s:I}", "userfaultfd", setup->userfaultfd, "pagemap_fd", setup->pagemap_fd,
        "watch_fd", setup->watch_fd, "memory_address", (json_int_t)setup->memory_address);
    return json_object_update(document, part);
}

static int encode_source(json_t *document, const struct mover_setup *setup)
{
    CLEANUP_JSON json_t *part = json_pack("{s:o, s:o}", "paths", encode_paths(setup), "options",
                                          mover_options_encode(&setup->options));
    if (setup->pacing_fd >= 0) {
        json_object_set_new(part, "pacing_fd", json_integer(setup->pacing_fd));
    }
    if (setup->processor_fd >= 0) {
        json_object_set_new(part, "processor_fd", json_integer(setup->processor_fd));
    }
    int result = json_object_update(document, part);
    return result < 0 || !mover_setup_tracks(setup) ? result : encode_tracking(document, setup);
}

static int encode_destination(json_t *document, const struct mover_setup *setup)
{
    json_t *listeners = json_array();
    for (size_t i = 0; i < setup->listen_count; i++) {
        json_array_append_new(listeners, json_integer(setup->listen_fds[i]));
    }
    CLEANUP_JSON json_t *part = json_pack("{s:o, s:I}", "listen_fds", listeners, "silence_limit_ns",
                                          (json_int_t)setup->silence_limit_ns);
    return json_object_update(document, part);
}

static json_t *encode_sample(const struct mover_setup *setup)
{
    CLEANUP_JSON json_t *document =
        json_pack("{s:s, s:s, s:I, s:i, s:I}", "role", mover_role_name(setup->role), "vm_name",
                  setup->vm_name, "memory_size", (json_int_t)setup->memory_size, "memory_fd",
                  setup->memory_fd, "sample_ns", (json_int_t)setup->sample_ns);
    return encode_tracking(document, setup) < 0 ? NULL : steal_pointer(&document);
}

static json_t *encode_move(const struct mover_setup *setup)
{
    CLEANUP_JSON json_t *document = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:I, s:i, s:i, s:o}", "role", mover_role_name(setup->role),
        "engine", engine_names[setup->engine], "move_id", setup->move_id, "vm_name", setup->vm_name,
        "token", encode_secret(setup->token, sizeof(setup->token)), "memory_size",
        (json_int_t)setup->memory_size, "memory_fd", setup->memory_fd, "qmp_fd", setup->qmp_fd,
        "nics", encode_nics(setup));
    if (setup->encrypted) {
        json_object_set_new(document, "key", encode_secret(setup->key, sizeof(setup->key)));
    }
    int result = setup->role == MOVER_ROLE_SOURCE ? encode_source(document, setup)
                                                  : encode_destination(document, setup);
    return result < 0 ? NULL : steal_pointer(&document);
}

const char *mover_role_name(enum mover_role role)
{
    static const char *const names[] = {[MOVER_ROLE_SOURCE] = "source",
                                        [MOVER_ROLE_DESTINATION] = "destination",
                                        [MOVER_ROLE_SAMPLE] = "sample"};
    return names[role];
}

json_t *mover_setup_encode(const struct mover_setup *setup)
{
    return setup->role == MOVER_ROLE_SAMPLE ? encode_sample(setup) : encode_move(setup);
}

/* ---- in, in the mover ---- */

static int get_u64(const json_t *object, const char *key, uint64_t *ret_value, struct error *err)
{
    int64_t value;
    int result = json_get_integer(object, WHAT, key, 0, INT64_MAX, &value, err);
    if (result == 0) {
        *ret_value = (uint64_t)value;
    }
    return result;
}

static int get_fd(const json_t *object, const char *key, int *ret_fd, struct error *err)
{
    int64_t value;
    int result = json_get_integer(object, WHAT, key, MOVER_CONTROL_FD + 1, FD_MOST, &value, err);
    if (result == 0) {
        *ret_fd = (int)value;
    }
    return result;
}

static int get_fd_or_none(const json_t *object, const char *key, int *ret_fd, struct error *err)
{
    if (!json_object_get(object, key)) {
        *ret_fd = -1;
        return 0;
    }
    return get_fd(object, key, ret_fd, err);
}

/* Copies a string that must fit; what is too long is refused, not cut. */
static int get_text(const json_t *object, const char *key, char *text, size_t size,
                    struct error *err)
{
    const char *value;
    int result = json_get_string(object, WHAT, key, &value, err);
    if (result < 0) {
        return result;
    }
    if (strlen(value) >= size) {
        return error_set(err, EINVAL, WHAT ": \"%s\" is longer than %zu characters", key, size - 1);
    }
    strcpy(text, value);
    return 0;
}

/* At most SECURE_KEY_SIZE bytes. A message about one never repeats it. */
static int decode_secret(const json_t *object, const char *key, uint8_t *bytes, size_t size,
                         struct error *err)
{
    char text[KEY_DIGITS + 1];
    int result = get_text(object, key, text, 2 * size + 1, err);
    if (result == 0 && !hex_decode(text, bytes, size)) {
        result = error_set(err, EINVAL, WHAT ": \"%s\" must be %zu lower-case hexadecimal digits",
                           key, 2 * size);
    }
    explicit_bzero(text, sizeof(text));
    return result;
}

/* Without a key the channels are not encrypted; null is no key, and an error. */
static int decode_secrets(const json_t *document, struct mover_setup *setup, struct error *err)
{
    int result = decode_secret(document, "token", setup->token, sizeof(setup->token), err);
    setup->encrypted = json_object_get(document, "key") != NULL;
    return result < 0 || !setup->encrypted
               ? result
               : decode_secret(document, "key", setup->key, sizeof(setup->key), err);
}

static int decode_nics(const json_t *document, struct mover_setup *setup, struct error *err)
{
    json_t *nics;
    json_t *nic;
    int result = json_get_array_or_empty(document, WHAT, "nics", &nics, err);
    if (result < 0) {
        return result;
    }
    if (json_array_size(nics) > MOVER_NICS_MOST) {
        return error_set(err, EINVAL, WHAT ": at most %d NICs", MOVER_NICS_MOST);
    }
    json_array_foreach (nics, setup->nic_count, nic) {
        struct mover_nic *into = &setup->nics[setup->nic_count];
        result = get_fd(nic, "tap_fd", &into->tap_fd, err);
        if (result == 0) {
            result = get_text(nic, "mac", into->mac, sizeof(into->mac), err);
        }
        if (result < 0) {
            return result;
        }
    }
    return result;
}

static int decode_path(const json_t *entry, struct mover_path *path, struct error *err)
{
    int64_t port = 0;
    int result =
        get_text(entry, "local_address", path->local_address, sizeof(path->local_address), err);
    if (result == 0) {
        result = get_text(entry, "address", path->address, sizeof(path->address), err);
    }
    if (result == 0) {
        result = json_get_integer(entry, WHAT, "port", 1, UINT16_MAX, &port, err);
    }
    path->port = (uint16_t)port;
    return result;
}

/* A list of one to MOVER_PATHS_MOST entries. */
static int get_list(const json_t *document, const char *key, json_t **ret_list, struct error *err)
{
    int result = json_get_array_or_empty(document, WHAT, key, ret_list, err);
    size_t count = json_array_size(*ret_list);
    if (result == 0 && (count == 0 || count > MOVER_PATHS_MOST)) {
        return error_set(err, EINVAL, WHAT ": \"%s\" must have 1 to %d entries", key,
                         MOVER_PATHS_MOST);
    }
    return result;
}

static int decode_paths(const json_t *document, struct mover_setup *setup, struct error *err)
{
    json_t *list = NULL;
    const json_t *entry;
    int result = get_list(document, "paths", &list, err);
    if (result < 0) {
        return result;
    }
    json_array_foreach (list, setup->path_count, entry) {
        result = decode_path(entry, &setup->paths[setup->path_count], err);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int decode_limits(const json_t *object, struct engine_source_options *options,
                         struct error *err)
{
    int result = get_u64(object, "blackout_target_ns", &options->blackout_target_ns, err);
    if (result == 0) {
        result = get_u64(object, "timeout_ns", &options->timeout_ns, err);
    }
    if (result == 0) {
        result = get_u64(object, "bandwidth_limit", &options->bandwidth_limit, err);
    }
    if (result == 0) {
        result = get_u64(object, "device_state_ns", &options->device_state_ns, err);
    }
    return result;
}

static int decode_options(const json_t *document, struct engine_source_options *options,
                          struct error *err)
{
    json_t *object;
    int64_t channels = 0;
    int on_timeout = 0;
    int result = json_get_object_or_null(document, WHAT, "options", &object, err);
    if (result == 0) {
        result = decode_limits(object, options, err);
    }
    if (result == 0) {
        result = json_get_choice_or(object, WHAT, "on_timeout", on_timeout_names,
                                    ENGINE_ON_TIMEOUT_ABORT, &on_timeout, err);
    }
    if (result == 0) {
        result = json_get_boolean_or(object, WHAT, "pace", true, &options->pace, err);
    }
    if (result == 0) {
        result = json_get_boolean_or(object, WHAT, "compress", true, &options->compress, err);
    }
    if (result == 0) {
        result = json_get_integer(object, WHAT, "channels", 0, MOVER_CHANNELS_MOST, &channels, err);
    }
    options->on_timeout = (enum engine_on_timeout)on_timeout;
    options->channels = (unsigned)channels;
    return result;
}

static int decode_tracking(const json_t *document, struct mover_setup *setup, struct error *err)
{
    int result = get_fd(document, "userfaultfd", &setup->userfaultfd, err);
    if (result == 0) {
        result = get_fd(document, "pagemap_fd", &setup->pagemap_fd, err);
    }
    if (result == 0) {
        result = get_fd(document, "watch_fd", &setup->watch_fd, err);
    }
    return result < 0 ? result : get_u64(document, "memory_address", &setup->memory_address, err);
}

static int decode_source(const json_t *document, struct mover_setup *setup, struct error *err)
{
    int result = mover_setup_tracks(setup) ? decode_tracking(document, setup, err) : 0;
    if (result == 0) {
        result = get_fd_or_none(document, "pacing_fd", &setup->pacing_fd, err);
    }
    if (result == 0) {
        result = get_fd_or_none(document, "processor_fd", &setup->processor_fd, err);
    }
    if (result == 0) {
        result = decode_paths(document, setup, err);
    }
    return result < 0 ? result : decode_options(document, &setup->options, err);
}

static int decode_listeners(const json_t *document, struct mover_setup *setup, struct error *err)
{
    json_t *list = NULL;
    const json_t *entry;
    int result = get_list(document, "listen_fds", &list, err);
    if (result < 0) {
        return result;
    }
    json_array_foreach (list, setup->listen_count, entry) {
        json_int_t fd = json_integer_value(entry); /* 0 for what is no integer */
        if (fd <= MOVER_CONTROL_FD || fd > FD_MOST) {
            return error_set(err, EINVAL, WHAT ": \"listen_fds\" must be descriptors");
        }
        setup->listen_fds[setup->listen_count] = (int)fd;
    }
    return 0;
}

static int decode_destination(const json_t *document, struct mover_setup *setup, struct error *err)
{
    int result = decode_listeners(document, setup, err);
    return result < 0 ? result
                      : get_u64(document, "silence_limit_ns", &setup->silence_limit_ns, err);
}

static int decode_memory(const json_t *document, struct mover_setup *setup, struct error *err)
{
    int result = get_u64(document, "memory_size", &setup->memory_size, err);
    if (result == 0) {
        result = get_fd(document, "memory_fd", &setup->memory_fd, err);
    }
    if (result == 0 && (setup->memory_size == 0 || setup->memory_size % ENGINE_PAGE_SIZE != 0)) {
        return error_set(err, EINVAL, WHAT ": \"memory_size\" must be a multiple of %u",
                         ENGINE_PAGE_SIZE);
    }
    return result;
}

/* What both sides of a move have. */
static int decode_engine(const json_t *document, enum mover_engine *ret_engine, struct error *err)
{
    int engine;
    int result = json_get_choice_or(document, WHAT, "engine", engine_names, MOVER_ENGINE_DROVER,
                                    &engine, err);
    if (result == 0) {
        *ret_engine = (enum mover_engine)engine;
    }
    return result;
}

static int decode_move(const json_t *document, struct mover_setup *setup, struct error *err)
{
    int result = get_text(document, "move_id", setup->move_id, sizeof(setup->move_id), err);
    if (result == 0 && !uuid_is_valid(setup->move_id)) {
        return error_set(err, EINVAL, WHAT ": \"move_id\" must be a UUID");
    }
    if (result == 0) {
        result = decode_engine(document, &setup->engine, err);
    }
    if (result == 0) {
        result = get_text(document, "vm_name", setup->vm_name, sizeof(setup->vm_name), err);
    }
    if (result == 0) {
        result = decode_secrets(document, setup, err);
    }
    if (result == 0) {
        result = decode_memory(document, setup, err);
    }
    if (result == 0) {
        result = get_fd(document, "qmp_fd", &setup->qmp_fd, err);
    }
    return result < 0 ? result : decode_nics(document, setup, err);
}

static int decode_sample(const json_t *document, struct mover_setup *setup, struct error *err)
{
    int result = get_text(document, "vm_name", setup->vm_name, sizeof(setup->vm_name), err);
    if (result == 0) {
        result = decode_memory(document, setup, err);
    }
    if (result == 0) {
        result = decode_tracking(document, setup, err);
    }
    return result < 0 ? result : get_u64(document, "sample_ns", &setup->sample_ns, err);
}

static int decode_role(const json_t *document, enum mover_role *ret_role, struct error *err)
{
    const char *name;
    int result = json_get_string(document, WHAT, "role", &name, err);
    if (result < 0) {
        return result;
    }
    for (int role = MOVER_ROLE_SOURCE; role <= MOVER_ROLE_SAMPLE; role++) {
        if (strcmp(name, mover_role_name((enum mover_role)role)) == 0) {
            *ret_role = (enum mover_role)role;
            return 0;
        }
    }
    return error_set(err, EINVAL, WHAT ": the role \"%s\" is not known", name);
}

int mover_setup_decode(const json_t *document, struct mover_setup *ret_setup, struct error *err)
{
    struct mover_setup setup = {0};
    int result = decode_role(document, &setup.role, err);
    if (result == 0 && setup.role == MOVER_ROLE_SAMPLE) {
        result = decode_sample(document, &setup, err);
    } else if (result == 0) {
        result = decode_move(document, &setup, err);
    }
    if (result == 0 && setup.role == MOVER_ROLE_SOURCE) {
        result = decode_source(document, &setup, err);
        memcpy(setup.options.token, setup.token, sizeof(setup.token));
        memcpy(setup.options.move_id, setup.move_id, sizeof(setup.move_id));
    } else if (result == 0 && setup.role == MOVER_ROLE_DESTINATION) {
        result = decode_destination(document, &setup, err);
    }
    if (result == 0) {
        *ret_setup = setup;
    }
    explicit_bzero(setup.key, sizeof(setup.key));
    return result;
}

/* Into one piece of memory, so that no copy of the secrets is left where it was. */
static int read_document(int fd, struct buffer *text, struct error *err)
{
    uint8_t *space = buffer_reserve(text, DOCUMENT_MOST + 1);
    ssize_t got = space ? 1 : -1;
    while (got > 0 && text->length <= DOCUMENT_MOST) {
        got = read(fd, space + text->length, DOCUMENT_MOST + 1 - text->length);
        text->length += got > 0 ? (size_t)got : 0;
    }
    if (got < 0 || text->length > DOCUMENT_MOST) {
        return error_set_errno(err, got < 0 ? errno : EFBIG, "cannot read " WHAT);
    }
    return 0;
}

int mover_setup_read(int fd, struct mover_setup *ret_setup, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    int result = read_document(fd, &text, err);
    if (result < 0) {
        return result;
    }
    CLEANUP_JSON json_t *document = json_parse((const char *)text.data, text.length, WHAT, err);
    explicit_bzero(text.data, text.length);
    result = document ? mover_setup_decode(document, ret_setup, err) : -EINVAL;
    json_wipe(document, "key");
    return result;
}
