/*
 * TLS 1.3 with a pre-shared key: see secure_stream.h.
 *
 * Theory of operation. OpenSSL makes the records, each in a buffer of its own, and hands it to a
 * BIO. Its socket BIO would write every record, 16 KiB, by itself, and TCP would send it as such;
 * ours says MSG_MORE for all but the last, so that segments are as large as without TLS. What is
 * shorter than a record (a frame's header and table, single pages) is gathered in `staged`; longer
 * content goes to OpenSSL from where it is, but for its last record: so flush() always has
 * something that uncorks the connection. OpenSSL reads ahead: one recv(2) a record.
 *
 * With kernel TLS the records are made in the kernel, and the socket BIO is the one that knows it.
 */
#include "base/secure_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#define UPDATE_BYTES ((uint64_t)128 << 30) /* a third of what AES-GCM's limit allows */

struct secure_context {
    SSL_CTX *tls;
    BIO_METHOD *socket_method;
    enum secure_role role;
    bool has_key;
    uint8_t key[SECURE_KEY_SIZE];
    char identity[SECURE_IDENTITY_SIZE];
    uint64_t update_bytes;
};

enum secure_state {
    SECURE_GREETING,    /* the handshake is not complete */
    SECURE_ESTABLISHED, /* bytes may pass */
    SECURE_BROKEN,      /* of no more use */
};

struct secure_stream {
    const struct secure_context *context;
    int fd; /* borrowed */
    SSL *tls;
    enum secure_state state;
    short events;     /* what it last had to wait for */
    bool more;        /* what is being written is not the last */
    bool ended;       /* recv(2) came to the end */
    bool is_writing;  /* a record is half on its way, and must be finished first */
    uint64_t written; /* since the keys were made */
    size_t staged_length;
    uint8_t staged[SECURE_RECORD_BYTES];
};

/* ---- the socket, as OpenSSL sees it ---- */

static int after_io(BIO *bio, ssize_t done, int retry_flag)
{
    BIO_clear_retry_flags(bio);
    if (done < 0 && (errno == EAGAIN || errno == EINTR)) {
        BIO_set_flags(bio, retry_flag | BIO_FLAGS_SHOULD_RETRY);
    }
    return (int)done;
}

static int bio_write(BIO *bio, const char *bytes, int length)
{
    const struct secure_stream *stream = BIO_get_data(bio);
    int flags = MSG_NOSIGNAL | (stream->more ? MSG_MORE : 0);
    return after_io(bio, send(stream->fd, bytes, (size_t)length, flags), BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *bytes, int length)
{
    struct secure_stream *stream = BIO_get_data(bio);
    ssize_t got = recv(stream->fd, bytes, (size_t)length, 0);
    stream->ended = got == 0;
    return after_io(bio, got, BIO_FLAGS_READ);
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    const struct secure_stream *stream = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH: /* nothing is held back here */
        return 1;
    case BIO_CTRL_EOF:
        return stream->ended;
    default:
        return 0;
    }
}

static BIO_METHOD *make_socket_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "socket with MSG_MORE");
    if (method) {
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_ctrl(method, bio_control);
    }
    return method;
}

/* ---- errors ---- */

/* What OpenSSL has against it, in its words. */
static const char *tls_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    return text ? text : "no reason given";
}

static int break_off(struct secure_stream *stream, int code, struct error *err)
{
    if (stream->state == SECURE_GREETING && code == EPROTO) {
        return error_set(err, EACCES, "the other side does not show the key of this connection: %s",
                         tls_reason());
    }
    if (code == EPROTO) {
        return error_set(err, EPROTO, "what arrives is not what the other side sent: %s",
                         tls_reason());
    }
    return error_set_errno(err, code, "the connection to the other side was lost");
}

static bool was_cut(void)
{
    return ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
}

/* After a call of OpenSSL's that did not succeed: -EAGAIN, or why the stream is broken. `errno` is
 * still the call's. A stream that could not be written may be read to its end: the other side's
 * last words. */
static int give_up(struct secure_stream *stream, int result, struct error *err)
{
    int code = errno;
    switch (SSL_get_error(stream->tls, result)) {
    case SSL_ERROR_WANT_READ:
        stream->events = POLLIN;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        stream->events = POLLOUT;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        stream->state = SECURE_BROKEN;
        return error_set(err, ECONNRESET, "the other side closed the connection");
    case SSL_ERROR_SYSCALL:
        code = code ? code : ECONNRESET;
        break;
    default:
        code = was_cut() ? ECONNRESET : EPROTO;
        break;
    }
    result = break_off(stream, code, err);
    stream->state = SECURE_BROKEN;
    return result;
}

static int tls_failure(const char *doing, struct error *err)
{
    return error_set(err, EIO, "cannot %s: %s", doing, tls_reason());
}

/* ---- the key ---- */

/* The key as OpenSSL takes it: as if of an earlier session. */
static SSL_SESSION *make_session(SSL *tls, const struct secure_context *context)
{
    static const uint8_t suite[] = {0x13, 0x01}; /* for its hash, SHA-256, of all that we offer */
    const SSL_CIPHER *cipher = SSL_CIPHER_find(tls, suite);
    SSL_SESSION *session = cipher ? SSL_SESSION_new() : NULL;
    if (session && SSL_SESSION_set1_master_key(session, context->key, SECURE_KEY_SIZE) &&
        SSL_SESSION_set_cipher(session, cipher) &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION)) {
        return session;
    }
    SSL_SESSION_free(session);
    return NULL;
}

static int use_session(SSL *tls, const EVP_MD *digest, const unsigned char **ret_identity,
                       size_t *ret_length, SSL_SESSION **ret_session)
{
    const struct secure_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(tls));
    (void)digest;
    *ret_session = context->has_key ? make_session(tls, context) : NULL;
    *ret_identity = (const unsigned char *)context->identity;
    *ret_length = strlen(context->identity);
    return *ret_session != NULL;
}

/* An identity that is not known is none: without a certificate the handshake then fails. */
static int find_session(SSL *tls, const unsigned char *identity, size_t length,
                        SSL_SESSION **ret_session)
{
    const struct secure_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(tls));
    bool known = context->has_key && length == strlen(context->identity) &&
                 memcmp(identity, context->identity, length) == 0;
    *ret_session = known ? make_session(tls, context) : NULL;
    return !known || *ret_session;
}

/* ---- the context ---- */

static bool processor_has_aes(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_AES) && (getauxval(AT_HWCAP) & HWCAP_PMULL);
#else
    return false;
#endif
}

/* The server decides: AES only when that is what both like best. */
static const char *cipher_suites(void)
{
    return processor_has_aes() ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
                               : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
}

static bool configure(struct secure_context *context)
{
    SSL_CTX *tls = context->tls;
    SSL_CTX_set_app_data(tls, context);
    SSL_CTX_set_options(tls, SSL_OP_NO_TICKET | SSL_OP_ENABLE_KTLS |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_clear_options(tls, SSL_OP_ENABLE_MIDDLEBOX_COMPAT | SSL_OP_ALLOW_NO_DHE_KEX);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(tls, 1);
    if (context->role == SECURE_CLIENT) {
        SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL); /* no certificate of anybody's will do */
        SSL_CTX_set_psk_use_session_callback(tls, use_session);
    } else {
        SSL_CTX_set_psk_find_session_callback(tls, find_session);
    }
    return SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) &&
           SSL_CTX_set_ciphersuites(tls, cipher_suites()) &&
           SSL_CTX_set1_groups_list(tls, "X25519:P-256") && SSL_CTX_set_num_tickets(tls, 0) &&
           SSL_CTX_set_max_early_data(tls, 0) && SSL_CTX_set_recv_max_early_data(tls, 0);
}

/* A mover opens no files: not OpenSSL's configuration either. */
static int start_openssl(struct error *err)
{
    uint64_t options = OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS;
    return OPENSSL_init_ssl(options, NULL) ? 0 : tls_failure("start OpenSSL", err);
}

int secure_context_new(enum secure_role role, const uint8_t key[SECURE_KEY_SIZE],
                       const char *identity, struct secure_context **ret_context, struct error *err)
{
    int result = start_openssl(err);
    if (result < 0) {
        return result;
    }
    if (strlen(identity) >= SECURE_IDENTITY_SIZE) {
        return error_set(err, EINVAL, "a key's name is longer than %d characters",
                         SECURE_IDENTITY_SIZE - 1);
    }
    struct secure_context *context = calloc(1, sizeof(*context));
    if (!context) {
        return error_set_errno(err, ENOMEM, "cannot prepare TLS");
    }
    context->role = role;
    context->update_bytes = UPDATE_BYTES;
    context->has_key = true;
    memcpy(context->key, key, SECURE_KEY_SIZE);
    strcpy(context->identity, identity);
    context->socket_method = make_socket_method();
    context->tls = SSL_CTX_new(role == SECURE_CLIENT ? TLS_client_method() : TLS_server_method());
    if (!context->socket_method || !context->tls || !configure(context)) {
        result = tls_failure("prepare TLS", err);
        secure_context_free(context);
        return result;
    }
    *ret_context = context;
    return 0;
}

void secure_context_forget(struct secure_context *context)
{
    if (context) {
        OPENSSL_cleanse(context->key, sizeof(context->key));
        context->has_key = false;
    }
}

void secure_context_free(struct secure_context *context)
{
    if (context) {
        secure_context_forget(context);
        SSL_CTX_free(context->tls);
        BIO_meth_free(context->socket_method);
        free(context);
    }
}

void secure_context_set_update(struct secure_context *context, uint64_t bytes)
{
    context->update_bytes = bytes;
}

/* ---- a stream's life ---- */

/* Whether this kernel can encrypt for TCP; it does so only once it is given keys. */
static bool kernel_knows_tls(int fd)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) == 0;
}

static bool attach(struct secure_stream *stream)
{
    if (kernel_knows_tls(stream->fd)) {
        return SSL_set_fd(stream->tls, stream->fd);
    }
    BIO *bio = BIO_new(stream->context->socket_method);
    if (!bio) {
        return false;
    }
    BIO_set_data(bio, stream);
    BIO_set_init(bio, 1);
    SSL_set_bio(stream->tls, bio, bio);
    return true;
}

int secure_stream_new(struct secure_context *context, int fd, struct secure_stream **ret_stream,
                      struct error *err)
{
    struct secure_stream *stream = calloc(1, sizeof(*stream));
    if (!stream) {
        return error_set_errno(err, ENOMEM, "cannot encrypt a connection");
    }
    stream->context = context;
    stream->fd = fd;
    stream->events = POLLIN;
    stream->tls = SSL_new(context->tls);
    if (!stream->tls || !attach(stream)) {
        int result = tls_failure("encrypt a connection", err);
        secure_stream_free(stream);
        return result;
    }
    if (context->role == SECURE_CLIENT) {
        SSL_set_connect_state(stream->tls);
    } else {
        SSL_set_accept_state(stream->tls);
    }
    *ret_stream = stream;
    return 0;
}

void secure_stream_free(struct secure_stream *stream)
{
    if (!stream) {
        return;
    }
    ERR_clear_error();
    stream->more = false;
    if (stream->state == SECURE_ESTABLISHED) {
        SSL_shutdown(stream->tls);
    }
    SSL_free(stream->tls);
    ERR_clear_error();
    OPENSSL_cleanse(stream->staged, sizeof(stream->staged));
    free(stream);
}

/* OpenSSL keeps the key as the session's: nobody needs it any more. */
static void forget_key(struct secure_stream *stream)
{
    static const uint8_t nothing[SECURE_KEY_SIZE];
    SSL_SESSION_set1_master_key(SSL_get_session(stream->tls), nothing, sizeof(nothing));
}

int secure_stream_handshake(struct secure_stream *stream, struct error *err)
{
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(stream->tls);
    if (result != 1) {
        return give_up(stream, result, err);
    }
    if (!SSL_session_reused(stream->tls)) { /* then it was not the key that let it in */
        stream->state = SECURE_BROKEN;
        return error_set(err, EACCES, "the other side does not use the key of this connection");
    }
    forget_key(stream);
    stream->state = SECURE_ESTABLISHED;
    return 0;
}

bool secure_stream_is_promising(const struct secure_stream *stream)
{
    return SSL_get_state(stream->tls) != TLS_ST_BEFORE && SSL_session_reused(stream->tls);
}

short secure_stream_events(const struct secure_stream *stream)
{
    return stream->events;
}

/* ---- bytes ---- */

/* Of no more than a record's bytes, all are on their way, or none. */
static ssize_t put(struct secure_stream *stream, const void *bytes, size_t length, bool more,
                   struct error *err)
{
    size_t done = 0;
    ERR_clear_error();
    errno = 0;
    stream->more = more;
    if (!stream->is_writing && stream->written >= stream->context->update_bytes &&
        !secure_stream_in_kernel(stream)) { /* which cannot change them */
        SSL_key_update(stream->tls, SSL_KEY_UPDATE_NOT_REQUESTED);
        stream->written = 0;
    }
    int result = SSL_write_ex(stream->tls, bytes, length, &done);
    if (result != 1) {
        result = give_up(stream, result, err);
        stream->is_writing = result == -EAGAIN;
        return result;
    }
    stream->is_writing = false;
    stream->written += done;
    return (ssize_t)done;
}

static int put_staged(struct secure_stream *stream, bool more, struct error *err)
{
    ssize_t done = put(stream, stream->staged, stream->staged_length, more, err);
    if (done < 0) {
        return (int)done;
    }
    stream->staged_length -= (size_t)done;
    memmove(stream->staged, stream->staged + done, stream->staged_length);
    return 0;
}

ssize_t secure_stream_write(struct secure_stream *stream, const void *bytes, size_t length,
                            struct error *err)
{
    if (stream->staged_length == SECURE_RECORD_BYTES) {
        int result = put_staged(stream, true, err);
        if (result < 0) {
            return result;
        }
    }
    if (stream->staged_length == 0 && length > SECURE_RECORD_BYTES) {
        return put(stream, bytes, length, true, err);
    }
    size_t room = SECURE_RECORD_BYTES - stream->staged_length;
    size_t taken = length < room ? length : room;
    memcpy(stream->staged + stream->staged_length, bytes, taken);
    stream->staged_length += taken;
    return (ssize_t)taken;
}

int secure_stream_flush(struct secure_stream *stream, struct error *err)
{
    int result = 0;
    while (stream->staged_length > 0 && result == 0) {
        result = put_staged(stream, false, err);
    }
    return result;
}

ssize_t secure_stream_send_file(struct secure_stream *stream, int fd, off_t offset, size_t length,
                                struct error *err)
{
    ERR_clear_error();
    errno = 0;
    ossl_ssize_t done = SSL_sendfile(stream->tls, fd, offset, length, 0);
    if (done == 0) {
        return error_set(err, EIO, "the file ended before it was sent");
    }
    return done < 0 ? give_up(stream, (int)done, err) : (ssize_t)done;
}

ssize_t secure_stream_read(struct secure_stream *stream, void *bytes, size_t length,
                           struct error *err)
{
    size_t done = 0;
    ERR_clear_error();
    errno = 0;
    int result = SSL_read_ex(stream->tls, bytes, length, &done);
    return result == 1 ? (ssize_t)done : give_up(stream, result, err);
}

/* Whole records only: bytes of a part of one that have come do not count. */
int secure_stream_is_readable(struct secure_stream *stream, struct error *err)
{
    uint8_t byte;
    size_t done = 0;
    ERR_clear_error();
    errno = 0;
    int result = SSL_peek_ex(stream->tls, &byte, 1, &done);
    if (result == 1) {
        return 1;
    }
    result = give_up(stream, result, err);
    return result == -EAGAIN ? 0 : result;
}

bool secure_stream_in_kernel(const struct secure_stream *stream)
{
    return BIO_get_ktls_send(SSL_get_wbio(stream->tls));
}

const char *secure_stream_cipher(const struct secure_stream *stream)
{
    return SSL_get_cipher_name(stream->tls);
}
