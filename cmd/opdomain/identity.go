package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

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

// passphraseFor finds the passphrase: the named file, the environment, the file beside the domain folder, a prompt.
func (a *app) passphraseFor(dir string) ([]byte, error) {
	if a.passphrase == "-" {
		b, err := io.ReadAll(io.LimitReader(a.in, 4<<10))
		if b = bytes.TrimRight(b, "\r\n"); err == nil && len(b) == 0 {
			err = &sandbox.Error{Op: "passphrase", Kind: sandbox.Invalid, Object: "standard input", Detail: "it is empty"}
		}
		return b, err
	}
	if a.passphrase != "" {
		return readPassphrase(a.passphrase)
	}
	if s := os.Getenv("OPDOMAIN_PASSPHRASE"); s != "" {
		return []byte(s), nil
	}
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if b, err := readPassphrase(d + ".passphrase"); err == nil {
			return b, nil
		}
		if d == filepath.Dir(d) || d == "." {
			break
		}
	}
	if f, ok := a.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if _, err := io.WriteString(a.err, "passphrase 口令: "); err != nil {
			return nil, err
		}
		b, err := term.ReadPassword(int(f.Fd()))
		_, _ = io.WriteString(a.err, "\n")
		return b, err
	}
	return nil, &sandbox.Error{Op: "passphrase", Kind: sandbox.Passphrase, Object: dir, Detail: "no passphrase was given",
		Hint: "--passphrase-file FILE, or set OPDOMAIN_PASSPHRASE"}
}

func readPassphrase(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &sandbox.Error{Op: "passphrase", Kind: sandbox.NotFound, Object: path, Detail: "the file cannot be read"}
	}
	b = []byte(strings.TrimRight(string(b), "\r\n"))
	if len(b) == 0 {
		return nil, &sandbox.Error{Op: "passphrase", Kind: sandbox.Invalid, Object: path, Detail: "the file is empty"}
	}
	return b, nil
}
