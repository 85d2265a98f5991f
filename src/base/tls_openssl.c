/* What the files around OpenSSL share: see tls_openssl.h. */
#include "base/tls_openssl.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int tls_error_set(struct error *err, int code, const char *format, ...)
{
    char message[512];
    va_list arguments;
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    ERR_clear_error();
    return reason ? error_set(err, code, "%s: %s", message, reason)
                  : error_set(err, code, "%s", message);
}

char *tls_text_of(BIO *bio)
{
    char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);
    return length < 0 ? NULL : strndup(bytes, (size_t)length);
}
