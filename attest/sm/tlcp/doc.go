// Package tlcp runs TLCP (传输层密码协议, GB/T 38636, GM/T 0024) with certificates on both sides: suite ECC_SM4_CBC_SM3
// (0xE013) and no other, no tickets, no renegotiation. The protocol engine is tjfoc/gmsm; every private-key operation runs
// on emmansun/gmsm and every certificate goes through pki.Verifier, which closes the engine's known defects: a decrypting
// key answers a malformed key exchange as it answers a well-formed one, a panic of the engine ends one connection, a server
// that leaves out its signature is refused.
//
// A connection is handed out after its handshake and names its peer. Handshakes are bounded in number and in time.
// Server answers are the engine's alerts; errors here are *sandbox.Error, Unavailable for transport and protocol, or the
// pki fault of the peer's certificates. It carries requests, not data: its records are serial CBC, some tens of MB/s; bulk
// connections of attest/channel carry data.
//
// The suite has no forward secrecy: who gets the server's encryption key opens recorded connections. A signing key of a
// certificate also signs handshake texts, of which the peer chooses 32 bytes; texts of other statements begin otherwise,
// yet a key of its own for TLCP is the better practice. The engine prints failed handshakes to standard output and offers
// no way not to; such a line names no peer, key or value.
package tlcp
