package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/keys/pkcs11"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/node"
)

// deviceFile, in the key folder, says which device holds its key-encrypting keys; without it they are in files under the
// passphrase.
const deviceFile = "device.json"

// deviceSetup names a token of a PKCS#11 module. The passphrase is the token's PIN.
type deviceSetup struct {
	Module    string `json:"module"` // path of the module's library
	Token     string `json:"token"`  // label
	Serial    string `json:"serial,omitempty"`
	Label     string `json:"label"`     // before every object: the domain
	Mechanism string `json:"mechanism"` // AES-256-GCM or AES-256-CBC; a device with SM4 has vendor numbers of its own
}

// openKeyFolder opens a key folder, with the device it names.
func (a *app) openKeyFolder(dir string, passphrase []byte) (*keys.Vault, error) {
	device, err := a.device(dir, passphrase)
	if err != nil {
		return nil, err
	}
	if device == nil {
		return keys.Open(dir, passphrase, a.rand)
	}
	d, err := device()
	if err != nil {
		return nil, err
	}
	return keys.OpenVault(keys.Config{Dir: dir, Rand: a.rand, Device: d, VersionKEKs: d.Describe().Erases})
}

// device gives what opens the device that a key folder names; nil when it names none.
func (a *app) device(dir string, pin []byte) (func() (keys.Device, error), error) {
	b, err := os.ReadFile(filepath.Join(dir, deviceFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var d deviceSetup
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		return nil, &sandbox.Error{Op: "device", Kind: sandbox.Tampered, Object: deviceFile, Detail: "not a description of a device"}
	}
	return a.token(d, pin)
}

func (a *app) token(d deviceSetup, pin []byte) (func() (keys.Device, error), error) {
	mechanism := pkcs11.AES256GCM()
	switch d.Mechanism {
	case "", "AES-256-GCM":
	case "AES-256-CBC":
		mechanism = pkcs11.AES256CBC()
	default:
		return nil, &sandbox.Error{Op: "device", Kind: sandbox.Invalid, Object: "mechanism", Detail: "AES-256-GCM or AES-256-CBC"}
	}
	return func() (keys.Device, error) {
		a.moduleMu.Lock()
		defer a.moduleMu.Unlock()
		m := a.modules[d.Module] // a module is loaded once in a process
		if m == nil {
			var err error
			if m, err = pkcs11.Load(d.Module); err != nil {
				return nil, err
			}
			if a.modules == nil {
				a.modules = map[string]*pkcs11.Module{}
			}
			a.modules[d.Module] = m
		}
		return m.Open(pkcs11.Config{Token: d.Token, Serial: d.Serial, PIN: pin, Label: d.Label, Mechanism: mechanism, Rand: a.rand})
	}, nil
}

// keepDevice writes the description of a new key folder's device.
func keepDevice(dir string, d deviceSetup) error {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.Replace(filepath.Join(dir, deviceFile), append(b, '\n')); err != nil {
		return &sandbox.Error{Op: "init", Kind: sandbox.Unavailable, Object: dir, Err: err}
	}
	return nil
}

// pinned reads witnesses that are named on the command line, as URL=FILE of their witness.json.
func (a *app) pinned(list []string) ([]node.Witness, error) {
	var out []node.Witness
	for _, x := range list {
		url, path, ok := strings.Cut(x, "=")
		if !ok {
			return nil, usageError{invalid("--witness", "URL=FILE, the witness's address and its witness.json", "--witness http://HOST:8480=agency.json")}
		}
		var w witnessSetup
		if err := a.readJSON(path, &w); err != nil {
			return nil, fmt.Errorf("--witness: %w", err)
		}
		out = append(out, node.Witness{Name: w.Name, Party: w.Party, URL: url, Key: w.Key})
	}
	return out, nil
}
