package main

import (
	"context"
	"crypto/cipher"

	"github.com/opdomain/opdomain/attest/sm"
)

// cipherCases lists SM4-GCM alone over blocks of 64 KiB on one core, the ceiling of all that is sealed: what the domain uses on this
// processor and the library beside it.
func cipherCases(bytes int64) ([]benchmark, error) {
	const size = 64 << 10
	times := max(1, int(bytes/size))
	var cases []benchmark
	for _, c := range []struct {
		name string
		make func([]byte) (cipher.AEAD, error)
	}{{"", sm.NewGCM}, {"the library's ", sm.NewLibraryGCM}} {
		aead, err := c.make(make([]byte, sm.KeySize))
		if err != nil {
			return nil, err
		}
		plain, nonce := make([]byte, size), make([]byte, aead.NonceSize())
		box := aead.Seal(nil, nonce, plain, nil)
		out := make([]byte, 0, len(box))
		cases = append(cases,
			benchmark{name: c.name + "SM4-GCM alone, seal 64 KiB blocks (the ceiling)", bytes: int64(times) * size, run: func(context.Context) error {
				for range times { // a measurement under a key of zeros: the nonce may repeat
					out = aead.Seal(out[:0], nonce, plain, nil)
				}
				return nil
			}},
			benchmark{name: c.name + "SM4-GCM alone, open 64 KiB blocks (the ceiling)", bytes: int64(times) * size, run: func(context.Context) error {
				for range times {
					if _, err := aead.Open(out[:0], nonce, box, nil); err != nil {
						return err
					}
				}
				return nil
			}})
	}
	return cases, nil
}
