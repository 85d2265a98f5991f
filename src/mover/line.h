/* JSON, one object a line: the framing of a mover's control socket, for both ends. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define LINE_MOST ((size_t)64 << 10)

/* Sends one object; `value` is borrowed. */
int line_send(int fd, const json_t *value, struct error *err);

/* Reads what has arrived (at least one byte, waiting for it) into `input`. -ECONNRESET at the end,
 * -EPROTO when a line gets too long. */
int line_receive(int fd, struct buffer *input, struct error *err);

/* Takes the first whole line out of `input`: 1 and a new reference, 0 when there is none yet,
 * -EINVAL when it is no JSON object. */
int line_take(struct buffer *input, json_t **ret_value, struct error *err);
