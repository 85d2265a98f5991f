/* The datastores that were seen: see known_datastores.h. */
#include "agent/known_datastores.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

#define RECORD_BYTES_MOST 4096

static char *record_of(const struct agent_config *config, const char *name)
{
    return file_path("%s/datastores/%s", config->state_folder, name);
}

/* Whether it was seen at this path; an unreadable record says so, too: better none than a wrong
 * one. */
static bool was_seen(const char *record, const char *path)
{
    CLEANUP_BUFFER struct buffer content = {0};
    int result = file_read(record, RECORD_BYTES_MOST, &content, NULL);
    if (result < 0) {
        return result != -ENOENT;
    }
    return content.length == strlen(path) && memcmp(content.data, path, content.length) == 0;
}

/* Without the record all goes on as it would on a host that never saw the datastore. */
static void note(const struct agent_config *config, const char *record, const char *path)
{
    struct error err = ERROR_NONE;
    CLEANUP_FREE char *folder = file_path("%s/datastores", config->state_folder);
    int result = folder ? file_make_folders(folder, 0700, &err)
                        : error_set_errno(&err, ENOMEM, "cannot write %s", record);
    if (result == 0) {
        result = file_write_atomic(record, path, strlen(path), 0600, &err);
    }
    if (result < 0) {
        log_warning("that the datastore at %s was seen is not remembered: %s", path, err.message);
    }
}

int known_datastores_open(const struct agent_config *config, const char *name, const char *path,
                          struct datastore *ret_datastore, struct error *err)
{
    CLEANUP_FREE char *record = record_of(config, name);
    if (!record) {
        return error_set_errno(err, ENOMEM, "cannot open datastore %s", name);
    }
    bool seen = was_seen(record, path);
    int result = seen ? datastore_open_existing(name, path, ret_datastore, err)
                      : datastore_open(name, path, ret_datastore, err);
    if (seen && result == -ESTALE) {
        return error_remedy(err, "mount it there; if a new one is to begin there, remove %s",
                            record);
    }
    if (result == 0 && !seen) {
        note(config, record, path);
    }
    return result;
}
