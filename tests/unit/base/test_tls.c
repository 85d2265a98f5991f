/* Handshakes in memory: who is let in, and whom a client believes. */
#include "test.h"

#include <openssl/err.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/tls.h"
#include "base/tls_openssl.h"
#include "tls_fixture.h"

struct world {
    char root[64];
    struct tls_fixture_authority authority;
    struct tls_fixture_authority stranger; /* another cluster's */
    char server[96];                       /* folder of h1, which is good */
    char client[96];                       /* folder of h2: each test's own */
};

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    strcpy(world->root, "/tmp/drover-unit-XXXXXX");
    assert_non_null(mkdtemp(world->root));
    tls_fixture_authority_make(&world->authority);
    tls_fixture_authority_make(&world->stranger);
    snprintf(world->server, sizeof(world->server), "%s/server", world->root);
    snprintf(world->client, sizeof(world->client), "%s/client", world->root);
    const struct tls_fixture_subject server = {&world->authority, TLS_ROLE_HOST, "h1",
                                               -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR};
    tls_fixture_folder_make(world->server, &server, &world->authority, NULL);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    file_remove_tree(world->root, NULL);
    tls_fixture_authority_done(&world->authority);
    tls_fixture_authority_done(&world->stranger);
    free(world);
    return 0;
}

/* ---- one handshake ---- */

struct meeting {
    struct tls_credentials *credentials[2]; /* server's, client's */
    SSL_CTX *contexts[2];
    SSL *server;
    SSL *client;
};

static struct tls_credentials *load(const char *folder, enum tls_role role)
{
    struct error err = ERROR_NONE;
    struct tls_credentials *credentials = NULL;
    if (tls_credentials_load(folder, role, &credentials, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return credentials;
}

static void connect_both(struct meeting *meeting)
{
    BIO *server_end;
    BIO *client_end;
    assert_int_equal(BIO_new_bio_pair(&server_end, 0, &client_end, 0), 1);
    SSL_set_bio(meeting->server, server_end, server_end);
    SSL_set_bio(meeting->client, client_end, client_end);
    SSL_set_accept_state(meeting->server);
    SSL_set_connect_state(meeting->client);
}

/* `host` is whom the client means. */
static void meet(struct meeting *meeting, const char *server, const char *client,
                 enum tls_role role, const char *host)
{
    struct error err = ERROR_NONE;
    meeting->credentials[0] = load(server, TLS_ROLE_HOST);
    meeting->credentials[1] = load(client, role);
    meeting->contexts[0] = SSL_CTX_new(TLS_server_method());
    meeting->contexts[1] = SSL_CTX_new(TLS_client_method());
    assert_int_equal(tls_context_restrict(meeting->contexts[0], &err), 0);
    assert_int_equal(tls_connect(meeting->contexts[1], meeting->credentials[1], host, &err), 0);
    meeting->server = SSL_new(meeting->contexts[0]);
    meeting->client = SSL_new(meeting->contexts[1]);
    assert_int_equal(tls_serve(meeting->server, meeting->credentials[0]), 0);
    connect_both(meeting);
}

static void part(struct meeting *meeting)
{
    SSL_free(meeting->server);
    SSL_free(meeting->client);
    for (int i = 0; i < 2; i++) {
        SSL_CTX_free(meeting->contexts[i]);
        tls_credentials_unref(meeting->credentials[i]);
    }
    ERR_clear_error();
}

/* Until neither has anything to say: whether both are through with it, the last word read. */
static bool shake_hands(struct meeting *meeting)
{
    char byte;
    for (int i = 0; i < 10; i++) {
        SSL_do_handshake(meeting->client);
        SSL_do_handshake(meeting->server);
    }
    if (!SSL_is_init_finished(meeting->client) || !SSL_is_init_finished(meeting->server)) {
        return false;
    }
    return SSL_write(meeting->server, "x", 1) == 1 && SSL_read(meeting->client, &byte, 1) == 1;
}

static bool lets_in(const struct world *world, enum tls_role role, const char *host)
{
    struct meeting meeting = {0};
    meet(&meeting, world->server, world->client, role, host);
    bool good = shake_hands(&meeting);
    part(&meeting);
    return good;
}

static void make_client(const struct world *world, const struct tls_fixture_authority *authority,
                        int64_t from, int64_t until)
{
    const struct tls_fixture_subject subject = {authority, TLS_ROLE_HOST, "h2", from, until};
    tls_fixture_folder_make(world->client, &subject, &world->authority, NULL);
}

/* ---- tests ---- */

static void each_side_knows_the_other_by_name(void **state)
{
    const struct world *world = *state;
    struct error err = ERROR_NONE;
    struct tls_identity identity;
    struct meeting meeting = {0};
    make_client(world, &world->authority, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    meet(&meeting, world->server, world->client, TLS_ROLE_HOST, "h1");
    assert_true(shake_hands(&meeting));
    assert_int_equal(SSL_version(meeting.server), TLS1_3_VERSION);
    assert_int_equal(tls_peer_identity(meeting.server, &identity, &err), 1);
    assert_int_equal(identity.role, TLS_ROLE_HOST);
    assert_string_equal(identity.name, "h2");
    assert_int_equal(tls_peer_identity(meeting.client, &identity, &err), 1);
    assert_string_equal(identity.name, "h1");
    part(&meeting);
}

static void a_client_without_certificate_is_nobody(void **state)
{
    const struct world *world = *state;
    struct error err = ERROR_NONE;
    struct tls_identity identity;
    struct meeting meeting = {0};
    char own[128];
    make_client(world, &world->authority, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    snprintf(own, sizeof(own), "%s/host.crt", world->client);
    unlink(own);
    meet(&meeting, world->server, world->client, TLS_ROLE_OPERATOR, "h1");
    assert_true(shake_hands(&meeting));
    assert_int_equal(tls_peer_identity(meeting.server, &identity, &err), 0);
    part(&meeting);
}

static void a_certificate_is_good_between_its_times_only(void **state)
{
    const struct world *world = *state;
    make_client(world, &world->authority, -2 * TLS_FIXTURE_HOUR, -TLS_FIXTURE_HOUR);
    assert_false(lets_in(world, TLS_ROLE_HOST, "h1"));
    make_client(world, &world->authority, TLS_FIXTURE_HOUR, 2 * TLS_FIXTURE_HOUR);
    assert_false(lets_in(world, TLS_ROLE_HOST, "h1"));
    make_client(world, &world->authority, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    assert_true(lets_in(world, TLS_ROLE_HOST, "h1"));
}

static void another_authority_counts_for_nothing(void **state)
{
    const struct world *world = *state;
    make_client(world, &world->stranger, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    assert_false(lets_in(world, TLS_ROLE_HOST, "h1"));
}

static void a_server_of_another_authority_is_not_believed(void **state)
{
    const struct world *world = *state;
    const struct tls_fixture_subject subject = {&world->authority, TLS_ROLE_HOST, "h2",
                                                -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR};
    tls_fixture_folder_make(world->client, &subject, &world->stranger, NULL);
    assert_false(lets_in(world, TLS_ROLE_HOST, "h1"));
}

static void a_server_with_another_name_is_not_believed(void **state)
{
    const struct world *world = *state;
    make_client(world, &world->authority, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    assert_false(lets_in(world, TLS_ROLE_HOST, "h3"));
    assert_false(lets_in(world, TLS_ROLE_HOST, "h"));
}

static void an_operator_cannot_be_a_server(void **state)
{
    const struct world *world = *state;
    struct meeting meeting = {0};
    char from[128];
    char to[128];
    const struct tls_fixture_subject subject = {&world->authority, TLS_ROLE_OPERATOR, "h1",
                                                -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR};
    make_client(world, &world->authority, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    tls_fixture_folder_make(world->server, &subject, &world->authority, NULL);
    static const char *const suffixes[] = {"crt", "key"};
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof(from), "%s/operator.%s", world->server, suffixes[i]);
        snprintf(to, sizeof(to), "%s/host.%s", world->server, suffixes[i]);
        assert_int_equal(rename(from, to), 0);
    }
    meet(&meeting, world->server, world->client, TLS_ROLE_HOST, NULL);
    assert_false(shake_hands(&meeting));
    part(&meeting);
}

static void a_revoked_certificate_is_refused_from_the_next_connection_on(void **state)
{
    const struct world *world = *state;
    struct meeting before = {0};
    make_client(world, &world->authority, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    meet(&before, world->server, world->client, TLS_ROLE_HOST, "h1");
    assert_true(shake_hands(&before));
    tls_fixture_revoke(world->server, &world->authority, world->client);
    assert_false(lets_in(world, TLS_ROLE_HOST, "h1"));
    struct tls_credentials *now = load(world->server, TLS_ROLE_HOST);
    assert_false(tls_credentials_accept(now, SSL_get0_peer_certificate(before.server)));
    assert_true(
        tls_credentials_accept(before.credentials[0], SSL_get0_peer_certificate(before.server)));
    tls_credentials_unref(now);
    part(&before);
}

static void a_revoked_server_is_not_believed(void **state)
{
    const struct world *world = *state;
    make_client(world, &world->authority, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    tls_fixture_revoke(world->client, &world->authority, world->server);
    assert_false(lets_in(world, TLS_ROLE_HOST, "h1"));
}

static void older_versions_are_refused(void **state)
{
    const struct world *world = *state;
    struct meeting meeting = {0};
    make_client(world, &world->authority, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    meet(&meeting, world->server, world->client, TLS_ROLE_HOST, "h1");
    SSL_set_min_proto_version(meeting.client, TLS1_2_VERSION);
    SSL_set_max_proto_version(meeting.client, TLS1_2_VERSION);
    assert_false(shake_hands(&meeting));
    part(&meeting);
}

static void garbage_is_refused(void **state)
{
    const struct world *world = *state;
    struct meeting meeting = {0};
    make_client(world, &world->authority, -TLS_FIXTURE_HOUR, TLS_FIXTURE_HOUR);
    meet(&meeting, world->server, world->client, TLS_ROLE_HOST, "h1");
    assert_true(BIO_write(SSL_get_wbio(meeting.client), "GET / HTTP/1.1\r\n\r\n", 18) == 18);
    assert_int_equal(SSL_do_handshake(meeting.server), -1);
    assert_int_equal(SSL_get_error(meeting.server, -1), SSL_ERROR_SSL);
    part(&meeting);
}

/* ---- a fingerprint instead of credentials ---- */

static bool believes_pinned(const struct world *world, const struct tls_fixture_authority *pinned,
                            const char *host)
{
    struct error err = ERROR_NONE;
    struct meeting meeting = {0};
    char fingerprint[TLS_FINGERPRINT_SIZE];
    tls_certificate_fingerprint(pinned->certificate, fingerprint);
    meeting.credentials[0] = load(world->server, TLS_ROLE_HOST);
    meeting.contexts[0] = SSL_CTX_new(TLS_server_method());
    meeting.contexts[1] = SSL_CTX_new(TLS_client_method());
    assert_int_equal(tls_context_restrict(meeting.contexts[0], &err), 0);
    assert_int_equal(tls_connect_pinned(meeting.contexts[1], fingerprint, host, &err), 0);
    meeting.server = SSL_new(meeting.contexts[0]);
    meeting.client = SSL_new(meeting.contexts[1]);
    assert_int_equal(tls_serve(meeting.server, meeting.credentials[0]), 0);
    connect_both(&meeting);
    bool good = shake_hands(&meeting);
    part(&meeting);
    return good;
}

static void who_joins_believes_the_pinned_authority_only(void **state)
{
    const struct world *world = *state;
    assert_true(believes_pinned(world, &world->authority, "h1"));
    assert_false(believes_pinned(world, &world->stranger, "h1"));
    assert_false(believes_pinned(world, &world->authority, "h2"));
}

/* ---- what cannot be loaded ---- */

static int load_error(const char *folder, struct error *err)
{
    struct tls_credentials *credentials = NULL;
    return tls_credentials_load(folder, TLS_ROLE_HOST, &credentials, err);
}

static void a_key_that_others_can_read_is_refused(void **state)
{
    const struct world *world = *state;
    struct error err = ERROR_NONE;
    char path[128];
    snprintf(path, sizeof(path), "%s/host.key", world->server);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(load_error(world->server, &err), -EACCES);
    assert_non_null(strstr(err.remedy, "chmod 600"));
}

static void a_host_needs_the_list_of_what_is_revoked(void **state)
{
    const struct world *world = *state;
    struct error err = ERROR_NONE;
    char path[128];
    snprintf(path, sizeof(path), "%s/ca.crl", world->server);
    assert_int_equal(file_write_atomic(path, "", 0, 0644, &err), 0);
    assert_int_equal(load_error(world->server, &err), -EINVAL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(load_error(world->server, &err), -ENOENT);
}

static void words_of_an_alert_are_found(void **state)
{
    char words[64];
    (void)state;
    assert_true(tls_alert_words("error:0A000414:SSL routines::sslv3 alert certificate revoked, "
                                "errno 0",
                                words, sizeof(words)));
    assert_string_equal(words, "certificate revoked");
    assert_false(tls_alert_words("Connection refused", words, sizeof(words)));
}

int main(void)
{
#define WORLD_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(each_side_knows_the_other_by_name),
        WORLD_TEST(a_client_without_certificate_is_nobody),
        WORLD_TEST(a_certificate_is_good_between_its_times_only),
        WORLD_TEST(another_authority_counts_for_nothing),
        WORLD_TEST(a_server_of_another_authority_is_not_believed),
        WORLD_TEST(a_server_with_another_name_is_not_believed),
        WORLD_TEST(an_operator_cannot_be_a_server),
        WORLD_TEST(a_revoked_certificate_is_refused_from_the_next_connection_on),
        WORLD_TEST(a_revoked_server_is_not_believed),
        WORLD_TEST(older_versions_are_refused),
        WORLD_TEST(garbage_is_refused),
        WORLD_TEST(who_joins_believes_the_pinned_authority_only),
        WORLD_TEST(a_key_that_others_can_read_is_refused),
        WORLD_TEST(a_host_needs_the_list_of_what_is_revoked),
        cmocka_unit_test(words_of_an_alert_are_found),
    };
    return cmocka_run_group_tests_name("base-tls", tests, NULL, NULL);
}
