/*
 * drover vm console: the guest's serial console over the agent's WebSocket.
 *
 * On a terminal every key goes to the guest, Ctrl-C too, but for Ctrl-], which leaves. Signals are
 * read from a descriptor and SIGPIPE is held back, so that every way out of here passes the place
 * that gives the terminal its old mode again. From a pipe, bytes are passed on as they are; when it
 * ends, the console is shown until it has been quiet for a second.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/websocket.h"

#define KEY_LEAVE 0x1d /* Ctrl-] */
#define QUIET_MS 1000
#define HANDSHAKE_MS 10000
#define CHUNK_SIZE 65536

struct console {
    CURL *connection;
    int socket;
    int signals;
    bool raw;         /* standard input is a terminal in raw mode */
    bool input_ended; /* standard input has no more */
    bool left;        /* the user asked to leave */
    bool closed;      /* the agent did */
    struct termios terminal_before;
    sigset_t signals_before;
    struct buffer input;  /* frames from the agent, not yet whole */
    struct buffer output; /* frames to the agent, not yet sent */
};

static int hold_signals(struct console *console, struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    console->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (console->signals < 0) {
        return error_set_errno(err, errno, "cannot watch for signals");
    }
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &set, &console->signals_before);
    return 0;
}

static int enter_raw_mode(struct console *console, struct error *err)
{
    if (!isatty(STDIN_FILENO)) {
        return 0;
    }
    if (tcgetattr(STDIN_FILENO, &console->terminal_before) < 0) {
        return error_set_errno(err, errno, "cannot read the terminal's mode");
    }
    struct termios raw = console->terminal_before;
    cfmakeraw(&raw);
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) < 0) {
        return error_set_errno(err, errno, "cannot set the terminal's mode");
    }
    console->raw = true;
    return 0;
}

/* The terminal first: a signal that was held back ends the process right after. */
static void console_done(struct console *console)
{
    if (console->raw) {
        tcsetattr(STDIN_FILENO, TCSADRAIN, &console->terminal_before);
    }
    if (console->signals >= 0) {
        close_fd(&console->signals);
        sigprocmask(SIG_SETMASK, &console->signals_before, NULL);
    }
    curl_easy_cleanup(console->connection);
    buffer_done(&console->input);
    buffer_done(&console->output);
}

static int lost(struct error *err)
{
    error_set(err, ECONNRESET, "the agent ended the console's connection");
    return error_remedy(err, "drover vm show tells where the VM is; then open its console again");
}

static int send_pending(struct console *console, struct error *err)
{
    while (console->output.length > 0) {
        size_t sent = 0;
        CURLcode code = curl_easy_send(console->connection, console->output.data,
                                       console->output.length, &sent);
        if (code == CURLE_AGAIN) {
            return 0;
        }
        if (code != CURLE_OK) {
            return lost(err);
        }
        console->output.length -= sent;
        memmove(console->output.data, console->output.data + sent, console->output.length);
    }
    return 0;
}

/* 1: bytes came; 0: none for now. */
static int receive(struct console *console, struct error *err)
{
    size_t received = 0;
    uint8_t *space = buffer_reserve(&console->input, CHUNK_SIZE);
    if (!space) {
        return error_set_errno(err, ENOMEM, "cannot read the console");
    }
    CURLcode code = curl_easy_recv(console->connection, space, CHUNK_SIZE, &received);
    if (code == CURLE_AGAIN) {
        return 0;
    }
    if (code != CURLE_OK || received == 0) {
        return lost(err);
    }
    console->input.length += received;
    return 1;
}

/* The body of a refusal may come in a packet of its own, and be no JSON at all. */
static int refused(struct console *console, const struct api *api, int status, struct error *err)
{
    struct error ignored = ERROR_NONE;
    struct pollfd readable = {.fd = console->socket, .events = POLLIN};
    CLEANUP_JSON json_t *answer = NULL;
    do {
        answer = json_parse((const char *)console->input.data, console->input.length, "the refusal",
                            &ignored);
    } while (!answer && console->input.length < CHUNK_SIZE && poll(&readable, 1, QUIET_MS) > 0 &&
             receive(console, &ignored) >= 0);
    return api_explain_refusal(api, status, answer, err);
}

static int wait_for_agent(struct console *console, struct error *err)
{
    struct pollfd fds[2] = {{.fd = console->socket, .events = POLLIN},
                            {.fd = console->signals, .events = POLLIN}};
    int ready = poll(fds, 2, HANDSHAKE_MS);
    if (ready == 0) {
        return error_set(err, ETIMEDOUT, "the agent does not answer in time");
    }
    return ready < 0 || fds[1].revents ? error_set(err, EINTR, "ended by a signal") : 0;
}

static int shake_hands(struct console *console, struct cli *cli, const char *path,
                       struct error *err)
{
    char key[WEBSOCKET_KEY_SIZE];
    int status = 0;
    int result = 0;
    websocket_make_key(key);
    if (websocket_request(api_host(cli->api), path, api_token(cli->api), key, &console->output) <
        0) {
        return error_set_errno(err, ENOMEM, "cannot open the console");
    }
    while (result == 0) {
        if (send_pending(console, err) < 0 || wait_for_agent(console, err) < 0 ||
            receive(console, err) < 0) {
            return -err->code;
        }
        result = websocket_accept(&console->input, key, &status, err);
    }
    return result == -EBADMSG ? refused(console, cli->api, status, err) : result;
}

static int write_output(const struct buffer *payload, struct error *err)
{
    size_t written = 0;
    while (written < payload->length) {
        ssize_t count = write(STDOUT_FILENO, payload->data + written, payload->length - written);
        if (count < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "cannot write to standard output");
        }
        written += count > 0 ? (size_t)count : 0;
    }
    return 0;
}

static int show_frames(struct console *console, struct error *err)
{
    CLEANUP_BUFFER struct buffer payload = {0};
    int result =
        websocket_receive(&console->input, &payload, &console->output, &console->closed, err);
    return result < 0 ? result : write_output(&payload, err);
}

static int read_keys(struct console *console, struct error *err)
{
    uint8_t keys[4096];
    ssize_t count = read(STDIN_FILENO, keys, sizeof(keys));
    if (count <= 0) {
        console->input_ended = true;
        return 0;
    }
    const uint8_t *leave = console->raw ? memchr(keys, KEY_LEAVE, (size_t)count) : NULL;
    size_t length = leave ? (size_t)(leave - keys) : (size_t)count;
    console->left = leave != NULL;
    if (length > 0 && websocket_send(&console->output, keys, length) < 0) {
        return error_set_errno(err, ENOMEM, "cannot send keys");
    }
    return 0;
}

enum { POLL_AGENT, POLL_SIGNALS, POLL_KEYS, POLL_COUNT };

/* Waits for something to do. 1: there is; 0: it is quiet, and no more keys will come. */
static int wait_for_any(const struct console *console, struct pollfd *fds, struct error *err)
{
    bool more_to_send = console->output.length > 0;
    bool takes_keys = !console->input_ended && console->output.length < CHUNK_SIZE;
    fds[POLL_AGENT] = (struct pollfd){console->socket, POLLIN | (more_to_send ? POLLOUT : 0), 0};
    fds[POLL_SIGNALS] = (struct pollfd){console->signals, POLLIN, 0};
    fds[POLL_KEYS] = (struct pollfd){takes_keys ? STDIN_FILENO : -1, POLLIN, 0};
    int ready = poll(fds, POLL_COUNT, console->input_ended ? QUIET_MS : -1);
    if (ready < 0 && errno != EINTR) {
        return error_set_errno(err, errno, "cannot wait for the console");
    }
    if (fds[POLL_SIGNALS].revents) {
        return error_set(err, EINTR, "ended by a signal");
    }
    return ready != 0;
}

static int relay_once(struct console *console, struct error *err)
{
    struct pollfd fds[POLL_COUNT];
    int result = wait_for_any(console, fds, err);
    if (result <= 0) {
        console->left = result == 0;
        return result;
    }
    if (fds[POLL_KEYS].revents) {
        result = read_keys(console, err);
    }
    while (result >= 0 && fds[POLL_AGENT].revents && !console->closed &&
           (result = receive(console, err)) > 0) {
        result = show_frames(console, err) < 0 ? -err->code : 1;
    }
    return result < 0 ? result : send_pending(console, err);
}

static int relay(struct console *console, struct error *err)
{
    int result = show_frames(console, err);
    while (result >= 0 && !console->left && !console->closed) {
        result = relay_once(console, err);
    }
    if (result >= 0 && console->left) {
        websocket_send_close(&console->output);
        result = send_pending(console, err);
    }
    return result;
}

/* What is only seen once the terminal has its old mode again. */
static void say_goodbye(const struct cli *cli, const struct console *console, const char *name)
{
    if (console->raw) {
        fprintf(cli->notes.stream, "\r\n%s the console of %s\r\n",
                console->left ? "left" : "the agent closed", name);
    }
}

static int open_console(struct console *console, struct cli *cli, const char *name,
                        struct error *err)
{
    CLEANUP_FREE char *path = file_path("/v1/vms/%s/console", name);
    if (!path) {
        return error_set_errno(err, ENOMEM, "cannot open the console");
    }
    int result = api_open(cli->api, &console->connection, err);
    if (result < 0) {
        return result;
    }
    curl_socket_t descriptor = -1;
    curl_easy_getinfo(console->connection, CURLINFO_ACTIVESOCKET, &descriptor);
    console->socket = descriptor;
    result = hold_signals(console, err);
    return result < 0 ? result : shake_hands(console, cli, path, err);
}

int vm_console_command(struct cli *cli, struct error *err)
{
    CLEANUP(console_done) struct console console = {.signals = -1};
    const char *name;
    if (cli->json) {
        return error_set(err, EINVAL, "drover vm console has nothing to print as JSON");
    }
    if (command_name(cli, 0, "VM", &name, err) < 0 || open_console(&console, cli, name, err) < 0) {
        return -err->code;
    }
    if (isatty(STDIN_FILENO)) {
        fprintf(cli->notes.stream, "console of %s; Ctrl-] leaves\n", name);
    }
    int result = enter_raw_mode(&console, err);
    if (result == 0) {
        result = relay(&console, err);
        say_goodbye(cli, &console, name);
    }
    return result < 0 ? result : 0;
}
