/* The agent's certificates: see trust.h. */
#include "http/trust.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/tls_folder.h"

/* By what a folder that has changed is known: its last files to be written. */
struct glance {
    struct timespec changed[2];
};

struct trust {
    char *folder; /* empty: none */
    void (*changed)(void *context);
    void *context;
    pthread_mutex_t mutex; /* a leaf */
    struct tls_credentials *credentials;
    struct error problem; /* why there are none, or no newer ones */
    struct glance seen;   /* when it was loaded */
};

int trust_new(const char *folder, struct trust **ret_trust, struct error *err)
{
    struct trust *trust = calloc(1, sizeof(*trust));
    char *copy = strdup(folder);
    if (!trust || !copy) {
        free(trust);
        free(copy);
        return error_set_errno(err, ENOMEM, "cannot keep certificates");
    }
    trust->folder = copy;
    pthread_mutex_init(&trust->mutex, NULL);
    if (folder[0] && trust_reload(trust, err) < 0) {
        log_error("other hosts cannot be reached: %s", err->message);
        *err = ERROR_NONE;
    }
    *ret_trust = trust;
    return 0;
}

void trust_free(struct trust *trust)
{
    if (trust) {
        tls_credentials_unref(trust->credentials);
        pthread_mutex_destroy(&trust->mutex);
        free(trust->folder);
        free(trust);
    }
}

void trust_on_change(struct trust *trust, void (*changed)(void *context), void *context)
{
    trust->changed = changed;
    trust->context = context;
}

static int load(const struct trust *trust, struct tls_credentials **ret_credentials,
                struct error *err)
{
    int result = tls_folder_load(trust->folder, TLS_ROLE_HOST, ret_credentials, err);
    if (result == -ENOENT) {
        error_remedy(err, "let this host join: drover ca join (or drover ca init for the first)");
    }
    return result;
}

static struct glance look_at(const struct trust *trust)
{
    static const char *const names[] = {"host.key", "ca.crl"};
    struct glance glance = {0};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat status;
        CLEANUP_FREE char *path = file_path("%s/%s", trust->folder, names[i]);
        if (path && stat(path, &status) == 0) {
            glance.changed[i] = status.st_ctim;
        }
    }
    return glance;
}

void trust_follow(struct trust *trust)
{
    struct error ignored;
    struct glance now = look_at(trust);
    pthread_mutex_lock(&trust->mutex);
    bool same = memcmp(&now, &trust->seen, sizeof(now)) == 0;
    pthread_mutex_unlock(&trust->mutex);
    if (!same && trust_reload(trust, &ignored) == 0) {
        log_info("certificates loaded from %s", trust->folder);
    }
}

int trust_reload(struct trust *trust, struct error *err)
{
    struct tls_credentials *credentials = NULL;
    struct error problem = ERROR_NONE;
    struct glance seen = look_at(trust); /* first: what changes meanwhile is loaded once more */
    int result = load(trust, &credentials, &problem);
    pthread_mutex_lock(&trust->mutex);
    trust->seen = seen;
    struct tls_credentials *old = NULL;
    if (result == 0) {
        old = trust->credentials;
        trust->credentials = credentials;
    }
    trust->problem = problem;
    pthread_mutex_unlock(&trust->mutex);
    tls_credentials_unref(old);
    if (result < 0) {
        *err = problem;
        return result;
    }
    if (trust->changed) {
        trust->changed(trust->context);
    }
    return 0;
}

struct tls_credentials *trust_credentials(struct trust *trust, struct error *err)
{
    pthread_mutex_lock(&trust->mutex);
    struct tls_credentials *credentials = tls_credentials_ref(trust->credentials);
    struct error problem = trust->problem;
    pthread_mutex_unlock(&trust->mutex);
    if (credentials || !err) {
        return credentials;
    }
    if (problem.code) {
        *err = problem;
        return NULL;
    }
    error_set(err, EHOSTUNREACH, "this host has no certificate, without which hosts do not talk");
    error_remedy(err, "let it join (drover ca join) and name the folder as \"tls\" in its "
                      "configuration");
    return NULL;
}

/* ---- facts ---- */

static json_t *describe(const struct tls_credentials *credentials)
{
    struct tls_identity identity = {0};
    char authority[TLS_FINGERPRINT_SIZE];
    int64_t not_before;
    int64_t not_after;
    const X509 *certificate = tls_credentials_certificate(credentials);
    tls_certificate_identity(certificate, &identity, NULL);
    tls_certificate_times(certificate, &not_before, &not_after);
    tls_credentials_issuer(credentials, authority);
    return json_pack("{s:s, s:I, s:I, s:s, s:n}", "name", identity.name, "not_before",
                     (json_int_t)not_before, "not_after", (json_int_t)not_after, "authority",
                     authority, "problem");
}

static const char *ended(const json_t *facts)
{
    int64_t end = json_integer_value(json_object_get(facts, "not_after"));
    return end < (int64_t)time(NULL) ? "the certificate is over" : NULL;
}

json_t *trust_facts(struct trust *trust)
{
    struct error err = ERROR_NONE;
    if (!trust->folder[0]) {
        return json_null();
    }
    struct tls_credentials *credentials = trust_credentials(trust, &err);
    if (!credentials) {
        return json_pack("{s:o}", "problem", json_string_of_any(err.message));
    }
    json_t *facts = describe(credentials);
    tls_credentials_unref(credentials);
    if (facts && ended(facts)) {
        json_object_set_new(facts, "problem", json_string(ended(facts)));
    }
    return facts;
}
