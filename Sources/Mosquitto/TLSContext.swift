// What one TLS connection is checked by: an OpenSSL context of ours, handed to libmosquitto
// (MOSQ_OPT_SSL_CTX). The context that libmosquitto 2.0.11 makes by itself will not do:
//
// - it compares names with its own code, which takes `*.com` for every name below .com
//   (lib/tls_mosq.c); here OpenSSL compares, inside the handshake;
// - with a pre-shared key it verifies nobody: a server that answers with a certificate instead
//   would be believed, whoever it is (lib/net_mosq.c, net__init_ssl_ctx);
// - it keeps to itself why a certificate was refused.

import COpenSSL
import GatewayCore
import Glibc
import Platform

/// Owns one `SSL_CTX`, which libmosquitto holds as well, and what its callbacks read. Used on one
/// thread; outlives the handle it was given to.
@safe
final class TLSContext {
  /// A sentence without its end; no secrets.
  struct Failure: Error {
    let reason: String
  }

  let raw: OpaquePointer
  fileprivate let identity: [UInt8]
  fileprivate let key: [UInt8]
  /// OpenSSL's code for why a certificate was refused. Kept here, because libmosquitto frees the
  /// session with the failed handshake when that ends in a read.
  fileprivate(set) var refusal: Int32?

  /// TLS 1.2 or newer. The server's chain, dates and name are verified, or both sides prove that
  /// they know the pre-shared key. Reads all files. Nothing can switch that off.
  init(_ options: TLSOptions, host: String) throws(Failure) {
    if let presharedKey = options.presharedKey {
      identity = Array(presharedKey.identity.utf8)
      key = try PresharedKeyFile.read(presharedKey.keyFile)
    } else {
      (identity, key) = ([], [])
    }
    guard let pointer = unsafe SSL_CTX_new(TLS_client_method()) else {
      throw Failure(reason: "OpenSSL makes no context: \(OpenSSL.takeReason())")
    }
    unsafe raw = pointer
    // OpenSSL leaves reasons in a queue of the thread, where libmosquitto would find them.
    defer { ERR_clear_error() }
    try unsafe check(penstock_ssl_require(pointer, TLS1_2_VERSION), "TLS 1.2 as the least")
    unsafe penstock_ssl_spare_memory(pointer)
    unsafe SSL_CTX_set_ex_data(pointer, 0, Unmanaged.passUnretained(self).toOpaque())
    unsafe SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER, noteRefusal)
    if let name = options.applicationProtocol { try offer(name) }
    if options.presharedKey == nil {
      try trust(options, host: host)
      try prove(options)
    } else {
      // With no authority at all every certificate is refused: only the key is left.
      unsafe SSL_CTX_set_psk_client_callback(pointer, showPresharedKey)
    }
  }

  deinit { unsafe SSL_CTX_free(raw) }

  private func check(_ code: Int32, _ what: String) throws(Failure) {
    guard code != 1 else { return }
    throw Failure(reason: "OpenSSL refuses \(what): \(OpenSSL.takeReason())")
  }

  /// Application-Layer Protocol Negotiation (RFC 7301): one name.
  private func offer(_ name: String) throws(Failure) {
    let wire = [UInt8(truncatingIfNeeded: name.utf8.count)] + Array(name.utf8)
    let code = unsafe wire.withUnsafeBufferPointer {
      unsafe SSL_CTX_set_alpn_protos(raw, $0.baseAddress, UInt32($0.count))
    }
    // This one function returns 0 for success.
    guard code == 0 else { throw Failure(reason: "OpenSSL refuses the ALPN name \(name)") }
  }

  private func trust(_ options: TLSOptions, host: String) throws(Failure) {
    if let file = options.authorityFile {
      try unsafe check(SSL_CTX_load_verify_file(raw, file), "the CA file \(file)")
    } else {
      let directory = Self.systemAuthorities
      try unsafe check(SSL_CTX_load_verify_dir(raw, directory), "the directory \(directory)")
    }
    // An address must stand in the certificate as an address. In a name a wildcard stands for one
    // whole level, and never for all below a top-level domain.
    let rules = unsafe SSL_CTX_get0_param(raw)
    unsafe X509_VERIFY_PARAM_set_hostflags(rules, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
    let code =
      SocketWait.isAddress(host)
      ? unsafe X509_VERIFY_PARAM_set1_ip_asc(rules, host)
      : unsafe X509_VERIFY_PARAM_set1_host(rules, host, 0)
    try check(code, "the host name \(host)")
  }

  /// Where Debian's ca-certificates keeps its hashed directory.
  private static let systemAuthorities = "/etc/ssl/certs"

  /// Our own certificate, where the server wants one.
  private func prove(_ options: TLSOptions) throws(Failure) {
    guard let certificate = options.certificateFile, let key = options.keyFile else { return }
    // An encrypted key would make OpenSSL ask at the terminal; no password makes it fail.
    unsafe SSL_CTX_set_default_passwd_cb(raw, { _, _, _, _ in 0 })
    try unsafe check(
      SSL_CTX_use_certificate_chain_file(raw, certificate), "the certificate \(certificate)")
    try unsafe check(SSL_CTX_use_PrivateKey_file(raw, key, SSL_FILETYPE_PEM), "the key \(key)")
    try unsafe check(SSL_CTX_check_private_key(raw), "the key \(key) for \(certificate)")
  }
}

/// Notes what OpenSSL found and changes nothing about it (SSL_CTX_set_verify(3)).
private func noteRefusal(_ verdict: Int32, _ store: OpaquePointer?) -> Int32 {
  guard verdict != 1,
    let session = unsafe X509_STORE_CTX_get_ex_data(
      store, SSL_get_ex_data_X509_STORE_CTX_idx()),
    let opaque = unsafe SSL_CTX_get_ex_data(SSL_get_SSL_CTX(OpaquePointer(session)), 0)
  else { return verdict }
  let context = unsafe Unmanaged<TLSContext>.fromOpaque(opaque).takeUnretainedValue()
  if context.refusal == nil { context.refusal = unsafe X509_STORE_CTX_get_error(store) }
  return verdict
}

/// OpenSSL asks who we are and for the key. 0 ends the handshake.
private func showPresharedKey(
  _ session: OpaquePointer?, _ hint: UnsafePointer<CChar>?,
  _ identity: UnsafeMutablePointer<CChar>?, _ identityRoom: UInt32,
  _ key: UnsafeMutablePointer<UInt8>?, _ keyRoom: UInt32
) -> UInt32 {
  guard let opaque = unsafe SSL_CTX_get_ex_data(SSL_get_SSL_CTX(session), 0),
    let identity = unsafe identity, let key = unsafe key
  else { return 0 }
  let context = unsafe Unmanaged<TLSContext>.fromOpaque(opaque).takeUnretainedValue()
  guard context.identity.count < Int(identityRoom), context.key.count <= Int(keyRoom) else {
    return 0
  }
  for (index, byte) in context.identity.enumerated() {
    unsafe identity[index] = CChar(bitPattern: byte)
  }
  unsafe identity[context.identity.count] = 0
  for (index, byte) in context.key.enumerated() { unsafe key[index] = byte }
  return UInt32(context.key.count)
}

/// A pre-shared key in a file: hexadecimal digits on one line, as in a broker's `psk_file`.
enum PresharedKeyFile {
  /// 16 to 64 bytes: below that a key can be guessed.
  static let keyByteCounts = 16...64

  static func read(_ path: String) throws(TLSContext.Failure) -> [UInt8] {
    var text: [UInt8]
    do throws(SystemError) {
      text = try File.readSmall(path, byteCountMax: 2 * keyByteCounts.upperBound + 2)
    } catch {
      throw TLSContext.Failure(reason: "\(error)")
    }
    while let last = text.last, last == UInt8(ascii: "\n") || last == UInt8(ascii: "\r") {
      text.removeLast()
    }
    let digits = text.compactMap(Hexadecimal.value(of:))
    guard digits.count == text.count, digits.count.isMultiple(of: 2),
      keyByteCounts.contains(digits.count / 2)
    else {
      throw TLSContext.Failure(
        reason: "\(path) does not hold a key: write 32 to 128 hexadecimal digits on one line")
    }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }
}

enum OpenSSL {
  /// The newest reason in this thread's queue, which is then empty.
  static func takeReason() -> String {
    let code = ERR_peek_last_error()
    ERR_clear_error()
    guard code != 0, let text = unsafe ERR_reason_error_string(code) else { return "no reason" }
    return unsafe String(cString: text)
  }

  /// In words, what `code` of a refused certificate means.
  static func text(ofRefusal code: Int32) -> String? {
    guard let text = unsafe X509_verify_cert_error_string(Int(code)) else { return nil }
    return unsafe String(cString: text)
  }
}
