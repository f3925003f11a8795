package node

import (
	"context"
	"crypto/cipher"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// populations keeps the ledger's entries: one sealed file per answer under the folder ledger/. File names are a keyed
// hash of the question, contents 12 bytes nonce ‖ SM4-GCM bound to the name, padded by the ledger. Grade 4: they are read
// by the gate only.
type populations struct {
	dir  string
	key  []byte
	aead cipher.AEAD
	rand io.Reader

	book *egress.Book // what was read or kept by this process
}

func openPopulations(dir string, key []byte, rand io.Reader) (*populations, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &sandbox.Error{Op: "ledger: open", Kind: sandbox.Unavailable, Object: dir, Err: err}
	}
	aead, err := sm.NewGCM(key[:sm.KeySize])
	if err != nil {
		return nil, err
	}
	return &populations{dir: dir, key: key, aead: aead, rand: rand, book: egress.NewBook()}, nil
}

func (p *populations) name(q sandbox.QuestionID) string {
	mac := sm.HMAC(p.key, []byte(q))
	return hex.EncodeToString(mac[:16]) + ".pop"
}

// keep makes an entry durable.
func (p *populations) keep(e egress.Entry) error {
	b, err := e.Encode()
	if err != nil {
		return err
	}
	nonce := make([]byte, p.aead.NonceSize(), p.aead.NonceSize()+len(b)+p.aead.Overhead())
	if _, err := io.ReadFull(p.rand, nonce); err != nil {
		return &sandbox.Error{Op: "ledger: keep", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	name := p.name(e.Question)
	if err := durable.Replace(filepath.Join(p.dir, name), p.aead.Seal(nonce, nonce, b, []byte(name))); err != nil {
		return &sandbox.Error{Op: "ledger: keep", Kind: sandbox.Unavailable, Object: string(e.Question), Err: err}
	}
	p.book.Add(e)
	return nil
}

// get reads the entry of a question that has one.
func (p *populations) get(q sandbox.QuestionID) (egress.Entry, error) {
	name := p.name(q)
	b, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil || len(b) < p.aead.NonceSize() {
		return egress.Entry{}, &sandbox.Error{Op: "ledger: read", Kind: sandbox.Tampered, Object: string(q), Detail: "the population of an earlier answer is missing", Hint: "restore the folder ledger from a backup"}
	}
	n := p.aead.NonceSize()
	plain, err := p.aead.Open(nil, b[:n], b[n:], []byte(name))
	if err != nil {
		return egress.Entry{}, &sandbox.Error{Op: "ledger: read", Kind: sandbox.Tampered, Object: string(q), Detail: "the population of an earlier answer was changed", Hint: "restore the folder ledger from a backup"}
	}
	e, err := egress.DecodeEntry(plain)
	if err != nil {
		return egress.Entry{}, err
	}
	if e.Question != q {
		return egress.Entry{}, &sandbox.Error{Op: "ledger: read", Kind: sandbox.Tampered, Object: string(q), Detail: "the population of another answer"}
	}
	return e, nil
}

// load reads the entries of every answer that came before reviewers, whatever became of it: people outside the domain have seen its
// bytes. Only what the gate withheld was shown to nobody. A missing or changed entry fails closed. Those in the book are read again only
// to check them.
func (p *populations) load(ctx context.Context, n *Node, again bool) error {
	rows, err := n.docs.questions.List(ctx, listState(stateReview))
	if err != nil {
		return err
	}
	for _, r := range rows {
		for _, name := range r.Value.entries() {
			held := p.book.Holds(name)
			if held && !again {
				continue
			}
			e, err := p.get(name)
			if err != nil {
				return err
			}
			if !held {
				p.book.Add(e)
			}
		}
	}
	return nil
}
