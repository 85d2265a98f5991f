/* The machine's identity: see host_id.h. */
#include "agent/host_id.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

#define HOST_ID_BYTES_MOST 64

static int make(const char *path, char ret_id[UUID_TEXT_SIZE], struct error *err)
{
    char line[UUID_TEXT_SIZE + 1];
    uuid_generate(ret_id);
    snprintf(line, sizeof(line), "%s\n", ret_id);
    return file_write_atomic(path, line, strlen(line), 0644, err);
}

static int parse(const char *path, char *text, char ret_id[UUID_TEXT_SIZE], struct error *err)
{
    text[strcspn(text, " \r\n")] = '\0';
    if (!uuid_is_valid(text)) {
        error_set(err, EINVAL, "%s does not hold a UUID", path);
        return error_remedy(err, "remove it: a new one is made when droverd starts");
    }
    strcpy(ret_id, text);
    return 0;
}

int host_id_load(const struct agent_config *config, char ret_id[UUID_TEXT_SIZE], struct error *err)
{
    CLEANUP_BUFFER struct buffer content = {0};
    CLEANUP_FREE char *path = file_path("%s/host_id", config->state_folder);
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot read the host's identity");
    }
    int result = file_read(path, HOST_ID_BYTES_MOST, &content, err);
    if (result == -ENOENT) {
        return make(path, ret_id, err);
    }
    return result < 0 ? result : parse(path, (char *)content.data, ret_id, err);
}
