//go:build !cgo

package pkcs11

import (
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
)

// Module (密码机接口库) is a loaded PKCS#11 library; none can be loaded in this build.
type Module struct{}

// Load is Unavailable in a build without cgo.
func Load(string) (*Module, error) {
	return nil, &sandbox.Error{Op: "pkcs11: load", Kind: sandbox.Unavailable, Object: "module", Detail: "this build has no PKCS#11", Hint: "build with CGO_ENABLED=1"}
}

// Open is Unavailable in a build without cgo.
func (*Module) Open(Config) (keys.Device, error) {
	_, err := Load("")
	return nil, err
}

// Close does nothing.
func (*Module) Close() error { return nil }
