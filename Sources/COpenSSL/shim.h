#pragma once
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* A macro (SSL_CTX_ctrl), which Swift does not see. */
static inline int penstock_ssl_require(SSL_CTX *context, int version) {
  return (int)SSL_CTX_set_min_proto_version(context, version);
}

/* A macro (SSL_CTX_ctrl), which Swift does not see. */
static inline void penstock_ssl_spare_memory(SSL_CTX *context) {
  (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
}

/* XN_FLAG_RFC2253 is a macro of casts, which Swift does not see. */
static inline unsigned long penstock_name_flags(void) { return XN_FLAG_RFC2253; }

/* Typed stacks are macros, which Swift does not see. */
static inline int penstock_chain_count(const STACK_OF(X509) *chain) { return sk_X509_num(chain); }
static inline X509 *penstock_chain_at(const STACK_OF(X509) *chain, int index) {
  return sk_X509_value(chain, index);
}
