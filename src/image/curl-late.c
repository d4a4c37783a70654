/*
 * image/curl-late.c: libcurl, loaded when the first request is made. It brings thirty libraries with it (TLS twice, Kerberos, LDAP),
 * that would otherwise cost every start of a program half of its time and a daemon that pulls nothing half of its memory. Each
 * function here has the name and type of libcurl's and calls it; requests are few, so the look-up is not kept.
 */
#include <curl/curl.h>

#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#undef curl_easy_setopt
#undef curl_share_setopt

#if LIBCURL_VERSION_NUM >= 0x080000
#define URL_ARG const CURLU *
#else
#define URL_ARG CURLU *
#endif

static bool late(const char *name, void *ret_function)
{
    void *lib = dlopen("libcurl.so.4", RTLD_LAZY | RTLD_LOCAL);
    void *f = lib ? dlsym(lib, name) : NULL;
    memcpy(ret_function, &f, sizeof(f));
    return f != NULL;
}

#define LATE(type, name, params, args, otherwise) \
    type name params                              \
    {                                             \
        typeof(&name) f;                          \
        return late(#name, &f) ? f args : (otherwise); \
    }
#define LATE_VOID(name, params, args) \
    void name params                  \
    {                                 \
        typeof(&name) f;              \
        if (late(#name, &f)) {        \
            f args;                   \
        }                             \
    }

LATE(CURLcode, curl_global_init, (long flags), (flags), CURLE_FAILED_INIT)
LATE_VOID(curl_global_cleanup, (void), ())
LATE(CURL *, curl_easy_init, (void), (), NULL)
LATE_VOID(curl_easy_cleanup, (CURL * c), (c))
LATE_VOID(curl_easy_reset, (CURL * c), (c))
LATE(CURLcode, curl_easy_perform, (CURL * c), (c), CURLE_FAILED_INIT)
LATE(const char *, curl_easy_strerror, (CURLcode code), (code), "libcurl.so.4 cannot be loaded")
LATE(CURLSH *, curl_share_init, (void), (), NULL)
LATE(CURLSHcode, curl_share_cleanup, (CURLSH * s), (s), CURLSHE_INVALID)
LATE(struct curl_slist *, curl_slist_append, (struct curl_slist * list, const char *s), (list, s), NULL)
LATE_VOID(curl_slist_free_all, (struct curl_slist * list), (list))
LATE_VOID(curl_free, (void *p), (p))
LATE(time_t, curl_getdate, (const char *s, const time_t *unused), (s, unused), -1)
LATE(CURLU *, curl_url, (void), (), NULL)
LATE_VOID(curl_url_cleanup, (CURLU * u), (u))
LATE(CURLUcode, curl_url_get, (URL_ARG u, CURLUPart what, char **part, unsigned flags), (u, what, part, flags), CURLUE_OUT_OF_MEMORY)
LATE(CURLUcode, curl_url_set, (CURLU * u, CURLUPart what, const char *part, unsigned flags), (u, what, part, flags), CURLUE_OUT_OF_MEMORY)

CURLcode curl_easy_setopt(CURL *c, CURLoption option, ...)
{
    typeof(&curl_easy_setopt) f;
    if (!late("curl_easy_setopt", &f)) {
        return CURLE_FAILED_INIT;
    }
    va_list ap;
    va_start(ap, option);
    CURLcode r;
    /* The thousands of an option's number are the type of its argument. */
    switch ((int)option / 10000 * 10000) {
    case CURLOPTTYPE_LONG:
        r = f(c, option, va_arg(ap, long));
        break;
    case CURLOPTTYPE_OFF_T:
        r = f(c, option, va_arg(ap, curl_off_t));
        break;
    default:
        r = f(c, option, va_arg(ap, void *));
    }
    va_end(ap);
    return r;
}

CURLSHcode curl_share_setopt(CURLSH *s, CURLSHoption option, ...)
{
    typeof(&curl_share_setopt) f;
    if (!late("curl_share_setopt", &f)) {
        return CURLSHE_INVALID;
    }
    va_list ap;
    va_start(ap, option);
    CURLSHcode r = option == CURLSHOPT_SHARE || option == CURLSHOPT_UNSHARE ? f(s, option, va_arg(ap, int)) : f(s, option, va_arg(ap, void *));
    va_end(ap);
    return r;
}
