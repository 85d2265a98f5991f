/*
 * The choice of a packing method against simulated links and data: a lane whose sends fill a
 * socket's buffer, which the link drains. Time is made up, so every figure here is exact.
 */
#include "test.h"

#include "engine/pack_choice.h"

#define NS 1e9
#define MIB (1024.0 * 1024)
#define GBIT (1e9 / 8)
#define CHUNK ((double)PACK_CHUNK_BYTES)
#define COPY_SPEED 6e9 /* into the socket's buffer */

struct method_model {
    double ratio;
    double speed; /* bytes of content a second */
};

/* What the three methods make of a kind of data; measured by bench/pack_speed. */
struct data_model {
    struct method_model methods[PACK_METHODS];
    bool has_base;
};

static const struct data_model text = {{[PACK_LZ4] = {0.58, 490e6}, [PACK_ZSTD] = {0.35, 310e6}},
                                       false};
static const struct data_model noise = {{[PACK_LZ4] = {1, 6e9}, [PACK_ZSTD] = {1, 4e9}}, false};
static const struct data_model rewritten = {
    {[PACK_LZ4] = {1, 6e9}, [PACK_ZSTD] = {1, 4e9}, [PACK_DELTA] = {0.02, 2.5e9}}, true};

struct world {
    struct pack_choice choice;
    double now_ns;
    double link;      /* bytes a second */
    double unpacking; /* bytes of packed content a second that the destination takes; 0: any */
    double draining;  /* bytes a second that leave the socket now */
    double buffered;  /* in the socket */
    double room;      /* of the socket */
    double content;   /* sums */
    double sent;
    double probing_ns;
    double packed[PACK_METHODS]; /* content by method */
};

static void world_init(struct world *world, double link)
{
    *world = (struct world){.link = link, .room = 4 * MIB};
    pack_choice_init(&world->choice);
}

static void pass(struct world *world, double time_ns)
{
    world->now_ns += time_ns;
    world->buffered -= time_ns / NS * world->draining;
    if (world->buffered < 0) {
        world->buffered = 0;
    }
}

/* Sends: copies into the buffer, waits for room. */
static void transmit(struct world *world, double bytes, double rate)
{
    world->draining = rate;
    pass(world, bytes / COPY_SPEED * NS);
    world->buffered += bytes;
    if (world->buffered > world->room) {
        pass(world, (world->buffered - world->room) / rate * NS);
    }
}

static enum pack_method probe(struct world *world, const struct data_model *data,
                              enum pack_method method)
{
    const struct method_model *model = &data->methods[method];
    double content = CHUNK / PACK_PROBE_INTERVAL, cost = content / model->speed * NS;
    pass(world, cost);
    world->probing_ns += cost;
    struct pack_probe outcome = {(size_t)content, (size_t)(content * model->ratio)};
    return pack_choice_probed(&world->choice, method, outcome, (uint64_t)cost,
                              (uint64_t)world->now_ns);
}

static void send_chunk(struct world *world, const struct data_model *data)
{
    double began = world->now_ns, bytes = CHUNK, cost = 0, rate = world->link;
    struct pack_order order =
        pack_choice_next(&world->choice, data->has_base, (uint64_t)world->now_ns);
    enum pack_method method = order.probe ? probe(world, data, order.method) : order.method;
    if (method != PACK_NONE) {
        cost = CHUNK / data->methods[method].speed * NS;
        bytes = CHUNK * data->methods[method].ratio;
        pass(world, cost);
        double taken = world->unpacking * data->methods[method].ratio;
        rate = taken > 0 && taken < rate ? taken : rate;
    }
    transmit(world, bytes, rate);
    world->content += CHUNK;
    world->sent += bytes;
    world->packed[method] += CHUNK;
    struct pack_outcome outcome = {.method = method,
                                   .content = (uint64_t)CHUNK,
                                   .sent = (uint64_t)bytes,
                                   .queued = (uint64_t)world->buffered,
                                   .pack_ns = (uint64_t)cost,
                                   .work_ns = (uint64_t)cost,
                                   .elapsed_ns = (uint64_t)(world->now_ns - began)};
    pack_choice_sent(&world->choice, &outcome, (uint64_t)world->now_ns);
}

static void send_much(struct world *world, const struct data_model *data, double mib)
{
    for (double end = world->content + mib * MIB; world->content < end;) {
        send_chunk(world, data);
    }
}

/* How many times as long as plain sending of it all would have taken. */
static double slowness(const struct world *world)
{
    double time_ns = world->now_ns + world->buffered / world->link * NS;
    double plain = 1 / world->link > 1 / COPY_SPEED ? 1 / world->link : 1 / COPY_SPEED;
    return time_ns / (world->content * plain * NS);
}

static double compressed(const struct world *world)
{
    return world->packed[PACK_LZ4] + world->packed[PACK_ZSTD];
}

static void test_text_on_a_slow_link(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, GBIT);
    send_much(&world, &text, 1536);
    assert_true(compressed(&world) > 0.95 * world.content);
    assert_true(world.packed[PACK_ZSTD] > 0.7 * world.content);
    assert_true(slowness(&world) < 0.40); /* zstd alone would come to 0.403 at best, lz4 to 0.58 */
    assert_true(world.sent < 0.4 * world.content);
}

/* A move that is soon over gains as well: the link is known by what has left the socket. */
static void test_a_little_text(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, GBIT);
    send_much(&world, &text, 96);
    assert_true(world.packed[PACK_NONE] < 12 * MIB);
}

/* Others come to share the link, as further lanes do: now the method pays that did not before. */
static void test_a_link_that_is_shared(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) { /* whenever it was tried last */
        struct world world;
        world_init(&world, 2 * GBIT); /* lz4 carries 431 MB/s, zstd 310 */
        send_much(&world, &text, 2048 + 100 * i);
        assert_int_equal(world.choice.method, PACK_LZ4);
        world.link = GBIT / 2; /* 108, 178 */
        double before = world.packed[PACK_ZSTD];
        send_much(&world, &text, 64);
        assert_true(world.packed[PACK_ZSTD] - before > 40 * MIB);
    }
}

static void test_text_on_a_middling_link(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 2.6 * GBIT); /* lz4 carries 490 MB/s; zstd 310, plain 325 */
    send_much(&world, &text, 4096);
    assert_true(world.packed[PACK_LZ4] > 0.8 * world.content);
    assert_true(slowness(&world) < 0.8);
}

static void test_text_on_a_fast_link(void **state)
{
    (void)state;
    const double links[] = {4 * GBIT, 10 * GBIT, 40 * GBIT, 10e9};
    for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        struct world world;
        world_init(&world, links[i]);
        send_much(&world, &text, 16384);
        assert_true(world.packed[PACK_NONE] > 0.99 * world.content);
        assert_true(slowness(&world) < 1.01);
    }
}

static void test_noise_costs_nothing(void **state)
{
    (void)state;
    const double links[] = {GBIT, 10 * GBIT, 10e9};
    for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        struct world world;
        world_init(&world, links[i]);
        send_much(&world, &noise, 8192);
        assert_true(world.packed[PACK_NONE] == world.content);
        assert_true(world.probing_ns > 0);
        assert_true(world.probing_ns < 0.01 * world.now_ns);
    }
}

static void test_follows_the_data(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, GBIT);
    for (int i = 0; i < 4; i++) {
        double before = world.packed[PACK_NONE];
        send_much(&world, &noise, 512);
        assert_true(world.packed[PACK_NONE] - before > 480 * MIB);
        before = world.packed[PACK_ZSTD] + world.packed[PACK_LZ4];
        send_much(&world, &text, 512);
        assert_true(world.packed[PACK_ZSTD] + world.packed[PACK_LZ4] - before > 430 * MIB);
    }
    assert_true(slowness(&world) < 0.8);
}

/* Every other chunk shrinks. */
static void test_mixed_data(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, GBIT);
    for (int i = 0; i < 2000; i++) {
        send_chunk(&world, i % 2 ? &noise : &text);
    }
    assert_true(slowness(&world) < 0.8);
}

static void test_follows_the_link(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, GBIT);
    send_much(&world, &text, 1024);
    assert_int_equal(world.choice.method, PACK_ZSTD);
    world.link = 10e9;
    double before = world.packed[PACK_NONE];
    send_much(&world, &text, 16384);
    assert_int_equal(world.choice.method, PACK_NONE);
    assert_true(world.packed[PACK_NONE] - before > 15000 * MIB);
    world.link = GBIT;
    send_much(&world, &text, 256);
    before = world.packed[PACK_ZSTD];
    send_much(&world, &text, 256);
    assert_true(world.packed[PACK_ZSTD] - before > 200 * MIB);
}

static void test_differences(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, GBIT);
    send_much(&world, &noise, 256);
    assert_true(pack_choice_wants_bases(&world.choice));
    double before = world.now_ns;
    send_much(&world, &rewritten, 1024);
    assert_true(world.packed[PACK_DELTA] > 980 * MIB);
    assert_true(world.now_ns - before < 0.2 * 1024 * MIB / GBIT * NS);
    before = world.packed[PACK_DELTA];
    send_much(&world, &noise, 256);
    assert_true(world.packed[PACK_DELTA] == before);
}

static void test_differences_not_on_a_fast_link(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 10e9);
    send_much(&world, &noise, 256);
    assert_false(pack_choice_wants_bases(&world.choice));
    send_much(&world, &rewritten, 4096);
    assert_true(world.packed[PACK_NONE] > 0.99 * world.content);
}

/* What no model knows: the destination unpacks too slowly, and looks like a slow link. */
static void test_a_destination_slow_in_unpacking(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 2 * GBIT);
    world.unpacking = 150e6;
    send_much(&world, &text, 4096);
    double before = world.packed[PACK_NONE];
    send_much(&world, &text, 4096);
    assert_true(world.packed[PACK_NONE] - before > 0.9 * 4096 * MIB);
    assert_true(slowness(&world) < 1.1);
}

static void test_no_idle_processor_no_packing(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, GBIT);
    pack_choice_set_idle(&world.choice, 0);
    send_much(&world, &text, 512);
    assert_true(world.packed[PACK_NONE] == world.content);
    pack_choice_set_idle(&world.choice, 0.1); /* 49 MB/s of lz4 */
    send_much(&world, &text, 512);
    assert_true(world.packed[PACK_NONE] == world.content);
    pack_choice_set_idle(&world.choice, 0.5); /* 245 MB/s of lz4, 155 of zstd, 125 plain */
    send_much(&world, &text, 512);
    assert_true(compressed(&world) > 400 * MIB);
}

/* Rounds smaller than the socket's buffer say nothing of the link. */
static void test_small_rounds_keep_what_is_known(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, GBIT);
    send_much(&world, &text, 512);
    double packed = compressed(&world);
    for (int round = 0; round < 100; round++) {
        pass(&world, 0.1 * NS);
        pack_choice_resume(&world.choice, (uint64_t)world.buffered);
        send_much(&world, &text, 2);
    }
    assert_true(compressed(&world) - packed > 190 * MIB);
}

/* A clock that stands still, as in the simulator of a whole move. */
static void test_no_time_passes(void **state)
{
    (void)state;
    struct pack_choice choice;
    pack_choice_init(&choice);
    for (int i = 0; i < 1000; i++) {
        struct pack_order order = pack_choice_next(&choice, i % 2, 0);
        if (order.probe) {
            pack_choice_probed(&choice, order.method, (struct pack_probe){4096, 4096}, 0, 0);
        }
        struct pack_outcome outcome = {
            .method = order.method, .content = PACK_CHUNK_BYTES, .sent = PACK_CHUNK_BYTES};
        pack_choice_sent(&choice, &outcome, 0);
    }
    assert_true(choice.link > 0);
    assert_int_equal(choice.method, PACK_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_on_a_slow_link),
        cmocka_unit_test(test_a_little_text),
        cmocka_unit_test(test_a_link_that_is_shared),
        cmocka_unit_test(test_text_on_a_middling_link),
        cmocka_unit_test(test_text_on_a_fast_link),
        cmocka_unit_test(test_noise_costs_nothing),
        cmocka_unit_test(test_follows_the_data),
        cmocka_unit_test(test_mixed_data),
        cmocka_unit_test(test_follows_the_link),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_differences_not_on_a_fast_link),
        cmocka_unit_test(test_a_destination_slow_in_unpacking),
        cmocka_unit_test(test_no_idle_processor_no_packing),
        cmocka_unit_test(test_small_rounds_keep_what_is_known),
        cmocka_unit_test(test_no_time_passes),
    };
    return cmocka_run_group_tests_name("pack-choice", tests, NULL, NULL);
}
