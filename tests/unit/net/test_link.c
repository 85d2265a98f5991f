/* Links: pairs, addresses, and the rate limit, in a namespace of the test's own. */
#include "fixture.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/link.h"

#define BURST_BYTES (4 << 20)

static void must(int result, const struct error *err)
{
    if (result < 0) {
        fail_msg("%s", err->message);
    }
}

static void a_pair_is_made_once(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    const struct link_end one = {"one", -1, NULL};
    const struct link_end other = {"other", -1, NULL};
    must(link_add_veth(&one, &other, 9000, &err), &err);
    assert_int_not_equal(if_nametoindex("one"), 0);
    assert_int_not_equal(if_nametoindex("other"), 0);
    assert_int_equal(link_add_veth(&one, &other, 9000, &err), -EEXIST);
    assert_non_null(strstr(err.message, "one"));
}

static void a_removed_pair_can_be_made_again(void **state)
{
    const struct link_end one = {"again-a", -1, NULL};
    const struct link_end other = {"again-b", -1, NULL};
    struct error err = ERROR_NONE;
    (void)state;
    assert_int_equal(link_remove("again-a", &err), 0); /* there is none yet */
    assert_int_equal(link_add_veth(&one, &other, 1500, &err), 0);
    assert_int_equal(link_remove("again-a", &err), 0);
    assert_int_equal(if_nametoindex("again-b"), 0);
    assert_int_equal(link_add_veth(&one, &other, 1500, &err), 0);
    assert_int_equal(link_remove("again-b", &err), 0);
}

static void long_names_are_refused(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    const struct link_end fine = {"fine", -1, NULL};
    const struct link_end longest = {"abcdefghijklmnop", -1, NULL};
    assert_int_equal(link_add_veth(&fine, &longest, 1500, &err), -EINVAL);
    assert_int_equal(if_nametoindex("fine"), 0);
}

static void an_address_is_added_twice_without_harm(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    struct sockaddr_in address = {.sin_family = AF_INET};
    must(link_set_up("lo", true, &err), &err);
    must(link_add_address("lo", "10.99.0.1", 24, &err), &err);
    must(link_add_address("lo", "10.99.0.1", 24, &err), &err);
    inet_pton(AF_INET, "10.99.0.1", &address.sin_addr);
    CLEANUP_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(link_add_address("lo", "10.99.0", 24, &err), -EINVAL);
    assert_int_equal(link_add_address("none", "10.99.0.1", 24, &err), -ENODEV);
    assert_non_null(strstr(err.message, "none"));
}

/* Milliseconds that BURST_BYTES take over TCP on the loopback link. */
static double transfer_ms(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    char block[65536] = {0};
    size_t received = 0;
    CLEANUP_CLOSE int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&address, &length);
    CLEANUP_CLOSE int sender = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(sender, (struct sockaddr *)&address, sizeof(address)), 0);
    CLEANUP_CLOSE int receiver = accept(listener, NULL, NULL);
    double start = fixture_now_ms();
    for (size_t sent = 0; received < BURST_BYTES;) {
        ssize_t result = sent < BURST_BYTES ? send(sender, block, sizeof(block), MSG_DONTWAIT) : 0;
        sent += result > 0 ? (size_t)result : 0;
        result = recv(receiver, block, sizeof(block), sent < BURST_BYTES ? MSG_DONTWAIT : 0);
        received += result > 0 ? (size_t)result : 0;
    }
    return fixture_now_ms() - start;
}

/* The limit is far below what this machine carries, however slow it is itself. */
static void a_rate_is_kept_and_lifted(void **state)
{
    (void)state;
    struct error err = ERROR_NONE;
    must(link_set_up("lo", true, &err), &err);
    must(link_limit_rate("lo", 0, &err), &err); /* nothing to lift */
    double free_ms = transfer_ms();
    double due_ms = free_ms * 8 > 500 ? free_ms * 8 : 500;
    uint64_t rate = (uint64_t)(BURST_BYTES * 1000.0 / due_ms);
    must(link_limit_rate("lo", rate, &err), &err);
    double limited_ms = transfer_ms();
    must(link_limit_rate("lo", rate * 2, &err), &err);
    double wider_ms = transfer_ms();
    must(link_limit_rate("lo", 0, &err), &err);
    print_message("%.1f ms free, %.1f ms limited to %.1f, %.1f ms at twice the rate\n", free_ms,
                  limited_ms, due_ms, wider_ms);
    assert_true(limited_ms > due_ms * 0.7); /* no machine is too fast, and some bytes go at once */
    assert_true(wider_ms < limited_ms);
    assert_true(transfer_ms() < limited_ms / 2);
    assert_int_equal(link_limit_rate("lo", 1ULL << 40, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_is_made_once),
        cmocka_unit_test(a_removed_pair_can_be_made_again),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(an_address_is_added_twice_without_harm),
        cmocka_unit_test(a_rate_is_kept_and_lifted),
    };
    fixture_private_network();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
