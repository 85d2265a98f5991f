/* Records of one sector: what was written is read, and no damage passes for it. */
#include "test.h"

#include "storage/disk_record.h"

static struct disk_heartbeat sample(void)
{
    return (struct disk_heartbeat){
        .datastore = "00112233-4455-6677-8899-aabbccddeeff",
        .host = "h1",
        .host_id = "0123456789abcdef0123456789abcdef",
        .boot_id = "11111111-2222-3333-4444-555555555555",
        .beater = "66666666-7777-8888-9999-000000000000",
        .counter = 0x0102030405060708,
        .written_at = 42,
    };
}

static void what_was_written_is_read(void **state)
{
    struct error err = ERROR_NONE;
    struct disk_heartbeat wanted = sample();
    struct disk_heartbeat got;
    uint8_t bytes[DISK_RECORD_SIZE];
    (void)state;
    disk_heartbeat_encode(&wanted, bytes);
    assert_int_equal(disk_heartbeat_decode(bytes, &got, &err), 0);
    assert_string_equal(got.datastore, wanted.datastore);
    assert_string_equal(got.host, wanted.host);
    assert_string_equal(got.host_id, wanted.host_id);
    assert_string_equal(got.boot_id, wanted.boot_id);
    assert_string_equal(got.beater, wanted.beater);
    assert_int_equal(got.counter, wanted.counter);
    assert_int_equal(got.written_at, wanted.written_at);
}

static void the_layout_stays(void **state)
{
    struct disk_heartbeat record = sample();
    uint8_t bytes[DISK_RECORD_SIZE];
    (void)state;
    disk_heartbeat_encode(&record, bytes);
    assert_memory_equal(bytes,
                        "DVRBEAT\0\1\0\0\0\0\0\0\0"
                        "00112233",
                        24);
    assert_memory_equal(bytes + 16 + 36, "h1\0", 3);
    assert_memory_equal(bytes + 16 + 36 + 64 + 64 + 36 + 36, "\10\7\6\5\4\3\2\1\52", 9);
    assert_memory_equal(bytes + 508, "\x25\x46\x7b\xb8", 4);
}

static void no_flipped_bit_passes(void **state)
{
    struct disk_heartbeat record = sample();
    uint8_t bytes[DISK_RECORD_SIZE];
    (void)state;
    disk_heartbeat_encode(&record, bytes);
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(disk_heartbeat_decode(bytes, &record, NULL), -EBADMSG);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void no_torn_record_passes(void **state)
{
    struct disk_heartbeat old = sample();
    struct disk_heartbeat new = sample();
    uint8_t before[DISK_RECORD_SIZE];
    uint8_t after[DISK_RECORD_SIZE];
    uint8_t torn[DISK_RECORD_SIZE];
    (void)state;
    new.counter += 256;
    disk_heartbeat_encode(&old, before);
    disk_heartbeat_encode(&new, after);
    for (size_t at = 0; at <= sizeof(torn); at++) {
        memcpy(torn, after, at);
        memcpy(torn + at, before + at, sizeof(torn) - at);
        bool whole =
            memcmp(torn, before, sizeof(torn)) == 0 || memcmp(torn, after, sizeof(torn)) == 0;
        assert_int_equal(disk_heartbeat_decode(torn, &old, NULL), whole ? 0 : -EBADMSG);
    }
    memset(torn, 0, sizeof(torn));
    assert_int_equal(disk_heartbeat_decode(torn, &old, NULL), -EBADMSG);
}

static void bad_values_are_refused(void **state)
{
    struct disk_heartbeat record = sample();
    struct error err = ERROR_NONE;
    uint8_t bytes[DISK_RECORD_SIZE];
    (void)state;
    strcpy(record.host, "../h1");
    disk_heartbeat_encode(&record, bytes);
    assert_int_equal(disk_heartbeat_decode(bytes, &record, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "host"));
    record = sample();
    record.boot_id[3] = 'x';
    disk_heartbeat_encode(&record, bytes);
    assert_int_equal(disk_heartbeat_decode(bytes, &record, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "boot_id"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read), cmocka_unit_test(the_layout_stays),
        cmocka_unit_test(no_flipped_bit_passes),    cmocka_unit_test(no_torn_record_passes),
        cmocka_unit_test(bad_values_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
