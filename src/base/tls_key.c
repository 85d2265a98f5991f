/* Keys and requests: see tls_key.h. */
#include "base/tls_key.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/tls_openssl.h"

#define CURVE "P-256"
#define CURVE_OPENSSL_NAME "prime256v1"
#define KEY_BYTES_MOST 16384

int tls_key_make(EVP_PKEY **ret_key, struct error *err)
{
    EVP_PKEY *key = EVP_EC_gen(CURVE);
    if (!key) {
        return tls_error_set(err, EIO, "cannot make a key");
    }
    *ret_key = key;
    return 0;
}

int tls_key_write(const char *path, EVP_PKEY *key, struct error *err)
{
    char *bytes;
    CLEANUP_BIO BIO *bio = BIO_new(BIO_s_secmem());
    if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) {
        return tls_error_set(err, EIO, "cannot write the key %s", path);
    }
    long length = BIO_get_mem_data(bio, &bytes);
    int result = file_write_atomic(path, bytes, (size_t)length, 0600, err);
    OPENSSL_cleanse(bytes, (size_t)length);
    return result;
}

/* Before anything is read of it. */
static int check_owner_only(int fd, const char *path, struct error *err)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return error_set_errno(err, errno, "cannot look at %s", path);
    }
    if (!S_ISREG(status.st_mode) || (status.st_mode & (S_IRWXG | S_IRWXO))) {
        error_set(err, EACCES, "the key %s can be read by others than its owner", path);
        return error_remedy(err,
                            "chmod 600 %s; whoever could read it may have it: better make "
                            "a new one",
                            path);
    }
    return 0;
}

int tls_key_read(const char *path, EVP_PKEY **ret_key, struct error *err)
{
    struct buffer content = {0};
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot open the key %s", path);
    }
    int result = check_owner_only(fd, path, err);
    if (result == 0) {
        result = file_read_fd(fd, path, KEY_BYTES_MOST, &content, err);
    }
    if (result == 0) {
        CLEANUP_BIO BIO *bio = BIO_new_mem_buf(content.data, (int)content.length);
        EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;
        result = key ? 0 : tls_error_set(err, EINVAL, "%s holds no key", path);
        *ret_key = key ? key : *ret_key;
    }
    if (content.data) {
        OPENSSL_cleanse(content.data, content.length);
    }
    buffer_done(&content);
    return result;
}

int tls_request_make(EVP_PKEY *key, char **ret_pem, struct error *err)
{
    CLEANUP_REQUEST X509_REQ *request = X509_REQ_new();
    CLEANUP_BIO BIO *bio = BIO_new(BIO_s_mem());
    char *pem = NULL;
    if (request && bio && X509_REQ_set_pubkey(request, key) &&
        X509_REQ_sign(request, key, EVP_sha256()) && PEM_write_bio_X509_REQ(bio, request)) {
        pem = tls_text_of(bio);
    }
    if (!pem) {
        return tls_error_set(err, EIO, "cannot make a request for a certificate");
    }
    *ret_pem = pem;
    return 0;
}

static int check_kind(EVP_PKEY *key, struct error *err)
{
    char curve[64] = "";
    if (!key || !EVP_PKEY_is_a(key, "EC") ||
        !EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL) ||
        strcmp(curve, CURVE_OPENSSL_NAME) != 0) {
        return tls_error_set(err, EINVAL, "the request's key is not an EC key on " CURVE);
    }
    return 0;
}

int tls_request_read(const char *pem, EVP_PKEY **ret_public, struct error *err)
{
    CLEANUP_BIO BIO *bio = BIO_new_mem_buf(pem, -1);
    CLEANUP_REQUEST X509_REQ *request = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
    if (!request) {
        return tls_error_set(err, EINVAL, "this is no request for a certificate");
    }
    CLEANUP_KEY EVP_PKEY *key = X509_REQ_get_pubkey(request);
    int result = check_kind(key, err);
    if (result < 0) {
        return result;
    }
    if (X509_REQ_verify(request, key) != 1) {
        return tls_error_set(err, EINVAL, "the request is not signed by its own key");
    }
    *ret_public = steal_pointer(&key);
    return 0;
}
