/*
 * libFuzzer's entry: bytes as what an agent says to a console: its answer to the upgrade, and then
 * frames. The first byte says how many bytes come at a time.
 */
#include <errno.h>

#include "cli/websocket.h"
#include "harness.h"

static const char key[WEBSOCKET_KEY_SIZE] = "AAAAAAAAAAAAAAAAAAAAAA==";

static void take_frames(struct buffer *input)
{
    struct buffer payload = {0}, output = {0};
    struct error err = ERROR_NONE;
    bool closed = false;
    harness_check_refusal(websocket_receive(input, &payload, &output, &closed, &err), &err);
    buffer_done(&payload);
    buffer_done(&output);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct buffer answer = {0}, frames = {0};
    struct error err = ERROR_NONE;
    int status = 0;
    if (length == 0) {
        return 0;
    }
    size_t step = (size_t)bytes[0] + 1;
    buffer_append(&answer, bytes + 1, length - 1);
    int result = websocket_accept(&answer, key, &status, &err);
    if (result != -EBADMSG) { /* whose reason is in the answer's body */
        harness_check_refusal(result, &err);
    }
    if (result > 0) {
        take_frames(&answer);
    }
    for (size_t at = 1; at < length; at += step) {
        buffer_append(&frames, bytes + at, length - at < step ? length - at : step);
        take_frames(&frames);
    }
    buffer_done(&answer);
    buffer_done(&frames);
    return 0;
}
