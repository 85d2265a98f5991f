/* The receiving side of a variant: see copy_variant.h. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "copy_variant.h"

#define PAGE_BYTES 4096

/* What all threads of the destination share. */
struct destination {
    const struct copy_variant *variant;
    int file;
    uint8_t *memory; /* the file, mapped */
    uint64_t bytes;
    pthread_mutex_t lock;
    pthread_cond_t moved_on;
    uint64_t received;  /* bytes, under the lock */
    uint64_t populated; /* bytes from the front that a helper has taken on, under the lock */
};

struct lane {
    struct destination *destination;
    uint64_t index;
    int connection;
    int pipe[2];
    uint8_t *buffer;
    int result; /* of the lane, 0 or a negative errno */
};

static int write_all(int file, const uint8_t *bytes, size_t length, uint64_t offset)
{
    while (length > 0) {
        ssize_t done = pwrite(file, bytes, length, (off_t)offset);
        if (done < 0) {
            return -errno;
        }
        bytes += done;
        length -= (size_t)done;
        offset += (uint64_t)done;
    }
    return 0;
}

/* What is there, or after a wait for a good deal of it. No more is waited for than is certain to
 * come, or the wait would not end. */
static ssize_t receive_plenty(const struct lane *lane, uint8_t *start, size_t length)
{
    int lowat = (int)lane->destination->variant->lowat;
    ssize_t done;
    while ((done = recv(lane->connection, start, length, MSG_DONTWAIT)) < 0 && errno == EAGAIN) {
        struct pollfd poller = {.fd = lane->connection, .events = POLLIN};
        int wanted = length < (size_t)lowat ? (int)length : lowat;
        setsockopt(lane->connection, SOL_SOCKET, SO_RCVLOWAT, &wanted, sizeof(wanted));
        poll(&poller, 1, -1);
    }
    return done;
}

static ssize_t receive_and_write(const struct lane *lane, uint64_t offset, size_t length)
{
    const struct copy_variant *variant = lane->destination->variant;
    size_t wanted = length < variant->buffer ? length : (size_t)variant->buffer;
    ssize_t got = variant->lowat > 0 ? receive_plenty(lane, lane->buffer, wanted)
                                     : recv(lane->connection, lane->buffer, wanted, MSG_WAITALL);
    if (got <= 0 || variant->receiver == COPY_DISCARD) {
        return got;
    }
    int result = write_all(lane->destination->file, lane->buffer, (size_t)got, offset);
    errno = -result;
    return result < 0 ? -1 : got;
}

static ssize_t receive_spliced(const struct lane *lane, uint64_t offset, size_t length)
{
    loff_t position = (loff_t)offset;
    ssize_t filled = splice(lane->connection, NULL, lane->pipe[1], NULL, length, SPLICE_F_MOVE);
    for (ssize_t written = 0; written < filled;) {
        ssize_t done = splice(lane->pipe[0], NULL, lane->destination->file, &position,
                              (size_t)(filled - written), SPLICE_F_MOVE);
        if (done <= 0) {
            return -1;
        }
        written += done;
    }
    return filled;
}

static ssize_t receive_mapped(const struct lane *lane, uint64_t offset, size_t length)
{
    const struct copy_variant *variant = lane->destination->variant;
    uint8_t *start = lane->destination->memory + offset;
    if (variant->lowat > 0) {
        return receive_plenty(lane, start, length);
    }
    return recv(lane->connection, start, length, variant->waitall ? MSG_WAITALL : 0);
}

static ssize_t receive_piece(const struct lane *lane, uint64_t offset, size_t length)
{
    const struct copy_variant *variant = lane->destination->variant;
    switch (variant->receiver) {
    case COPY_DISCARD:
    case COPY_PWRITE:
        return receive_and_write(lane, offset, length);
    case COPY_MAPPING:
        return receive_mapped(lane, offset, length);
    case COPY_SPLICE_WRITE:
        return receive_spliced(lane, offset, length);
    }
    errno = EINVAL;
    return -1;
}

static int receive_stripe(const struct lane *lane, uint64_t offset, uint64_t length)
{
    while (length > 0) {
        ssize_t done = receive_piece(lane, offset, (size_t)length);
        if (done <= 0) {
            return done < 0 ? -errno : -ECONNRESET;
        }
        offset += (uint64_t)done;
        length -= (uint64_t)done;
    }
    return 0;
}

static void note_received(struct destination *destination, uint64_t bytes)
{
    pthread_mutex_lock(&destination->lock);
    destination->received += bytes;
    pthread_cond_broadcast(&destination->moved_on);
    pthread_mutex_unlock(&destination->lock);
}

static void *receive_lane(void *argument)
{
    struct lane *lane = argument;
    struct destination *destination = lane->destination;
    const struct copy_variant *variant = destination->variant;
    uint64_t position = lane->index * variant->stripe, offset, length;
    while (lane->result == 0 && (length = copy_variant_next_stripe(variant, destination->bytes,
                                                                   &position, &offset)) > 0) {
        lane->result = receive_stripe(lane, offset, length);
        if (variant->ahead > 0) {
            note_received(destination, length);
        }
    }
    return NULL;
}

/* Takes on the next step, once it is near enough to the data; its length, 0 at the end. */
static uint64_t take_step(struct destination *destination, uint64_t *ret_offset)
{
    const struct copy_variant *variant = destination->variant;
    pthread_mutex_lock(&destination->lock);
    while (destination->populated < destination->bytes &&
           destination->populated >= destination->received + variant->ahead) {
        pthread_cond_wait(&destination->moved_on, &destination->lock);
    }
    uint64_t left = destination->bytes - destination->populated;
    uint64_t length = left < variant->step ? left : variant->step;
    *ret_offset = destination->populated;
    destination->populated += length;
    pthread_mutex_unlock(&destination->lock);
    return length;
}

static void *populate(void *argument)
{
    struct destination *destination = argument;
    uint64_t offset, length;
    while ((length = take_step(destination, &offset)) > 0) {
        uint8_t *start = destination->memory + offset;
        switch (destination->variant->populate) {
        case COPY_MADVISE:
            madvise(start, length, MADV_POPULATE_WRITE);
            break;
        case COPY_FALLOCATE:
            fallocate(destination->file, 0, (off_t)offset, (off_t)length);
            break;
        case COPY_TOUCH: /* the first byte brings a huge page into being, and changes nothing */
            atomic_fetch_or((atomic_uchar *)start, 0);
            break;
        }
    }
    return NULL;
}

static int prepare(struct lane *lane)
{
    const struct copy_variant *variant = lane->destination->variant;
    int buffer = (int)variant->rcvbuf;
    if (buffer > 0) {
        setsockopt(lane->connection, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
    }
    lane->buffer = aligned_alloc(PAGE_BYTES, variant->buffer);
    if (!lane->buffer) {
        return -ENOMEM;
    }
    if (variant->receiver != COPY_SPLICE_WRITE) {
        return 0;
    }
    return pipe2(lane->pipe, O_CLOEXEC) < 0 ||
                   fcntl(lane->pipe[1], F_SETPIPE_SZ, (int)variant->buffer) < 0
               ? -errno
               : 0;
}

static void finish(struct lane *lane)
{
    close_fd(&lane->pipe[0]);
    close_fd(&lane->pipe[1]);
    free(lane->buffer);
}

static void start_thread(pthread_t *ret_thread, void *(*run)(void *), void *argument)
{
    if (pthread_create(ret_thread, NULL, run, argument) != 0) {
        abort();
    }
}

static int receive_all(struct destination *destination, const int *connections)
{
    const struct copy_variant *variant = destination->variant;
    struct lane lanes[COPY_CONNECTIONS_MOST];
    pthread_t threads[COPY_CONNECTIONS_MOST], helpers[COPY_CONNECTIONS_MOST];
    uint64_t helper_count = variant->ahead > 0 ? variant->helpers : 0;
    int result = 0;
    for (uint64_t i = 0; i < helper_count; i++) {
        start_thread(&helpers[i], populate, destination);
    }
    for (uint64_t i = 0; i < variant->connections; i++) {
        lanes[i] = (struct lane){
            .destination = destination, .index = i, .connection = connections[i], .pipe = {-1, -1}};
        lanes[i].result = prepare(&lanes[i]);
        start_thread(&threads[i], receive_lane, &lanes[i]);
    }
    for (uint64_t i = 0; i < variant->connections; i++) {
        pthread_join(threads[i], NULL);
        finish(&lanes[i]);
        result = lanes[i].result < 0 ? lanes[i].result : result;
    }
    note_received(destination, destination->bytes); /* nothing keeps a helper any more */
    for (uint64_t i = 0; i < helper_count; i++) {
        pthread_join(helpers[i], NULL);
    }
    return result;
}

int copy_receive(const struct copy_variant *variant, int file, uint64_t bytes,
                 const int *connections, struct error *err)
{
    struct destination destination = {.variant = variant,
                                      .file = file,
                                      .bytes = bytes,
                                      .lock = PTHREAD_MUTEX_INITIALIZER,
                                      .moved_on = PTHREAD_COND_INITIALIZER};
    destination.memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (destination.memory == MAP_FAILED) {
        return error_set_errno(err, errno, "cannot map the destination");
    }
    int result = receive_all(&destination, connections);
    munmap(destination.memory, bytes);
    return result < 0 ? error_set_errno(err, result, "cannot receive") : 0;
}
