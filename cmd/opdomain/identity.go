package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
)

// identity is an identity with its private keys: a key folder under a passphrase and a public description.
type identity struct {
	sandbox.Identity
	keys *keys.File
	rand io.Reader
}

const identityFile = "identity.json"

// newKeys is what it costs to open a key folder made here by its passphrase.
var newKeys = keys.Interactive()

// makeIdentity draws keys for an identity and writes its folder.
func makeIdentity(dir string, passphrase []byte, p keys.Params, rand io.Reader, id sandbox.Identity) (*identity, error) {
	k, err := keys.Create(dir, passphrase, p, rand)
	if err != nil {
		return nil, err
	}
	id.SignKey, id.EncryptKey = k.SigningKey().Public().Bytes(), k.DecryptKey().Public().Bytes()
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, identityFile), append(b, '\n'), 0o600); err != nil {
		return nil, &sandbox.Error{Op: "identity", Kind: sandbox.Unavailable, Object: string(id.ID), Err: err}
	}
	return &identity{id, k, rand}, nil
}

// openIdentity opens an identity's folder.
func openIdentity(dir string, passphrase []byte, rand io.Reader) (*identity, error) {
	b, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		return nil, &sandbox.Error{Op: "identity", Kind: sandbox.NotFound, Object: dir, Detail: "no identity in this folder", Hint: "name one with --as, e.g. DIR/identities/operator"}
	}
	var id sandbox.Identity
	if err := json.Unmarshal(b, &id); err != nil {
		return nil, &sandbox.Error{Op: "identity", Kind: sandbox.Tampered, Object: filepath.Join(dir, identityFile), Detail: "not a description of an identity"}
	}
	k, err := keys.Open(dir, passphrase, rand)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(id.SignKey, k.SigningKey().Public().Bytes()) || !bytes.Equal(id.EncryptKey, k.DecryptKey().Public().Bytes()) {
		return nil, &sandbox.Error{Op: "identity", Kind: sandbox.Tampered, Object: filepath.Join(dir, identityFile), Detail: "the public keys are not those of the private ones"}
	}
	return &identity{id, k, rand}, nil
}

// sign makes a statement of the identity.
func (i *identity) sign(context string, body any) (attest.Statement, error) {
	return attest.Sign(i.rand, i.keys.SigningKey(), i.ID, context, body)
}
