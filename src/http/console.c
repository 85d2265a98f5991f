/* A serial console over a WebSocket: see console.h. */
#include "http/console.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"

#define CHUNK_SIZE 16384
#define TO_GUEST_MOST 65536

struct console {
    uv_poll_t poll;
    struct lws *wsi; /* NULL once the client is gone */
    int fd;
    bool ended;                                    /* QEMU closed its end */
    unsigned char to_client[LWS_PRE + CHUNK_SIZE]; /* lws wants room before the payload */
    size_t to_client_length;
    struct buffer to_guest; /* what QEMU's socket did not take yet */
};

static void on_poll(uv_poll_t *poll, int status, int events);

/* Reads only into an empty buffer, writes only what waits. */
static void watch(struct console *console)
{
    int events = 0;
    if (console->to_client_length == 0 && !console->ended) {
        events |= UV_READABLE;
    }
    if (console->to_guest.length > 0) {
        events |= UV_WRITABLE;
    }
    if (events) {
        uv_poll_start(&console->poll, events, on_poll);
    } else {
        uv_poll_stop(&console->poll);
    }
}

static void read_guest(struct console *console)
{
    ssize_t got = read(console->fd, console->to_client + LWS_PRE, CHUNK_SIZE);
    if (got > 0) {
        console->to_client_length = (size_t)got;
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        console->ended = true;
    }
    lws_callback_on_writable(console->wsi);
}

static void write_guest(struct console *console)
{
    ssize_t put = write(console->fd, console->to_guest.data, console->to_guest.length);
    if (put < 0 && errno != EAGAIN && errno != EINTR) {
        console->ended = true;
        buffer_reset(&console->to_guest);
        lws_callback_on_writable(console->wsi);
    }
    if (put > 0) {
        memmove(console->to_guest.data, console->to_guest.data + put,
                console->to_guest.length - (size_t)put);
        console->to_guest.length -= (size_t)put;
    }
    if (console->to_guest.length < TO_GUEST_MOST / 2) {
        lws_rx_flow_control(console->wsi, 1);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct console *console = poll->data;
    if (status < 0) {
        console->ended = true;
        lws_callback_on_writable(console->wsi);
    }
    if (events & UV_READABLE) {
        read_guest(console);
    }
    if (events & UV_WRITABLE) {
        write_guest(console);
    }
    watch(console);
}

struct console *console_new(uv_loop_t *loop, struct lws *wsi, int serial_fd)
{
    CLEANUP_CLOSE int fd = serial_fd;
    struct console *console = calloc(1, sizeof(*console));
    if (!console || uv_poll_init(loop, &console->poll, fd) < 0) {
        free(console);
        return NULL;
    }
    console->poll.data = console;
    console->wsi = wsi;
    console->fd = steal_fd(&fd);
    watch(console);
    return console;
}

static void on_closed(uv_handle_t *handle)
{
    struct console *console = handle->data;
    close(console->fd);
    buffer_done(&console->to_guest);
    free(console);
}

void console_free(struct console *console)
{
    if (console) {
        uv_poll_stop(&console->poll);
        uv_close((uv_handle_t *)&console->poll, on_closed);
    }
}

int console_writeable(struct console *console)
{
    if (console->to_client_length > 0) {
        int put = lws_write(console->wsi, console->to_client + LWS_PRE, console->to_client_length,
                            LWS_WRITE_BINARY);
        if (put < (int)console->to_client_length) {
            return -1;
        }
        console->to_client_length = 0;
        watch(console);
    }
    if (console->ended) {
        lws_close_reason(console->wsi, LWS_CLOSE_STATUS_GOINGAWAY,
                         (unsigned char *)"the machine ended", 17);
        return -1;
    }
    return 0;
}

int console_received(struct console *console, const void *bytes, size_t length)
{
    if (console->ended || buffer_append(&console->to_guest, bytes, length) < 0) {
        return -1;
    }
    if (console->to_guest.length >= TO_GUEST_MOST) {
        lws_rx_flow_control(console->wsi, 0);
    }
    watch(console);
    return 0;
}
