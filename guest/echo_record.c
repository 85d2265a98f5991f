/* See echo_record.h. */
#include "echo_record.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum { WORDS = ECHO_RECORD_BYTES / sizeof(uint64_t) };

static const uint64_t record_magic = 0x64726f7665720001; /* "drover", version 1 */

static uint64_t pattern(uint64_t sequence, size_t word)
{
    return (sequence + word) * 0x9e3779b97f4a7c15;
}

void echo_record_encode(const struct echo_record *record, unsigned char *bytes)
{
    uint64_t words[WORDS] = {
        record_magic,     record->client_sequence, record->client_ns, record->server_sequence,
        record->guest_ns,
    };

    for (size_t i = 5; i < WORDS; i++)
        words[i] = pattern(record->client_sequence, i);
    for (size_t i = 0; i < WORDS; i++)
        words[i] = htobe64(words[i]);
    memcpy(bytes, words, sizeof(words));
}

int echo_record_decode(const unsigned char *bytes, struct echo_record *ret_record)
{
    uint64_t words[WORDS];

    memcpy(words, bytes, sizeof(words));
    for (size_t i = 0; i < WORDS; i++)
        words[i] = be64toh(words[i]);
    if (words[0] != record_magic)
        return -EBADMSG;
    for (size_t i = 5; i < WORDS; i++) {
        if (words[i] != pattern(words[1], i))
            return -EBADMSG;
    }
    *ret_record = (struct echo_record){words[1], words[2], words[3], words[4]};
    return 0;
}
