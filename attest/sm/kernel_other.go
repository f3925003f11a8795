//go:build !amd64 || purego

package sm

import "crypto/cipher"

// This build has no kernel.

func newKernel([]byte) cipher.AEAD { return nil }

type ecb struct{}

func newECB([]byte) *ecb    { return nil }
func (*ecb) encrypt([]byte) { panic("sm: this build has no kernel") }
func (*ecb) decrypt([]byte) { panic("sm: this build has no kernel") }
