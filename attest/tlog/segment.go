package tlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// segmentLen is the number of records in a full segment: whole tiles of the second level, so that the edge of the tree at a
// segment's start is read from tiles alone.
const segmentLen = tileWidth * tileWidth

// erasedMark stands in the place of a length: the payload was erased.
const erasedMark = 1<<32 - 1

const (
	recordsDir = "records"
	headLen    = 4 + sm.Size
	checkLen   = 8
)

func segmentName(n uint64) string { return fmt.Sprintf("%08d", n) }
func offsetsName(n uint64) string { return segmentName(n) + ".offsets" }

// errRecord marks a record that is there and is not what was written.
var errRecord = errors.New("record")

// appendRecord writes a record's bytes.
func appendRecord(b []byte, r Record) []byte {
	start := len(b)
	n := uint32(len(r.Payload))
	if r.Erased {
		n = erasedMark
	}
	b = binary.BigEndian.AppendUint32(b, n)
	b = append(b, r.Entry[:]...)
	b = append(b, r.Payload...)
	sum := sm.Sum(b[start:])
	return append(b, sum[:checkLen]...)
}

func readRecord(r io.Reader) (Record, int64, error) {
	var head [headLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Record{}, 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	erased := n == erasedMark
	if erased {
		n = 0
	}
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
	return Record{Entry: hash(head[4:]), Payload: body[:n:n], Erased: erased}, int64(headLen) + int64(len(body)), nil
}

// segment is one file of records.
type segment struct {
	file durable.File
	ends []int64 // where each record ends
}

func (s *segment) start(i int) int64 {
	if i == 0 {
		return 0
	}
	return s.ends[i-1]
}

func (s *segment) read(i int) (Record, error) {
	rec, _, err := readRecord(io.NewSectionReader(s.file, s.start(i), s.ends[i]-s.start(i)))
	return rec, err
}

// scan reads a segment from its start and gives what is whole, and the fault that ends it, if any.
func (s *segment) scan(each func(Record) error) (fault error, err error) {
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(s.file, 1<<20)
	s.ends = s.ends[:0]
	at := int64(0)
	for at < info.Size() && len(s.ends) < segmentLen {
		rec, n, err := readRecord(r)
		if err != nil {
			if !errors.Is(err, errRecord) && err != io.EOF && err != io.ErrUnexpectedEOF {
				return nil, err
			}
			return err, nil
		}
		if err := each(rec); err != nil {
			return nil, err
		}
		at += n
		s.ends = append(s.ends, at)
	}
	if at < info.Size() {
		return errRecord, nil
	}
	return nil, nil
}

// end gives where the last record ends.
func (s *segment) end() int64 { return s.start(len(s.ends)) }

// openSegment opens a full segment by its offsets, which are rebuilt from the records when they do not fit.
func openSegment(fs durable.FS, dir string, n uint64) (*segment, error) {
	path := filepath.Join(dir, recordsDir, segmentName(n))
	f, err := fs.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: filepath.ToSlash(filepath.Join(recordsDir, segmentName(n))), Detail: "a file of records is missing",
			Hint: "restore the log folder from a backup"}
	}
	if err != nil {
		return nil, unavailable("open", segmentName(n), err)
	}
	s := &segment{file: f}
	if err := s.offsets(fs, filepath.Join(dir, recordsDir, offsetsName(n)), n); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *segment) offsets(fs durable.FS, path string, n uint64) error {
	info, err := s.file.Stat()
	if err != nil {
		return unavailable("open", segmentName(n), err)
	}
	b, err := durable.ReadFile(fs, path)
	if err == nil && len(b) == 8*segmentLen {
		s.ends = make([]int64, segmentLen)
		last, rising := int64(0), true
		for i := range s.ends {
			s.ends[i] = int64(binary.BigEndian.Uint64(b[8*i:]))
			rising = rising && s.ends[i] > last
			last = s.ends[i]
		}
		if rising && last == info.Size() {
			return nil
		}
	}
	fault, err := s.scan(func(Record) error { return nil })
	if err != nil {
		return unavailable("open", segmentName(n), err)
	}
	if fault != nil || len(s.ends) != segmentLen {
		return &sandbox.Error{Op: "log: open", Kind: sandbox.Tampered, Object: fmt.Sprintf("entry %d", n*segmentLen+uint64(len(s.ends))),
			Detail: "the record was changed on the disk, or records are missing", Hint: "restore the log folder from a backup"}
	}
	return s.writeOffsets(fs, path)
}

// writeOffsets keeps where records end; it is brought back from the records when lost.
func (s *segment) writeOffsets(fs durable.FS, path string) error {
	b := make([]byte, 0, 8*len(s.ends))
	for _, e := range s.ends {
		b = binary.BigEndian.AppendUint64(b, uint64(e))
	}
	if err := durable.ReplaceIn(fs, path, b); err != nil {
		return unavailable("append", filepath.Base(path), err)
	}
	return nil
}
