// Package pki is the domain's own certificate authority (域证书机构) and the check of what it issues: X.509 (GB/T 20518)
// under SM2 with SM3 (GB/T 32918, GB/T 32905), two certificates per identity as TLCP (GB/T 38636) wants them, one to sign
// and one to decrypt, and a certificate revocation list.
//
// The holder makes both keys itself and sends a PKCS#10 request for each, which proves possession; a private key never
// travels. A certificate names domain, party, identity and role in its subject and, in one URI
// opdomain://<domain>/<party>/<identity>, in its alternative name; the authority's own certificate allows no further
// authority below it and, by name constraint, only its domain. Serial numbers are 128 random bits. An Authority keeps no
// file: its certificate and its newest list are its whole state.
//
// Verifier checks one certificate for one purpose, or a pair, at a time. It fails closed: without a list, or with one
// whose next update is past, nothing is valid. Bytes are read strictly: one PEM block and nothing around it, one DER
// encoding, a point of the SM2 curve, SM2 with SM3 and no other signature.
//
// Every refusal is a *sandbox.Error whose cause is a Fault, so that errors.Is(err, pki.Revoked) holds; kinds are Invalid
// for malformed bytes, Tampered for signatures, Expired for times, Denied for the rest. Not here: key storage, partners'
// authorities, online status.
package pki
