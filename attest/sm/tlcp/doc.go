// Package tlcp runs TLCP (传输层密码协议, GB/T 38636, GM/T 0024) with certificates on both sides: suite ECC_SM4_CBC_SM3
// (0xE013) and no other, no tickets, no renegotiation. The protocol engine is tjfoc/gmsm; every private-key operation runs
// on emmansun/gmsm and every certificate goes through pki.Verifier, which closes the engine's known defects: a decrypting
// key answers a malformed key exchange as it answers a well-formed one, a panic of the engine ends one connection, a server
// that leaves out its signature is refused.
//
// A connection is handed out after its handshake and names its peer. Handshakes are bounded in number and in time.
// Server answers are the engine's alerts; errors here are *sandbox.Error: Unavailable for transport, protocol and a peer
// the engine refuses before the verifier sees it (no certificate, another authority's), otherwise the pki fault or what
// Config.Allow says. It carries requests, not data: its records are serial CBC, some tens of MB/s; bulk connections of
// attest/channel carry data.
//
// The suite has no forward secrecy: who gets the server's encryption key opens recorded connections. A signing key of a
// certificate also signs handshake texts, of which the peer chooses 32 bytes; texts of other statements begin otherwise,
// yet a key of its own for TLCP is the better practice. The engine prints every failed handshake to standard output and
// offers no way not to: up to two lines a connection, which may hold addresses and, quoted, names out of the peer's
// certificate, never a key. A process that serves TLCP does not use its standard output for anything that is parsed. A
// stock client of the engine must be given both certificates as one chain, or it sends only the first and is refused.
package tlcp
