/* image/lazy-ssl.c: what is used of libssl by ourselves: libcurl, which was loaded before, has brought it. */
#include "sys/lazy.h"

#include <openssl/ssl.h>

#define STR_(x) #x
#define STR(x) STR_(x)

LAZY("libssl.so." STR(OPENSSL_VERSION_MAJOR), 0, int, SSL_CTX_load_verify_locations, (SSL_CTX * c, const char *file, const char *dir),
     (c, file, dir))
