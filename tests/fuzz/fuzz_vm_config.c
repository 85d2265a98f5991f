/*
 * libFuzzer's entry: bytes as a vm.json from a datastore. What is accepted must come back the same
 * from what is written of it; a definition completed by vm_config_complete() must not crash either.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "storage/vm_config.h"

static void check_round_trip(const struct vm_config *config)
{
    struct vm_config again;
    CLEANUP_JSON json_t *written = vm_config_to_json(config);
    if (!written || vm_config_from_json(written, "written", &again, NULL) < 0 ||
        memcmp(config, &again, sizeof(again)) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct vm_config config;
    struct error err = ERROR_NONE;
    if (length > VM_CONFIG_BYTES_MOST) {
        return 0;
    }
    CLEANUP_JSON json_t *document = json_parse((const char *)bytes, length, "vm.json", &err);
    if (!document) {
        return 0;
    }
    int result = vm_config_from_json(document, "vm.json", &config, &err);
    if (result == 0) {
        check_round_trip(&config);
    } else if (!err.message[0] || err.code != -result) {
        abort();
    }
    if (vm_config_complete(document, &err) == 0 &&
        vm_config_from_json(document, "vm.json", &config, &err) == 0) {
        check_round_trip(&config);
    }
    return 0;
}
