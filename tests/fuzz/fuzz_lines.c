/*
 * libFuzzer's entry: bytes as what comes over a mover's control socket, at either end: lines of
 * JSON. The agent reads what an unprivileged mover says; what it says of a guest's writing is
 * decoded, too.
 */
#include <unistd.h>

#include "base/json.h"
#include "harness.h"
#include "mover/line.h"
#include "mover/sample.h"

static void look_at(const json_t *line)
{
    struct engine_sample sample;
    struct error err = ERROR_NONE;
    harness_check_refusal(sample_decode(line, &sample, &err), &err);
    err = ERROR_NONE;
    json_to_error(line, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct buffer input = {0};
    struct error err = ERROR_NONE;
    int peer;
    int fd = harness_connect(bytes, length, &peer);
    while (line_receive(fd, &input, &err) == 0) {
        json_t *line;
        int result;
        while ((result = line_take(&input, &line, &err)) > 0) {
            look_at(line);
            json_decref(line);
        }
        harness_check_refusal(result, &err);
        if (result < 0) {
            break;
        }
    }
    buffer_done(&input);
    close(fd);
    close(peer);
    return 0;
}
