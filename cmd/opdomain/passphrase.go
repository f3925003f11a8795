package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/opdomain/opdomain/sandbox"
)

// minPassphrase is how many bytes a passphrase has when it is set. What was set before still opens.
const minPassphrase = 12

// longEnough refuses a passphrase that is too short to be set: whoever copies a key folder may guess at it for as long as
// they like.
func longEnough(object string, p []byte) error {
	if len(p) < minPassphrase {
		return &sandbox.Error{Op: "passphrase", Kind: sandbox.Invalid, Object: object, Detail: "a new passphrase has 12 bytes or more: a copy of the keys can be guessed at without end",
			Hint: "take five random words, or openssl rand -hex 16"}
	}
	return nil
}

// newPassphraseFor finds the passphrase that keys are made under.
func (a *app) newPassphraseFor(dir string) ([]byte, error) {
	p, err := a.passphraseFor(dir)
	if err == nil {
		err = longEnough(dir, p)
	}
	return p, err
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
	for _, path := range beside(dir) {
		if b, err := readPassphrase(path); !errors.Is(err, sandbox.NotFound) {
			return b, err
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

// beside lists where a folder's passphrase is looked for: DIR.passphrase, then the same of the folders above, for an identity
// inside a domain's folder.
func beside(dir string) (paths []string) {
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		paths = append(paths, d+".passphrase")
		if d == filepath.Dir(d) || d == "." {
			return paths
		}
	}
}

// readPassphrase reads a passphrase's file, which nobody but its owner may.
func readPassphrase(path string) ([]byte, error) {
	absent := &sandbox.Error{Op: "passphrase", Kind: sandbox.NotFound, Object: path, Detail: "the file cannot be read"}
	f, err := os.Open(path)
	if err != nil {
		return nil, absent
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		return nil, absent
	}
	if info.Mode()&fs.ModeType == 0 && info.Mode().Perm()&othersMay(path) != 0 {
		return nil, &sandbox.Error{Op: "passphrase", Kind: sandbox.Denied, Object: path, Detail: "others may read it or write to it", Hint: "chmod 600 " + path}
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, absent
	}
	if b = bytes.TrimRight(b, "\r\n"); len(b) == 0 {
		return nil, &sandbox.Error{Op: "passphrase", Kind: sandbox.Invalid, Object: path, Detail: "the file is empty"}
	}
	return b, nil
}

// othersMay gives the rights that a passphrase's file may not have. In the folder of credentials that a service manager makes,
// the service's user is let in by an access list, and the list's mask stands where the group's rights do.
func othersMay(path string) fs.FileMode {
	if c := os.Getenv("CREDENTIALS_DIRECTORY"); c != "" && filepath.Dir(filepath.Clean(path)) == filepath.Clean(c) {
		return 0o037
	}
	return 0o077
}
