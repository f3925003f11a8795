package vault

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	spillDir  = ".spill" // no dataset is named so
	spillName = "spill"
	spillKey  = ".spill" // no key is named so
)

// Spill (落盘密封) holds on disk, sealed, what one job could not keep in memory. Each file is a Sealed file of this package whose key is
// drawn for it alone and never leaves memory: what a crash or a thief of the disk has of it are random bytes. Job, number of the file,
// chunk and last flag are bound, so that a chunk moved anywhere else fails. A file's name goes as soon as it is made, where the
// system allows, else with Close, else when the vault is next opened.
//
// The vault's Reserve is kept. Errors name job and file: Tampered for bytes that were changed or cut off, TooLarge when only the reserve
// is left, Unavailable for the disk. Memory: 0.2 MiB for each file that is written or read. Safe for concurrent use; a file is
// written by one goroutine and may then be read by several.
type Spill struct {
	fs   durable.FS
	dir  string
	rand io.Reader
	room func(object string, n int) error
	job  string

	mu    sync.Mutex
	files map[*SpillFile]bool
	next  uint64
}

// Spill begins the spill of a job in the vault's folder, in which nothing is made before the first file.
func (v *Vault) Spill() (*Spill, error) { return newSpill(v.fs, v.dir, v.rand, v.room) }

// SpillIn begins the spill of a job in another process of the domain, which has the vault's folder and neither its keys nor its reserve.
func SpillIn(fs durable.FS, dir string, rand io.Reader) (*Spill, error) {
	if fs == nil {
		fs = durable.OS()
	}
	return newSpill(fs, dir, rand, nil)
}

func newSpill(fs durable.FS, dir string, rand io.Reader, room func(string, int) error) (*Spill, error) {
	var id [idSize]byte
	if _, err := io.ReadFull(rand, id[:]); err != nil {
		return nil, unavailable("spill", "randomness", err)
	}
	return &Spill{fs: fs, dir: filepath.Join(dir, spillDir), rand: rand, room: room, job: hex.EncodeToString(id[:]), files: map[*SpillFile]bool{}}, nil
}

// SpillFile (落盘密封文件) is written from its start to its end, then read as often as needed.
type SpillFile struct {
	s      *Spill
	place  place
	id     [idSize]byte
	path   string // "" once its name is gone
	f      durable.File
	mu     sync.Mutex
	w      *fileWriter // nil once it was read
	failed error       // of writing
	closed bool
}

// Create makes a file.
func (s *Spill) Create() (_ *SpillFile, err error) {
	s.mu.Lock()
	n := s.next
	s.next++
	s.mu.Unlock()
	p := place{dataset: spillName, version: n, column: s.job, keyID: spillKey, granted: make([]byte, sm.KeySize)}
	if s.room != nil {
		if err := s.room(p.String(), headerSize); err != nil {
			return nil, err
		}
	}
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return nil, unavailable("spill", p.String(), err)
	}
	if _, err := io.ReadFull(s.rand, p.granted); err != nil {
		return nil, unavailable("spill", "randomness", err)
	}
	w, err := beginFile(p, s.rand, 1)
	if err != nil {
		return nil, err
	}
	w.room = s.room
	x := &SpillFile{s: s, place: p, id: w.id, path: filepath.Join(s.dir, fmt.Sprintf("%s-%d", s.job, n)), w: w}
	if x.f, err = s.fs.OpenFile(x.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		return nil, unavailable("spill", p.String(), err)
	}
	w.f = x.f
	if s.fs.Remove(x.path) == nil {
		x.path = ""
	}
	s.mu.Lock()
	s.files[x] = true
	s.mu.Unlock()
	return x, nil
}

// Write appends. After an error every call gives it again.
func (x *SpillFile) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil {
		return 0, x.failed
	}
	if x.w == nil || x.closed {
		return 0, &sandbox.Error{Op: "vault: spill", Kind: sandbox.Internal, Object: x.place.String(), Detail: "a file is written before it is read and closed"}
	}
	n, err := x.w.Write(b)
	x.failed = err
	return n, err
}

// Open reads the file from its start. Nothing is written behind the first Open. A reader may end before the file does.
func (x *SpillFile) Open() (io.ReadCloser, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil {
		return nil, x.failed
	}
	if x.closed {
		return nil, &sandbox.Error{Op: "vault: spill", Kind: sandbox.Internal, Object: x.place.String(), Detail: "a closed file is not read"}
	}
	if x.w != nil {
		if err := x.w.end(); err != nil {
			x.failed = err
			return nil, err
		}
	}
	x.w = nil
	f := &sealedFile{f: x.f, place: x.place}
	if err := f.start(x.id[:]); err != nil {
		return nil, err
	}
	return &spillReader{f: f}, nil
}

// Close erases the file and its key. Its readers end before.
func (x *SpillFile) Close() error {
	x.s.mu.Lock()
	delete(x.s.files, x)
	x.s.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	if x.w != nil {
		clear(x.w.plain[:cap(x.w.plain)])
		x.w = nil
	}
	clear(x.place.granted)
	err := x.f.Close()
	if x.path != "" {
		err = errors.Join(err, x.s.fs.Remove(x.path))
	}
	if err != nil {
		return unavailable("spill", x.place.String(), err)
	}
	return nil
}

// Close erases all that the job has left.
func (s *Spill) Close() error {
	s.mu.Lock()
	var left []*SpillFile
	for x := range s.files {
		left = append(left, x)
	}
	s.mu.Unlock()
	var errs []error
	for _, x := range left {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

// spillReader gives a file's plaintext, a chunk at a time.
type spillReader struct {
	f             *sealedFile
	sealed, plain []byte
	rest          []byte
	next          uint64
}

func (r *spillReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.next == r.f.chunks {
			return 0, io.EOF
		}
		var err error
		if r.sealed, r.plain, err = r.f.open(r.sealed, r.plain, r.next, 1); err != nil {
			return 0, err
		}
		r.rest = r.plain
		r.next++
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close clears what was read; the file stays.
func (r *spillReader) Close() error {
	clear(r.plain[:cap(r.plain)])
	r.rest, r.next = nil, r.f.chunks
	return nil
}

// swept removes what a job of an earlier process left.
func (v *Vault) swept() error {
	if err := v.fs.RemoveAll(filepath.Join(v.dir, spillDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return unavailable("open", spillName, err)
	}
	return nil
}
