/*
 * libFuzzer's entry: what a datastore holds beside VMs: its marker with the lease's settings, lease
 * files, heartbeats, single sectors. Another host, broken or hostile, wrote them. The first byte
 * chooses which; a sector's checksum is put right, or nothing would be seen but that it is wrong.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "harness.h"
#include "storage/disk_record.h"
#include "storage/heartbeat.h"
#include "storage/lease.h"

#define VM "vm"
#define HOST "h2"

/* Bitwise: independent of the product's. */
static uint32_t crc32c(const uint8_t *bytes, size_t length)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

static void fill_sector(uint8_t sector[DISK_RECORD_SIZE], const uint8_t *bytes, size_t length)
{
    size_t body = DISK_RECORD_SIZE - 4;
    memset(sector, 0, DISK_RECORD_SIZE);
    memcpy(sector, bytes, length < body ? length : body);
    uint32_t crc = crc32c(sector, body);
    for (size_t i = 0; i < 4; i++) {
        sector[body + i] = (uint8_t)(crc >> 8 * i);
    }
}

static void try_sectors(const uint8_t *bytes, size_t length)
{
    uint8_t sector[DISK_RECORD_SIZE];
    uint8_t again[DISK_RECORD_SIZE];
    struct error err = ERROR_NONE;
    struct disk_heartbeat heartbeat;
    struct disk_epoch epoch;
    fill_sector(sector, bytes, length);
    int result = disk_heartbeat_decode(sector, &heartbeat, &err);
    harness_check_refusal(result, &err);
    if (result == 0) {
        disk_heartbeat_encode(&heartbeat, again);
        if (disk_heartbeat_decode(again, &heartbeat, &err) < 0) {
            abort();
        }
    }
    err = ERROR_NONE;
    result = disk_epoch_decode(sector, &epoch, &err);
    harness_check_refusal(result, &err);
    if (result == 0) {
        disk_epoch_encode(&epoch, again);
        if (disk_epoch_decode(again, &epoch, &err) < 0) {
            abort();
        }
    }
}

static void make_folder(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", harness_folder(), name);
    file_make_folders(path, 0755, NULL);
}

/* A datastore whose hosts are seen by their beats. */
static const struct datastore *open_datastore(void)
{
    static const char marker[] =
        "{\"drover_datastore\": 1, \"uuid\": \"00000000-0000-4000-8000-000000000001\","
        " \"lease\": {\"kind\": \"file\"}}";
    static struct datastore datastore;
    char path[256];
    struct error err = ERROR_NONE;
    if (!datastore.path[0]) {
        make_folder("store/" VM);
        make_folder("store/.drover/hosts");
        harness_write("store/drover-datastore.json", (const uint8_t *)marker, strlen(marker));
        snprintf(path, sizeof(path), "%s/store", harness_folder());
        if (datastore_open("store", path, &datastore, &err) < 0) {
            fprintf(stderr, "%s\n", err.message);
            abort();
        }
    }
    return &datastore;
}

static void try_lease(const uint8_t *bytes, size_t length)
{
    const struct datastore *datastore = open_datastore();
    struct error err = ERROR_NONE;
    struct lease lease;
    harness_write("store/" VM "/owner.7", bytes, length);
    int result = lease_read(datastore, VM, &lease, &err);
    harness_check_refusal(result, &err);
    if (result == 0 && lease.epoch != 7) {
        abort();
    }
}

static void try_beat(const uint8_t *bytes, size_t length)
{
    struct observer *observer;
    struct host_sighting sighting;
    struct error err = ERROR_NONE;
    const struct datastore *datastore = open_datastore();
    uint8_t sector[DISK_RECORD_SIZE];
    fill_sector(sector, bytes, length);
    harness_write("store/.drover/hosts/" HOST, sector, length % 7 ? sizeof(sector) : length % 512);
    if (observer_open(datastore, NULL, &observer, &err) < 0) {
        abort();
    }
    int result = observer_look(observer, HOST, &sighting, &err);
    harness_check_refusal(result, &err);
    observer_close(observer);
}

static void try_marker(const uint8_t *bytes, size_t length)
{
    struct datastore datastore;
    struct error err = ERROR_NONE;
    char path[256];
    make_folder("other");
    harness_write("other/drover-datastore.json", bytes, length);
    snprintf(path, sizeof(path), "%s/other", harness_folder());
    harness_check_refusal(datastore_open("other", path, &datastore, &err), &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static void (*const functions[])(const uint8_t *bytes, size_t length) = {try_sectors, try_lease,
                                                                             try_beat, try_marker};
    if (length > 0) {
        functions[bytes[0] % 4](bytes + 1, length - 1);
    }
    return 0;
}
