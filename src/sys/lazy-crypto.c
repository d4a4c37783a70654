/* sys/lazy-crypto.c: what is used of libcrypto, loaded when something is hashed. */
#include "sys/lazy.h"

#include <openssl/evp.h>

#define STR_(x) #x
#define STR(x) STR_(x)
#define CRYPTO "libcrypto.so." STR(OPENSSL_VERSION_MAJOR)

LAZY(CRYPTO, NULL, EVP_MD_CTX *, EVP_MD_CTX_new, (void), ())
LAZY(CRYPTO, (void)0, void, EVP_MD_CTX_free, (EVP_MD_CTX * c), (c))
LAZY(CRYPTO, 0, int, EVP_DigestInit_ex, (EVP_MD_CTX * c, const EVP_MD *md, ENGINE *engine), (c, md, engine))
LAZY(CRYPTO, 0, int, EVP_DigestUpdate, (EVP_MD_CTX * c, const void *data, size_t len), (c, data, len))
LAZY(CRYPTO, 0, int, EVP_DigestFinal_ex, (EVP_MD_CTX * c, unsigned char *out, unsigned int *len), (c, out, len))
LAZY(CRYPTO, 0, int, EVP_Digest,
     (const void *data, size_t count, unsigned char *out, unsigned int *len, const EVP_MD *md, ENGINE *engine),
     (data, count, out, len, md, engine))
LAZY(CRYPTO, NULL, const EVP_MD *, EVP_sha1, (void), ())
LAZY(CRYPTO, NULL, const EVP_MD *, EVP_sha256, (void), ())
LAZY(CRYPTO, NULL, const EVP_MD *, EVP_sha512, (void), ())
LAZY(CRYPTO, -1, int, EVP_EncodeBlock, (unsigned char *to, const unsigned char *from, int n), (to, from, n))
LAZY(CRYPTO, -1, int, EVP_DecodeBlock, (unsigned char *to, const unsigned char *from, int n), (to, from, n))
