package vault

import (
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	headerSize = 64
	chunkLog2  = 16
	chunkSize  = 1 << chunkLog2
	tagSize    = 16
	sealedSize = chunkSize + tagSize
	idSize     = 16

	groupChunks = 4 // chunks read and written at once
)

var fileMagic = [4]byte{'O', 'D', 'V', '1'}

// place says which file of which version a sealed file is; it binds the file to its name.
type place struct {
	dataset sandbox.DatasetID
	version uint64
	column  string
	keyID   sandbox.KeyID
	key     *keys.Key
	granted []byte // the file's own key, where that is all there is
}

func (p place) String() string { return fmt.Sprintf("%s v%d %s", p.dataset, p.version, p.column) }

func (p place) binding() [sm.Size]byte {
	return sm.Sum(sm.Frame([]byte(p.dataset), binary.BigEndian.AppendUint64(nil, p.version), []byte(p.column), []byte(p.keyID)))
}

// fileKey gives the key of the file with an id. It opens nothing else.
func (p place) fileKey(id []byte) ([]byte, error) {
	if p.granted != nil {
		return slices.Clone(p.granted), nil
	}
	return p.key.Derive(sm.KeySize, "opdomain/vault/v1", string(p.dataset), strconv.FormatUint(p.version, 10), p.column, hex.EncodeToString(id))
}

func (p place) aead(id []byte) (cipher.AEAD, error) {
	k, err := p.fileKey(id)
	if err != nil {
		return nil, err
	}
	defer clear(k)
	return sm.NewGCM(k)
}

func (p place) header(id []byte) [headerSize]byte {
	var h [headerSize]byte
	copy(h[:], fileMagic[:])
	binary.BigEndian.PutUint16(h[4:], 1) // format
	binary.BigEndian.PutUint16(h[6:], 1) // suite: SM4-GCM, HKDF-SM3
	h[8] = chunkLog2
	copy(h[16:], id)
	b := p.binding()
	copy(h[32:], b[:])
	return h
}

func (p place) tampered(rule string) error {
	e := &sandbox.Error{Op: "vault: open", Kind: sandbox.Tampered, Object: p.String(), Detail: rule, Hint: "restore the version's folder from a backup"}
	if p.keyID == spillKey {
		e.Hint = "find out who writes to the domain's disk, then run the job anew"
	}
	return e
}

// unread is what a failed read of p's file means: bytes that are not there were cut off, anything else is the disk.
func (p place) unread(err error, rule string) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return p.tampered(rule)
	}
	return unavailable("open", p.String(), err)
}

func chunkNonce(index uint64, last bool) (n [12]byte) {
	binary.BigEndian.PutUint64(n[:8], index)
	if last {
		n[11] = 1
	}
	return n
}

// fileWriter seals what is written to it in chunks. A full chunk is held back until it is known not to be the last.
type fileWriter struct {
	place   place
	f       durable.File
	id      [idSize]byte
	head    [headerSize]byte
	aead    cipher.AEAD
	index   uint64
	written int64
	plain   []byte // at most one chunk
	sealed  []byte // chunks waiting to be written
	group   int    // so many at once
	room    func(object string, n int) error
}

// newFile begins a sealed file of the vault, while there is room.
func (v *Vault) newFile(path string, p place) (*fileWriter, error) {
	if err := v.room(p.String(), headerSize); err != nil {
		return nil, err
	}
	w, err := newFileWriter(v.fs, path, p, v.rand)
	if err != nil {
		return nil, err
	}
	w.room = v.room
	return w, nil
}

func newFileWriter(fs durable.FS, path string, p place, rand io.Reader) (*fileWriter, error) {
	w, err := beginFile(p, rand, groupChunks)
	if err != nil {
		return nil, err
	}
	if w.f, err = fs.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return nil, unavailable("write", p.String(), err)
	}
	return w, nil
}

// beginFile gives a writer that has no file yet.
func beginFile(p place, rand io.Reader, group int) (*fileWriter, error) {
	w := &fileWriter{place: p, group: group, plain: make([]byte, 0, chunkSize), sealed: make([]byte, 0, headerSize+group*sealedSize)}
	if _, err := io.ReadFull(rand, w.id[:]); err != nil {
		return nil, unavailable("write", "randomness", err)
	}
	var err error
	if w.aead, err = p.aead(w.id[:]); err != nil {
		return nil, err
	}
	w.head = p.header(w.id[:])
	w.sealed = append(w.sealed, w.head[:]...)
	return w, nil
}

func (w *fileWriter) Write(b []byte) (int, error) {
	n := len(b)
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
	nonce := chunkNonce(w.index, last)
	w.sealed = w.aead.Seal(w.sealed, nonce[:], plain, w.head[:])
	w.index++
	if last || len(w.sealed) > (w.group-1)*sealedSize {
		if w.room != nil {
			if err := w.room(w.place.String(), len(w.sealed)); err != nil {
				return err
			}
		}
		if _, err := w.f.Write(w.sealed); err != nil {
			return unavailable("write", w.place.String(), err)
		}
		if !last && w.group > 1 {
			durable.Ahead(w.f, w.written, int64(len(w.sealed))) // or the end waits for all of it at once
			w.written += int64(len(w.sealed))
		}
		w.sealed = w.sealed[:0]
	}
	return nil
}

// end seals and writes the last chunk.
func (w *fileWriter) end() error {
	err := w.chunk(w.plain, true)
	clear(w.plain[:cap(w.plain)])
	return err
}

// finish ends the file, makes it durable and closes it.
func (w *fileWriter) finish() error {
	if err := w.end(); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return unavailable("write", w.place.String(), err)
	}
	if err := w.f.Close(); err != nil {
		return unavailable("write", w.place.String(), err)
	}
	return nil
}

// sealedFile is a sealed file opened for reading. open is safe for concurrent use.
type sealedFile struct {
	f      durable.File
	place  place
	head   [headerSize]byte
	aead   cipher.AEAD
	body   int64 // bytes behind the header
	chunks uint64
}

// openSealed opens the file at path as the file of p; id is what the manifest says, nil for the manifest itself. It
// authenticates the header and the last chunk.
func openSealed(fs durable.FS, path string, p place, id []byte) (*sealedFile, error) {
	file, err := fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, p.unread(err, "the file is missing")
	}
	f := &sealedFile{f: file, place: p}
	if err := f.start(id); err != nil {
		_ = file.Close()
		return nil, err
	}
	return f, nil
}

// again opens a file at path that was opened before, whole as it was found then: each chunk read is still authenticated in its place.
func (f *sealedFile) again(fs durable.FS, path string) (*sealedFile, error) {
	file, err := fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, f.place.unread(err, "the file is missing")
	}
	info, err := file.Stat()
	if err == nil && info.Size() != headerSize+f.body {
		err = f.place.tampered("the file is not as long as when it was opened first")
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	g := *f
	g.f = file
	return &g, nil
}

func (f *sealedFile) start(id []byte) error {
	info, err := f.f.Stat()
	if err != nil {
		return unavailable("open", f.place.String(), err)
	}
	f.body = info.Size() - headerSize
	if f.body < tagSize {
		return f.place.tampered("the file is shorter than its header and one chunk")
	}
	if _, err := f.f.ReadAt(f.head[:], 0); err != nil {
		return f.place.unread(err, "the header is cut off")
	}
	own := f.head[16 : 16+idSize]
	if id == nil {
		id = own
	}
	if f.head != f.place.header(id) {
		return f.place.tampered("the header is not the header of this file")
	}
	if f.aead, err = f.place.aead(own); err != nil {
		return err
	}
	f.chunks = uint64((f.body + sealedSize - 1) / sealedSize)
	_, plain, err := f.open(nil, nil, f.chunks-1, 1)
	clear(plain)
	return err
}

// open reads n chunks from the i-th on, or as many as there are, into the buffer sealed and opens them into plain; both
// are grown as needed and given back.
func (f *sealedFile) open(sealed, plain []byte, i uint64, n int) (_, _ []byte, err error) {
	n = int(min(uint64(n), f.chunks-i))
	at := int64(i) * sealedSize
	size := int(min(int64(n)*sealedSize, f.body-at))
	sealed = slices.Grow(sealed[:0], size)[:size]
	plain = slices.Grow(plain[:0], n*chunkSize)
	if _, err := f.f.ReadAt(sealed, headerSize+at); err != nil {
		return sealed, plain, f.place.unread(err, fmt.Sprintf("chunk %d or one of the %d behind it is cut off", i, n-1))
	}
	for k := range n {
		last := i+uint64(k) == f.chunks-1
		nonce := chunkNonce(i+uint64(k), last)
		one := sealed[k*sealedSize : min((k+1)*sealedSize, size)]
		if plain, err = f.aead.Open(plain, nonce[:], one, f.head[:]); err != nil {
			rule := "chunk %d fails authentication"
			if last {
				rule = "chunk %d, the last, fails authentication: the file is truncated or changed"
			}
			return sealed, nil, f.place.tampered(fmt.Sprintf(rule, i+uint64(k)))
		}
	}
	return sealed, plain, nil
}

// all gives the whole plaintext.
func (f *sealedFile) all() ([]byte, error) {
	_, plain, err := f.open(nil, nil, 0, int(f.chunks))
	return plain, err
}

func (f *sealedFile) Close() error { return f.f.Close() }
