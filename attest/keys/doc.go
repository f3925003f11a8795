// Package keys is the domain's key vault (密钥库): the key hierarchy in a folder, over a Device that holds its roots.
//
//	device: root KEK          → domain secrets, the domain's SM2 signing and decryption keys
//	        KEK per source unit → DEK per dataset version → column and file keys (HKDF-SM3)
//	        KEK per version     (configuration; inside the unit's, so that either one's end is the version's)
//
// Every key is random; a key is wrapped, never derived from one that outlives it. One file per key holds a JSON header and
// the wrapped key; the header names driver, mechanism and KEK and is the associated data of the wrapping, so a file cannot
// be renamed, moved to another dataset or edited. Files are replaced whole and are readable by their owner only. An SM3
// checksum beside the wrapping tells a damaged root file from a wrong passphrase. Open reads names, not version keys.
//
// Devices: FileDevice (passphrase → Argon2id → root KEK, SM4-GCM, everything in files) and package pkcs11 (KEKs are
// objects of a token). What differs is where the KEKs live and what destroying one proves; an Erasure says exactly that.
//
// A device of GM/T 0018 (SDF) fits the same methods: Check is SDF_OpenDevice, SDF_OpenSession, SDF_GetDeviceInfo; Generate
// is SDF_GenerateKeyWithKEK under the root's index, its ciphertext kept in a file; Wrap and Unwrap load the KEK by
// SDF_ImportKeyWithKEK and use SDF_Encrypt and SDF_Decrypt, which bind no associated data, so the envelope of package
// pkcs11 goes around them; Destroy is SDF_DestroyKey, which ends a session's handle: a KEK under an index is erased by
// the device's own management, and the statement would say so. SDF_InternalSign_ECC would answer signing. Not built.
//
// Rotation re-wraps file by file while keys already handed out go on working. A journal file is written first and removed
// last; the next Open goes on where a crash stopped. At every point each key opens under the old or the new KEK.
//
// Errors: Passphrase when the passphrase (or PIN) does not open the root, Tampered naming the file when any file was
// changed, NotFound for a key that does not exist or was destroyed, Unavailable for a key used after Close or Destroy and
// for a device that does not answer, Denied for what a device cannot do.
//
// Limits: version keys, secrets and the two SM2 keys are in the process's memory while it runs, under every device; Close
// zeroes the symmetric ones it holds, not copies the runtime made, keys derived from them, or the SM2 keys, which their
// library keeps. An older copy of the folder opens with what opened it then: a passphrase changed, or a KEK rotated in
// files, does not reach backups. One process at a time has a folder open; the caller holds the lock.
// 依据: GB/T 39786-2021 asks for a device at level 3.
package keys
