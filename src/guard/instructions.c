/* The guard's instructions: see instructions.h. */
#include "guard/instructions.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define BYTES_MOST ((size_t)64 << 10)

static int read_text(const json_t *object, const char *what, const char *key, char *ret_text,
                     size_t size, struct error *err)
{
    const char *text;
    int result = json_get_string(object, what, key, &text, err);
    if (result == 0 && (text[0] == '\0' || strlen(text) >= size)) {
        return error_set(err, EINVAL, "%s: \"%s\" is empty, or longer than %zu bytes", what, key,
                         size - 1);
    }
    if (result == 0) {
        strcpy(ret_text, text);
    }
    return result;
}

static int read_name(const json_t *object, const char *what, const char *key, char *ret_name,
                     struct error *err)
{
    int result = read_text(object, what, key, ret_name, VM_NAME_SIZE, err);
    return result == 0 && !file_name_is_safe(ret_name)
               ? error_set(err, EINVAL, "%s: \"%s\" is \"%s\", which is no name", what, key,
                           ret_name)
               : result;
}

static int read_datastore(const json_t *object, const char *what,
                          struct instructions_datastore *datastore, struct error *err)
{
    int result = read_name(object, what, "name", datastore->name, err);
    if (result == 0) {
        result = read_text(object, what, "path", datastore->path, sizeof(datastore->path), err);
    }
    if (result == 0) {
        result = read_text(object, what, "uuid", datastore->uuid, sizeof(datastore->uuid), err);
    }
    if (result == 0 && (datastore->path[0] != '/' || !uuid_is_valid(datastore->uuid))) {
        return error_set(err, EINVAL, "%s: datastore %s has a bad path or UUID", what,
                         datastore->name);
    }
    return result;
}

int instructions_from_json(const json_t *document, const char *what,
                           struct instructions *ret_instructions, struct error *err)
{
    struct instructions read = {0};
    json_t *list = NULL;
    int result = read_name(document, what, "host", read.host, err);
    if (result == 0) {
        result = read_name(document, what, "host_id", read.host_id, err);
    }
    if (result == 0) {
        result = json_get_array_or_empty(document, what, "datastores", &list, err);
    }
    if (result == 0 && json_array_size(list) > INSTRUCTIONS_DATASTORES_MOST) {
        result = error_set(err, EINVAL, "%s has more than %d datastores", what,
                           INSTRUCTIONS_DATASTORES_MOST);
    }
    for (size_t i = 0; result == 0 && i < json_array_size(list); i++) {
        result = read_datastore(json_array_get(list, i), what,
                                &read.datastores[read.datastore_count++], err);
    }
    if (result == 0) {
        *ret_instructions = read;
    }
    return result;
}

int instructions_load(const char *run_folder, struct instructions *ret_instructions,
                      struct error *err)
{
    CLEANUP_FREE char *path =
        file_path("%s/" INSTRUCTIONS_FOLDER "/" INSTRUCTIONS_FILE, run_folder);
    CLEANUP_JSON json_t *document = path ? json_read_file(path, BYTES_MOST, err) : NULL;
    if (!document) {
        return path ? -err->code : error_set_errno(err, ENOMEM, "cannot read the instructions");
    }
    return instructions_from_json(document, path, ret_instructions, err);
}
