/*
 * A VM's serial console over a WebSocket: bytes both ways between the client and QEMU's socket, on
 * the loop. QEMU's socket takes one client, so a console has one user at a time.
 *
 * What the guest writes faster than the client reads waits in a bounded buffer; when that is full,
 * QEMU's socket is not read until it drains, and the same the other way round.
 */
#pragma once

#include <libwebsockets.h>
#include <stddef.h>
#include <uv.h>

struct console;

/* Takes `serial_fd` (also on failure). NULL without memory. */
struct console *console_new(uv_loop_t *loop, struct lws *wsi, int serial_fd);

/* The client is gone. */
void console_free(struct console *console);

/* LWS_CALLBACK_SERVER_WRITEABLE and LWS_CALLBACK_RECEIVE: negative closes the WebSocket. */
int console_writeable(struct console *console);
int console_received(struct console *console, const void *bytes, size_t length);
