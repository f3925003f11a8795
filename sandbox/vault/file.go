package vault

import (
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	headerSize = 64
	chunkLog2  = 16
	chunkSize  = 1 << chunkLog2
	tagSize    = 16
	idSize     = 16
)

var fileMagic = [4]byte{'O', 'D', 'V', '1'}

// place says which file of which version a sealed file is; it binds the file to its name.
type place struct {
	dataset sandbox.DatasetID
	version uint64
	column  string
	key     *keys.Key
}

func (p place) String() string { return fmt.Sprintf("%s v%d %s", p.dataset, p.version, p.column) }

func (p place) binding() [sm.Size]byte {
	return sm.Sum(sm.Frame([]byte(p.dataset), binary.BigEndian.AppendUint64(nil, p.version), []byte(p.column), []byte(p.key.ID())))
}

func (p place) aead(id []byte) (cipher.AEAD, error) {
	k, err := p.key.Derive(sm.KeySize, "opdomain/vault/v1", string(p.dataset), fmt.Sprint(p.version), p.column, hex.EncodeToString(id))
	if err != nil {
		return nil, err
	}
	return sm.NewGCM(k)
}

func (p place) header(id []byte) [headerSize]byte {
	var h [headerSize]byte
	copy(h[:], fileMagic[:])
	binary.BigEndian.PutUint16(h[4:], 1) // version
	binary.BigEndian.PutUint16(h[6:], 1) // suite: SM4-GCM, HKDF-SM3
	h[8] = chunkLog2
	copy(h[16:], id)
	b := p.binding()
	copy(h[32:], b[:])
	return h
}

func (p place) tampered(rule string) error {
	return &sandbox.Error{Op: "vault: open", Kind: sandbox.Tampered, Object: p.String(), Detail: rule, Hint: "restore the version's folder from a backup"}
}

func chunkNonce(index uint64, last bool) []byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[:8], index)
	if last {
		n[11] = 1
	}
	return n[:]
}

// fileWriter seals what is written to it in chunks. A full chunk is held back until it is known not to be the last.
type fileWriter struct {
	f      *os.File
	id     [idSize]byte
	head   [headerSize]byte
	aead   cipher.AEAD
	index  uint64
	plain  []byte // at most one chunk
	sealed []byte // chunks waiting to be written
	size   int64  // plaintext bytes
}

// writeAhead is how many sealed bytes gather before a write.
const writeAhead = 8 * (chunkSize + tagSize)

func newFileWriter(path string, p place, rand io.Reader) (*fileWriter, error) {
	w := &fileWriter{plain: make([]byte, 0, chunkSize), sealed: make([]byte, 0, writeAhead+chunkSize+tagSize)}
	if _, err := io.ReadFull(rand, w.id[:]); err != nil {
		return nil, &sandbox.Error{Op: "vault: write", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	var err error
	if w.aead, err = p.aead(w.id[:]); err != nil {
		return nil, err
	}
	w.head = p.header(w.id[:])
	if w.f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return nil, unavailable("write", p.String(), err)
	}
	w.sealed = append(w.sealed, w.head[:]...)
	return w, nil
}

func (w *fileWriter) Write(b []byte) (int, error) {
	n := len(b)
	w.size += int64(n)
	for len(b) > 0 {
		if len(w.plain) == chunkSize {
			if err := w.chunk(w.plain, false); err != nil {
				return 0, err
			}
			w.plain = w.plain[:0]
		}
		if len(w.plain) == 0 && len(b) > chunkSize { // straight from the caller's bytes
			if err := w.chunk(b[:chunkSize], false); err != nil {
				return 0, err
			}
			b = b[chunkSize:]
			continue
		}
		k := min(chunkSize-len(w.plain), len(b))
		w.plain = append(w.plain, b[:k]...)
		b = b[k:]
	}
	return n, nil
}

func (w *fileWriter) chunk(plain []byte, last bool) error {
	w.sealed = w.aead.Seal(w.sealed, chunkNonce(w.index, last), plain, w.head[:])
	w.index++
	if len(w.sealed) >= writeAhead || last {
		if _, err := w.f.Write(w.sealed); err != nil {
			return unavailable("write", w.f.Name(), err)
		}
		w.sealed = w.sealed[:0]
	}
	return nil
}

// finish seals the last chunk and makes the file durable.
func (w *fileWriter) finish() error {
	if err := w.chunk(w.plain, true); err != nil {
		return err
	}
	clear(w.plain[:cap(w.plain)])
	if err := w.f.Sync(); err != nil {
		return unavailable("write", w.f.Name(), err)
	}
	return w.f.Close()
}

// fileReader opens a sealed file front to back. Opening authenticates the header and the last chunk, so that a truncated
// file fails before any of it is used.
type fileReader struct {
	f      *os.File
	place  place
	head   [headerSize]byte
	aead   cipher.AEAD
	chunks uint64
	body   int64
	index  uint64
	sealed []byte
	plain  []byte
	rest   []byte // of plain, not yet read
}

// openFile opens the file at path as the file of p; id is what the manifest says, nil for the manifest itself.
func openFile(path string, p place, id []byte) (*fileReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, p.tampered("the file is missing or unreadable")
	}
	r := &fileReader{f: f, place: p, sealed: make([]byte, chunkSize+tagSize)}
	if err := r.start(id); err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

func (r *fileReader) start(id []byte) error {
	info, err := r.f.Stat()
	if err != nil {
		return unavailable("open", r.place.String(), err)
	}
	r.body = info.Size() - headerSize
	if r.body < tagSize {
		return r.place.tampered("the file is shorter than its header and one chunk")
	}
	if _, err := io.ReadFull(r.f, r.head[:]); err != nil {
		return r.place.tampered("the header cannot be read")
	}
	own := r.head[16 : 16+idSize]
	if id == nil {
		id = own
	}
	if r.head != r.place.header(id) {
		return r.place.tampered("the header is not the header of this file")
	}
	if r.aead, err = r.place.aead(own); err != nil {
		return err
	}
	r.chunks = uint64((r.body + chunkSize + tagSize - 1) / (chunkSize + tagSize))
	at := headerSize + int64(r.chunks-1)*(chunkSize+tagSize)
	last := r.sealed[:info.Size()-at]
	if _, err := r.f.ReadAt(last, at); err != nil {
		return r.place.tampered("the last chunk cannot be read")
	}
	if _, err := r.aead.Open(nil, chunkNonce(r.chunks-1, true), last, r.head[:]); err != nil {
		return r.place.tampered(fmt.Sprintf("chunk %d, the last, fails authentication: the file is truncated or changed", r.chunks-1))
	}
	return nil
}

// Read gives plaintext; io.EOF after the last chunk.
func (r *fileReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(r.rest) > 0 {
			k := copy(p[n:], r.rest)
			r.rest = r.rest[k:]
			n += k
			continue
		}
		if r.index == r.chunks {
			if n == 0 && len(p) > 0 {
				return 0, io.EOF
			}
			return n, nil
		}
		dst := r.plain[:0]
		direct := len(p)-n >= chunkSize // a whole chunk fits: open it in place
		if direct {
			dst = p[n:n:len(p)]
		}
		out, err := r.chunk(dst)
		if err != nil {
			return n, err
		}
		if direct {
			n += len(out)
		} else {
			r.plain, r.rest = out, out
		}
	}
	return n, nil
}

func (r *fileReader) chunk(dst []byte) ([]byte, error) {
	last := r.index == r.chunks-1
	size := int64(chunkSize + tagSize)
	if last {
		size = r.body - int64(r.chunks-1)*size
	}
	if _, err := io.ReadFull(r.f, r.sealed[:size]); err != nil {
		return nil, r.place.tampered(fmt.Sprintf("chunk %d cannot be read", r.index))
	}
	out, err := r.aead.Open(dst, chunkNonce(r.index, last), r.sealed[:size], r.head[:])
	if err != nil {
		return nil, r.place.tampered(fmt.Sprintf("chunk %d fails authentication", r.index))
	}
	r.index++
	return out, nil
}

func (r *fileReader) Close() error {
	clear(r.plain[:cap(r.plain)])
	return r.f.Close()
}

func unavailable(op, object string, err error) error {
	return &sandbox.Error{Op: "vault: " + op, Kind: sandbox.Unavailable, Object: object, Err: err}
}
