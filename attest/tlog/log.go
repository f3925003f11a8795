// Package tlog is an append-only Merkle log (存证日志) in the shape of RFC 6962 with SM3 in the place of SHA-256:
// leaf = SM3(0x00 ‖ entry), node = SM3(0x01 ‖ left ‖ right), tiles as C2SP tlog-tiles lays them out, and checkpoints as C2SP
// signed notes under SM2, with the co-signatures of witnesses. Tree arithmetic is transparency-dev/merkle's.
//
// A record is a 32-byte entry, which is all the tree sees, and a payload, which is opaque here. In the folder:
//
//	checkpoint              the last signed checkpoint, replaced whole
//	witnessed               the last checkpoint a quorum of witnesses has signed too
//	records/<n>             segment n: 65,536 records one after the other: uint32 big-endian payload length (2^32-1: erased),
//	                        entry, payload, first 8 bytes of SM3 over these
//	records/<n>.offsets     where each record of a full segment ends; brought back from it when lost
//	tile/<level>/<n>        full tiles of 256 hashes; tile/entries/<n> bundles of 256 entries (uint16 length each)
//
// Append returns when records and checkpoint are on the disk; callers that append at the same time share one write, sync and
// signature. Open reads the last segment and the edge of the tree: a torn record behind the last checkpoint is the mark of
// a crash and is cut off; whole records behind it are kept and covered by a new checkpoint; a checkpoint whose root the
// tree does not give is Tampered. Every record read is held to its own checksum and its leaf, every proof to the checkpoint
// before it is given out, and Audit reads everything, naming the first entry or file that is not what was written.
//
// Memory does not grow with the log. It does not detect the whole folder put back to an earlier state: that is what
// witnesses of checkpoints are for (package witness).
package tlog

import (
	"context"
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

// MaxPayload bounds one record's payload in bytes.
const MaxPayload = 1 << 20

const (
	checkpointFile = "checkpoint"
	witnessedFile  = "witnessed"

	maxBatch      = 4096     // records that share one sync
	maxBatchBytes = 16 << 20 // their bytes
	openSegments  = 8        // full segments kept open for reading
)

// Record (日志记录) is what one leaf stands for.
type Record struct {
	Entry   [sm.Size]byte
	Payload []byte
	Erased  bool // the payload was erased; the entry stays
}

// Config (日志参数) says where a log is and who signs for it.
type Config struct {
	FS     durable.FS // nil: the machine's
	Dir    string
	Origin string // names the log in its checkpoints: 1 to 128 bytes without spaces, line ends and '+'
	Key    *sm.SigningKey
	Rand   io.Reader
}

// Log (存证日志) is an open log. Safe for concurrent use.
type Log struct {
	c Config

	queueMu sync.Mutex
	queue   []*appending

	commitMu sync.Mutex // one batch is written at a time
	broken   error      // an append failed half-way: nothing more is written until the log is opened again

	witnessMu sync.Mutex // of the witnessed file

	mu     sync.RWMutex // guards the rest; not held while the disk syncs
	tiles  tiles
	number uint64   // of the segment that is written
	open   *segment // it
	full   map[uint64]*segment
	last   Checkpoint
	torn   int64
}

type appending struct {
	recs  []Record
	bytes int
	first uint64
	err   error
	done  bool
}

// Create makes an empty log in a new folder.
func Create(c Config) (*Log, error) {
	if !validOrigin(c.Origin) {
		return nil, &sandbox.Error{Op: "log: create", Kind: sandbox.Invalid, Object: "origin", Detail: "1 to 128 printable bytes without spaces and '+'"}
	}
	l := newLog(c)
	if err := l.c.FS.MkdirAll(filepath.Join(c.Dir, recordsDir), 0o700); err != nil {
		return nil, unavailable("create", c.Dir, err)
	}
	if _, err := l.c.FS.Stat(filepath.Join(c.Dir, checkpointFile)); err == nil {
		return nil, &sandbox.Error{Op: "log: create", Kind: sandbox.Conflict, Object: c.Dir, Detail: "the folder holds a log already"}
	}
	if err := l.newSegment(0); err != nil {
		return nil, err
	}
	if err := l.c.FS.SyncDir(c.Dir); err != nil {
		return nil, errors.Join(unavailable("create", c.Dir, err), l.open.file.Close())
	}
	cp, err := l.sign()
	if err == nil {
		err = l.keep(cp)
	}
	if err != nil {
		return nil, errors.Join(err, l.open.file.Close())
	}
	l.last = cp
	return l, nil
}

func newLog(c Config) *Log {
	if c.FS == nil {
		c.FS = durable.OS()
	}
	return &Log{c: c, tiles: tiles{fs: c.FS, dir: c.Dir, fresh: map[string]bool{}}, full: map[uint64]*segment{}}
}

// newSegment makes the file of segment n and appends to it from now on.
func (l *Log) newSegment(n uint64) error {
	path := filepath.Join(l.c.Dir, recordsDir, segmentName(n))
	// A file left by a crash before its first record was acknowledged holds nothing that counts.
	f, err := l.c.FS.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err == nil {
		err = l.c.FS.SyncDir(filepath.Join(l.c.Dir, recordsDir))
	}
	if err != nil {
		return unavailable("append", segmentName(n), err)
	}
	l.number, l.open = n, &segment{file: f, ends: make([]int64, 0, segmentLen)}
	return nil
}

// Open opens a log.
func Open(c Config) (*Log, error) {
	l := newLog(c)
	bad := func(detail string, err error) error {
		return &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: checkpointFile, Detail: detail, Err: err}
	}
	text, err := durable.ReadFile(l.c.FS, filepath.Join(c.Dir, checkpointFile))
	if err != nil {
		return nil, bad("the log has no readable checkpoint", nil)
	}
	cp, err := ParseCheckpoint(string(text))
	if err == nil && cp.Origin != c.Origin {
		return nil, bad("the checkpoint of another log", nil)
	}
	if err == nil {
		err = cp.Verify(c.Key.Public())
	}
	if err != nil {
		return nil, bad("the checkpoint was changed", err)
	}
	l.last = cp
	if err := l.load(); err != nil {
		if l.open != nil {
			err = errors.Join(err, l.open.file.Close())
		}
		return nil, err
	}
	return l, nil
}

// load reads the segment that holds the checkpoint's last entry, and one begun behind it.
func (l *Log) load() error {
	n := l.last.Size / segmentLen
	if n > 0 && l.last.Size%segmentLen == 0 {
		// The next one may not have been made yet.
		if _, err := l.c.FS.Stat(filepath.Join(l.c.Dir, recordsDir, segmentName(n))); errors.Is(err, os.ErrNotExist) {
			n--
		}
	}
	if err := l.tiles.resume(n * segmentLen); err != nil {
		return err
	}
	torn, err := l.loadSegment(n)
	if err != nil {
		return err
	}
	// A batch that filled this segment may have gone on in the next.
	for next := l.number + 1; len(l.open.ends) == segmentLen && torn == 0; next++ {
		if _, err := l.c.FS.Stat(filepath.Join(l.c.Dir, recordsDir, segmentName(next))); errors.Is(err, os.ErrNotExist) {
			break
		}
		if err := l.fill(); err != nil {
			return err
		}
		if torn, err = l.loadSegment(next); err != nil {
			return err
		}
	}
	if size := l.tiles.size; size < l.last.Size {
		return l.behind(size, torn)
	}
	root, err := l.tiles.root(l.last.Size)
	if err != nil {
		return err
	}
	if root != l.last.Root {
		return &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: recordsDir, Detail: fmt.Sprintf("entries 0 to %d do not give the checkpoint's root", l.last.Size-1),
			Hint: "opdomain evidence audit names the first that was changed; restore the log folder from a backup"}
	}
	if torn > 0 {
		if err := l.open.file.Truncate(l.open.end()); err != nil {
			return unavailable("open", segmentName(l.number), err)
		}
		l.torn = torn
	}
	if l.tiles.size == l.last.Size && torn == 0 {
		return nil
	}
	// Whole records behind the checkpoint may never have been synced: who wrote them died before it.
	if err := l.open.file.Sync(); err != nil {
		return unavailable("open", segmentName(l.number), err)
	}
	if err := l.c.FS.SyncDir(filepath.Join(l.c.Dir, recordsDir)); err != nil {
		return unavailable("open", recordsDir, err)
	}
	if l.tiles.size == l.last.Size {
		return nil
	}
	cp, err := l.sign()
	if err == nil {
		err = l.keep(cp)
	}
	l.last = cp
	return err
}

func (l *Log) behind(size uint64, torn int64) error {
	detail := fmt.Sprintf("the log is behind its checkpoint: %d whole entries of %d", size, l.last.Size)
	if torn > 0 {
		detail = fmt.Sprintf("the record was changed on the disk or cut off; the checkpoint covers %d entries", l.last.Size)
	}
	return &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: fmt.Sprintf("entry %d", size), Detail: detail,
		Hint: "restore the log folder from a backup that is not older than its checkpoint"}
}

// loadSegment reads a segment into the tree. torn is how many bytes at its end are no whole record.
func (l *Log) loadSegment(n uint64) (torn int64, err error) {
	path := filepath.Join(l.c.Dir, recordsDir, segmentName(n))
	f, err := l.c.FS.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: filepath.ToSlash(filepath.Join(recordsDir, segmentName(n))), Detail: "a file of records is missing",
			Hint: "restore the log folder from a backup"}
	}
	if err != nil {
		return 0, unavailable("open", segmentName(n), err)
	}
	if l.open != nil {
		l.shelve(l.number, l.open)
	}
	l.number, l.open = n, &segment{file: f, ends: make([]int64, 0, segmentLen)}
	seen := make(map[hash]bool)
	twice := errors.New("twice")
	fault, err := l.open.scan(func(r Record) error {
		if seen[r.Entry] {
			return twice
		}
		seen[r.Entry] = true
		return l.tiles.append(r.Entry)
	})
	if errors.Is(err, twice) { // a record copied behind the others
		fault, err = errRecord, nil
	}
	if err != nil {
		return 0, unavailable("open", segmentName(n), err)
	}
	if fault == nil {
		return 0, nil
	}
	info, err := f.Stat()
	if err != nil {
		return 0, unavailable("open", segmentName(n), err)
	}
	return max(1, info.Size()-l.open.end()), nil
}

// fill ends a full segment: its tiles and offsets become durable before the next one begins.
func (l *Log) fill() error {
	if err := l.tiles.settle(); err != nil {
		return err
	}
	return l.open.writeOffsets(l.c.FS, filepath.Join(l.c.Dir, recordsDir, offsetsName(l.number)))
}

// shelve keeps a full segment open for reading, a few at a time.
func (l *Log) shelve(n uint64, s *segment) {
	if len(l.full) >= openSegments {
		for k, old := range l.full {
			_ = old.file.Close()
			delete(l.full, k)
			break
		}
	}
	l.full[n] = s
}

// Torn gives the bytes of an unfinished append that Open cut off.
func (l *Log) Torn() int64 { return l.torn }

// Append adds records in order and gives the index of the first. On return they and a checkpoint over them are durable.
// Entries are salted by who makes them and cannot repeat; what one call holds twice is Conflict.
func (l *Log) Append(ctx context.Context, recs ...Record) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(recs) == 0 {
		return l.Size(), nil
	}
	a := &appending{recs: recs}
	own := make(map[hash]bool, len(recs))
	for _, r := range recs {
		if len(r.Payload) > MaxPayload || r.Erased {
			return 0, &sandbox.Error{Op: "log: append", Kind: sandbox.TooLarge, Object: "payload", Detail: "at most 1 MiB"}
		}
		if own[r.Entry] {
			return 0, &sandbox.Error{Op: "log: append", Kind: sandbox.Conflict, Object: "entry", Detail: "the entry is there twice"}
		}
		own[r.Entry] = true
		a.bytes += len(r.Payload) + headLen + checkLen
	}
	l.queueMu.Lock()
	l.queue = append(l.queue, a)
	l.queueMu.Unlock()
	// Whoever gets the lock writes what waits, its own among it, in the order it came.
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	for !a.done {
		l.commit(l.take())
	}
	return a.first, a.err
}

// take gives the batch that is written next: at least one call's records.
func (l *Log) take() []*appending {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	n, recs, size := 0, 0, 0
	for ; n < len(l.queue); n++ {
		recs += len(l.queue[n].recs)
		size += l.queue[n].bytes
		if n > 0 && (recs > maxBatch || size > maxBatchBytes) {
			break
		}
	}
	batch := l.queue[:n:n]
	l.queue = l.queue[n:]
	return batch
}

// commit writes a batch. Callers hold commitMu.
func (l *Log) commit(batch []*appending) {
	err := l.broken
	if err == nil {
		err = l.write(batch)
	}
	for _, a := range batch {
		a.err, a.done = err, true
	}
}

// write makes a batch durable: records, tree, checkpoint. An error before the tree has changed takes the records back; one
// after it leaves what is on the disk to the next Open.
func (l *Log) write(batch []*appending) error {
	size := l.tiles.size
	for _, a := range batch {
		a.first = size
		size += uint64(len(a.recs))
	}
	var recs []Record
	for _, a := range batch {
		recs = append(recs, a.recs...)
	}
	began := len(l.open.ends)
	first := true
	for len(recs) > 0 {
		if len(l.open.ends) == segmentLen {
			if err := l.next(); err != nil {
				l.broken = err
				return err
			}
			began = 0
		}
		n := min(len(recs), segmentLen-began)
		if err := l.put(recs[:n], first); err != nil {
			return err
		}
		recs, first = recs[n:], false
		began = len(l.open.ends)
	}
	cp, err := l.sign()
	if err == nil {
		err = l.keep(cp)
	}
	if err != nil {
		l.broken = err
		return err
	}
	l.mu.Lock()
	l.last = cp
	l.mu.Unlock()
	return nil
}

// put writes records into the open segment and the tree.
func (l *Log) put(recs []Record, first bool) error {
	end := l.open.end()
	var buf []byte
	ends := make([]int64, 0, len(recs))
	for _, r := range recs {
		buf = appendRecord(buf, r)
		ends = append(ends, end+int64(len(buf)))
	}
	if _, err := l.open.file.WriteAt(buf, end); err != nil {
		// A whole record left behind here would come alive when the log is next opened.
		if terr := l.open.file.Truncate(end); terr != nil || !first {
			l.broken = unavailable("append", segmentName(l.number), errors.Join(err, terr))
		}
		return unavailable("append", segmentName(l.number), err)
	}
	if err := l.open.file.Sync(); err != nil {
		// After a failed sync the kernel may have dropped the pages: only a fresh read tells what is on the disk.
		l.broken = unavailable("append", segmentName(l.number), err)
		return l.broken
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range recs {
		if err := l.tiles.append(r.Entry); err != nil {
			l.broken = err
			return err
		}
	}
	l.open.ends = append(l.open.ends, ends...)
	return nil
}

// next begins the next segment.
func (l *Log) next() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fill(); err != nil {
		return err
	}
	l.shelve(l.number, l.open)
	return l.newSegment(l.number + 1)
}

// sign signs the tree as it is.
func (l *Log) sign() (Checkpoint, error) {
	l.mu.Lock()
	root, err := l.tiles.root(l.tiles.size)
	c := Checkpoint{Origin: l.c.Origin, Size: l.tiles.size, Root: root, keyHash: keyHash(l.c.Origin, l.c.Key.Public())}
	l.mu.Unlock()
	if err != nil {
		return c, err
	}
	c.Signature, err = l.c.Key.Sign(l.c.Rand, ContextCheckpoint, []byte(c.body()))
	return c, err
}

// keep replaces the checkpoint file.
func (l *Log) keep(c Checkpoint) error {
	if err := durable.ReplaceIn(l.c.FS, filepath.Join(l.c.Dir, checkpointFile), []byte(c.String())); err != nil {
		return unavailable("checkpoint", checkpointFile, err)
	}
	return nil
}

// Size gives the number of entries under the last checkpoint.
func (l *Log) Size() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last.Size
}

// Origin names the log.
func (l *Log) Origin() string { return l.c.Origin }

// Key gives the key that checkpoints are signed with.
func (l *Log) Key() *sm.VerifyKey { return l.c.Key.Public() }

// Checkpoint gives the last signed checkpoint.
func (l *Log) Checkpoint() Checkpoint {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last
}

// Close closes the files. Nothing is pending: every append was durable.
func (l *Log) Close() error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := []error{l.open.file.Close()}
	for _, s := range l.full {
		errs = append(errs, s.file.Close())
	}
	l.full = map[uint64]*segment{}
	return errors.Join(errs...)
}

func unavailable(op, object string, err error) error {
	return &sandbox.Error{Op: "log: " + op, Kind: sandbox.Unavailable, Object: object, Err: err}
}
