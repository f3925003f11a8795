// Package tlog is an append-only Merkle log (存证日志) in the shape of RFC 6962 with SM3 in the place of SHA-256:
// leaf = SM3(0x00 ‖ entry), node = SM3(0x01 ‖ left ‖ right), and checkpoints as C2SP signed notes under SM2. Tree
// arithmetic is transparency-dev/merkle's.
//
// A record is a 32-byte entry, which is all the tree sees, and a payload, which is opaque here. In the folder:
//
//	entries     records one after the other: uint32 big-endian payload length, entry, payload, first 8 bytes of SM3 over these
//	checkpoint  the last signed checkpoint, replaced whole
//
// Append returns when records and checkpoint are on the disk. Open recomputes the tree: a torn record behind the last
// checkpoint is the mark of a crash and is cut off; whole records behind it are kept and covered by a new checkpoint;
// anything changed, missing or moved inside the checkpointed prefix is Tampered, naming the entry. It does not detect the
// whole folder put back to an earlier state: that is what witnesses of checkpoints are for.
package tlog

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"github.com/transparency-dev/merkle/proof"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// MaxPayload bounds one record's payload in bytes.
const MaxPayload = 1 << 20

const (
	entriesFile    = "entries"
	checkpointFile = "checkpoint"
	headLen        = 4 + sm.Size
	checkLen       = 8
)

// Record (日志记录) is what one leaf stands for.
type Record struct {
	Entry   [sm.Size]byte
	Payload []byte
}

// Log (存证日志) is an open log. Safe for concurrent use; appends are serialised.
type Log struct {
	dir    string
	origin string
	key    *sm.SigningKey
	rand   io.Reader

	mu      sync.RWMutex
	file    *os.File
	offsets []int64         // of each record, and the end
	index   map[hash]uint64 // entry to number
	tree    tree
	last    Checkpoint
	broken  error // an append failed half-way: nothing more is written until the log is opened again
	torn    int64 // bytes cut off at Open
}

// Create makes an empty log in a new folder. The origin names the log in its checkpoints: 1 to 128 bytes without spaces,
// line ends and '+'.
func Create(dir, origin string, key *sm.SigningKey, rand io.Reader) (*Log, error) {
	if !validOrigin(origin) {
		return nil, &sandbox.Error{Op: "log: create", Kind: sandbox.Invalid, Object: "origin", Detail: "1 to 128 printable bytes without spaces and '+'"}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unavailable("create", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, entriesFile), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, unavailable("create", dir, err)
	}
	l := &Log{dir: dir, origin: origin, key: key, rand: rand, file: f, offsets: []int64{0}, index: map[hash]uint64{}}
	if err := l.checkpoint(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// Open opens a log and checks every record of it.
func Open(dir, origin string, key *sm.SigningKey, rand io.Reader) (*Log, error) {
	text, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		return nil, &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: checkpointFile, Detail: "the log has no readable checkpoint"}
	}
	cp, err := ParseCheckpoint(string(text))
	if err == nil && cp.Origin != origin {
		err = &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: checkpointFile, Detail: "the checkpoint of another log"}
	}
	if err == nil {
		err = cp.Verify(key.Public())
	}
	if err != nil {
		return nil, &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: checkpointFile, Detail: "the checkpoint was changed", Err: err}
	}
	f, err := os.OpenFile(filepath.Join(dir, entriesFile), os.O_RDWR, 0o600)
	if err != nil {
		return nil, &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: entriesFile, Detail: "the log has no readable entries"}
	}
	l := &Log{dir: dir, origin: origin, key: key, rand: rand, file: f, offsets: []int64{0}, index: map[hash]uint64{}, last: cp}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// load reads the entries file up to its end or first fault and holds it to the checkpoint.
func (l *Log) load() error {
	info, err := l.file.Stat()
	if err != nil {
		return unavailable("open", entriesFile, err)
	}
	r := bufio.NewReaderSize(l.file, 1<<20)
	at := int64(0)
	var fault error
	for at < info.Size() {
		rec, n, err := readRecord(r)
		if err == nil && l.has(rec.Entry) {
			err = errRecord
		}
		if err != nil {
			fault = err
			break
		}
		at += n
		l.index[rec.Entry] = l.tree.size()
		l.tree.append(rec.Entry)
		l.offsets = append(l.offsets, at)
	}
	size := l.tree.size()
	if size < l.last.Size {
		detail := fmt.Sprintf("the log is behind its checkpoint: %d whole entries of %d", size, l.last.Size)
		if errors.Is(fault, errRecord) {
			detail = fmt.Sprintf("the record was changed on the disk; the checkpoint covers %d entries", l.last.Size)
		}
		return &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: fmt.Sprintf("entry %d", size), Detail: detail,
			Hint: "restore the log folder from a backup that is not older than its checkpoint"}
	}
	root, err := l.tree.root(l.last.Size)
	if err != nil {
		return err
	}
	if root != l.last.Root {
		return &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: entriesFile, Detail: fmt.Sprintf("entries 0 to %d do not give the checkpoint's root", l.last.Size-1)}
	}
	if at < info.Size() {
		l.torn = info.Size() - at
		if err := l.file.Truncate(at); err != nil {
			return unavailable("open", entriesFile, err)
		}
		if err := l.file.Sync(); err != nil {
			return unavailable("open", entriesFile, err)
		}
	}
	if size > l.last.Size {
		return l.checkpoint()
	}
	return nil
}

// errRecord marks a record that is there and is not what was written.
var errRecord = errors.New("record")

func readRecord(r io.Reader) (Record, int64, error) {
	var head [headLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Record{}, 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxPayload {
		return Record{}, 0, errRecord
	}
	body := make([]byte, int(n)+checkLen)
	if _, err := io.ReadFull(r, body); err != nil {
		return Record{}, 0, err
	}
	sum := sm.Sum(head[:], body[:n])
	if [checkLen]byte(body[n:]) != [checkLen]byte(sum[:]) {
		return Record{}, 0, errRecord
	}
	return Record{Entry: hash(head[4:]), Payload: body[:n]}, int64(headLen) + int64(len(body)), nil
}

// Torn gives the bytes of an unfinished append that Open cut off.
func (l *Log) Torn() int64 { return l.torn }

// Append adds records in order and gives the index of the first. On return they and a checkpoint over them are durable.
func (l *Log) Append(ctx context.Context, recs ...Record) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if l.broken != nil {
		return 0, l.broken
	}
	first := l.tree.size()
	if len(recs) == 0 {
		return first, nil
	}
	fresh := make(map[hash]bool, len(recs))
	var buf []byte
	ends := make([]int64, 0, len(recs))
	end := l.offsets[len(l.offsets)-1]
	for _, r := range recs {
		if len(r.Payload) > MaxPayload {
			return 0, &sandbox.Error{Op: "log: append", Kind: sandbox.TooLarge, Object: "payload", Detail: "at most 1 MiB"}
		}
		if fresh[r.Entry] || l.has(r.Entry) {
			return 0, &sandbox.Error{Op: "log: append", Kind: sandbox.Conflict, Object: "entry", Detail: "the entry is in the log already"}
		}
		fresh[r.Entry] = true
		start := len(buf)
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(r.Payload)))
		buf = append(buf, r.Entry[:]...)
		buf = append(buf, r.Payload...)
		sum := sm.Sum(buf[start:])
		buf = append(buf, sum[:checkLen]...)
		ends = append(ends, end+int64(len(buf)))
	}
	if _, err := l.file.WriteAt(buf, end); err != nil {
		// A whole record left behind here would come alive when the log is next opened.
		if terr := l.file.Truncate(end); terr != nil {
			l.broken = unavailable("append", entriesFile, terr)
		}
		return 0, unavailable("append", entriesFile, err)
	}
	if err := l.file.Sync(); err != nil {
		// After a failed sync the kernel may have dropped the pages: only a fresh read tells what is on the disk.
		l.broken = unavailable("append", entriesFile, err)
		return 0, l.broken
	}
	for _, r := range recs {
		l.index[r.Entry] = l.tree.size()
		l.tree.append(r.Entry)
	}
	l.offsets = append(l.offsets, ends...)
	if err := l.checkpoint(); err != nil {
		l.broken = err
		return 0, err
	}
	return first, nil
}

// checkpoint signs the tree as it is and replaces the checkpoint file.
func (l *Log) checkpoint() error {
	root, err := l.tree.root(l.tree.size())
	if err != nil {
		return err
	}
	c := Checkpoint{Origin: l.origin, Size: l.tree.size(), Root: root, keyHash: keyHash(l.origin, l.key.Public())}
	if c.Signature, err = l.key.Sign(l.rand, ContextCheckpoint, []byte(c.body())); err != nil {
		return err
	}
	if err := durable.Replace(filepath.Join(l.dir, checkpointFile), []byte(c.String())); err != nil {
		return unavailable("checkpoint", checkpointFile, err)
	}
	l.last = c
	return nil
}

// Size gives the number of entries.
func (l *Log) Size() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.tree.size()
}

func (l *Log) has(entry hash) bool {
	_, ok := l.index[entry]
	return ok
}

// Find gives the number of an entry. No entry is in the log twice: each has its own salt.
func (l *Log) Find(entry [sm.Size]byte) (uint64, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i, ok := l.index[entry]
	return i, ok
}

// Origin names the log.
func (l *Log) Origin() string { return l.origin }

// Checkpoint gives the last signed checkpoint.
func (l *Log) Checkpoint() Checkpoint {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last
}

// Read gives record i.
func (l *Log) Read(i uint64) (Record, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if i >= l.tree.size() {
		return Record{}, &sandbox.Error{Op: "log: read", Kind: sandbox.NotFound, Object: fmt.Sprintf("entry %d", i), Detail: "the log is shorter"}
	}
	rec, _, err := readRecord(io.NewSectionReader(l.file, l.offsets[i], l.offsets[i+1]-l.offsets[i]))
	if err != nil {
		return Record{}, &sandbox.Error{Op: "log: read", Kind: sandbox.Tampered, Object: fmt.Sprintf("entry %d", i), Detail: "the record was changed on the disk"}
	}
	return rec, nil
}

// Records yields the records of the log as it is when called, in order; an error ends it.
func (l *Log) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for i, n := uint64(0), l.Size(); i < n; i++ {
			rec, err := l.Read(i)
			if err == nil {
				err = ctx.Err()
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// Inclusion proves that entry i is in the tree of the given size.
func (l *Log) Inclusion(i, size uint64) ([][]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if size > l.tree.size() || i >= size {
		return nil, invalid("inclusion", "an index below a size that the log has reached")
	}
	n, err := proof.Inclusion(i, size)
	if err != nil {
		return nil, invalid("inclusion", "an index below a size that the log has reached")
	}
	return l.tree.prove(n)
}

// Consistency proves that the tree of size1 is a prefix of the tree of size2.
func (l *Log) Consistency(size1, size2 uint64) ([][]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if size1 > size2 || size2 > l.tree.size() {
		return nil, invalid("consistency", "two rising sizes that the log has reached")
	}
	n, err := proof.Consistency(size1, size2)
	if err != nil {
		return nil, invalid("consistency", "two rising sizes that the log has reached")
	}
	return l.tree.prove(n)
}

// Close closes the entries file. Nothing is pending: every append was durable.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

func unavailable(op, object string, err error) error {
	return &sandbox.Error{Op: "log: " + op, Kind: sandbox.Unavailable, Object: object, Err: err}
}
