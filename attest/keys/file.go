package keys

import (
	"bytes"
	"encoding/json"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// header is the readable part of a key file and the associated data of its wrapping.
type header struct {
	Format     int           `json:"format"`
	Purpose    string        `json:"purpose"` // root | unit | version | secret | sign | decrypt
	ID         sandbox.KeyID `json:"id"`
	KEK        sandbox.KeyID `json:"kek"`
	Name       string        `json:"name,omitempty"` // of a secret
	Version    *Version      `json:"version,omitempty"`
	Argon2id   *Params       `json:"argon2id,omitempty"`
	Salt       []byte        `json:"salt,omitempty"`
	Commitment []byte        `json:"commitment"` // SM3(key ‖ blind)
	Created    string        `json:"created,omitempty"`
}

type file struct {
	Header header `json:"header"`
	Nonce  []byte `json:"nonce"`
	Sealed []byte `json:"sealed"` // key ‖ 32 bytes blind
	Check  []byte `json:"check"`  // SM3 over header, nonce and sealed key
}

// seal draws a key (or takes the given 32 bytes) and gives it with the text of its file.
func (f *File) seal(kek []byte, h header, given []byte) (*Key, []byte, error) {
	defer clear(kek)
	buf := make([]byte, keyLen+blindLen)
	defer clear(buf)
	if err := f.draw(buf); err != nil {
		return nil, nil, err
	}
	copy(buf, given)
	k := &Key{id: h.ID, commitment: sm.Sum(buf)}
	copy(k.secret[:], buf)
	h.Format, h.Commitment = 1, k.commitment[:]
	ad, err := json.Marshal(h)
	if err != nil {
		return nil, nil, err
	}
	aead, err := sm.NewGCM(kek)
	if err != nil {
		return nil, nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if err := f.draw(nonce); err != nil {
		return nil, nil, err
	}
	sealed := aead.Seal(nil, nonce, buf, ad)
	text, err := file{h, nonce, sealed, checksum(ad, nonce, sealed)}.encode()
	return k, text, err
}

func checksum(header, nonce, sealed []byte) []byte {
	d := sm.Sum(sm.Frame(header, nonce, sealed))
	return d[:]
}

// encode gives the one form of a key file.
func (x file) encode() ([]byte, error) {
	b, err := json.Marshal(x)
	return append(b, '\n'), err
}

// parse reads a key file; one file has one form, so that no byte of it is outside the check.
func parse(b []byte) (file, bool) {
	var x file
	if err := json.Unmarshal(b, &x); err != nil || x.Header.Format != 1 {
		return file{}, false
	}
	again, err := x.encode()
	if err != nil || !bytes.Equal(again, b) {
		return file{}, false
	}
	ad, err := json.Marshal(x.Header)
	return x, err == nil && bytes.Equal(checksum(ad, x.Nonce, x.Sealed), x.Check)
}

func open(kek []byte, raw file, path string) (*Key, error) {
	defer clear(kek)
	ad, err := json.Marshal(raw.Header)
	if err != nil {
		return nil, tampered(path)
	}
	aead, err := sm.NewGCM(kek)
	if err != nil {
		return nil, err
	}
	if len(raw.Nonce) != aead.NonceSize() {
		return nil, tampered(path)
	}
	buf, err := aead.Open(nil, raw.Nonce, raw.Sealed, ad)
	if err != nil || len(buf) != keyLen+blindLen {
		return nil, tampered(path)
	}
	defer clear(buf)
	k := &Key{id: raw.Header.ID, commitment: sm.Sum(buf)}
	copy(k.secret[:], buf)
	return k, nil
}
