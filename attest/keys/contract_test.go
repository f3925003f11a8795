package keys_test

import (
	"crypto/rand"
	"testing"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/keys/keystest"
)

func TestFileDeviceKeepsTheContract(t *testing.T) {
	keystest.Run(t, func(_ *testing.T, dir string) keystest.Opener {
		return func(*testing.T) (keys.Device, error) {
			return keys.OpenFileDevice(keys.FileConfig{Dir: dir, Rand: rand.Reader, Passphrase: []byte("x"), Params: keys.Params{Time: 1, Memory: 64, Threads: 1}})
		}
	})
}
