/* libFuzzer's entry: bytes as the document that a mover is set up with. */
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "mover/setup.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static struct mover_setup setup;
    struct error err = ERROR_NONE;
    int fd = harness_file(bytes, length);
    memset(&setup, 0xa5, sizeof(setup));
    int result = mover_setup_read(fd, &setup, &err);
    harness_check_refusal(result, &err);
    if (result == 0) {
        mover_role_name(setup.role);
        mover_setup_tracks(&setup);
    }
    close(fd);
    return 0;
}
