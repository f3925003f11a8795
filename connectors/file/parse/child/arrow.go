package child

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
)

// openArrow reads IPC, as a file or as a stream: a file is a stream between two magics, with a footer of which only the length is used.
func openArrow(data []byte, _ string, mem int64) (source, error) {
	m := &messages{rest: data, room: mem / 8}
	if m.rest, m.file = bytes.CutPrefix(data, []byte("ARROW1\x00\x00")); m.file {
		var whole bool
		m.rest, whole = bytes.CutSuffix(m.rest, []byte("ARROW1"))
		if !whole || len(m.rest) < 4 {
			return nil, &wire.Fault{Rule: wire.Truncated}
		}
		at := len(m.rest) - 4
		footer := binary.LittleEndian.Uint32(m.rest[at:])
		if uint64(footer) > uint64(at) {
			return nil, &wire.Fault{Rule: wire.Truncated}
		}
		m.rest = m.rest[:at-int(footer)]
	}
	r, err := ipc.NewReaderFromMessageReader(m, ipc.WithAllocator(newBudget(mem/2)))
	if err != nil {
		return nil, m.explain(err)
	}
	s := &records{schema: r.Schema(), read: func() (arrow.Record, error) {
		if !r.Next() {
			if err := r.Err(); err != nil && err != io.EOF {
				return nil, m.explain(err)
			}
			if m.fault != nil || !m.ended { // the library takes any end for the end
				return nil, m.explain(nil)
			}
			return nil, errEnd
		}
		return r.Record(), nil
	}}
	return s, nil
}

// messages gives the messages of a stream without copying, and none whose lengths go beyond what is there: the library's own reader
// allocates what a header claims.
type messages struct {
	rest  []byte
	room  int64 // bytes that a header may make the library take
	views views
	file  bool // its end is the footer, with the mark of a stream or without
	fault *wire.Fault
	ended bool
}

const continued = 0xffffffff

func (m *messages) fail(r wire.Rule) error {
	m.fault = &wire.Fault{Rule: r}
	return m.fault
}

// explain prefers what was found here to what the library makes of it.
func (m *messages) explain(err error) error {
	switch {
	case m.fault != nil:
		return m.fault
	case err == nil:
		return &wire.Fault{Rule: wire.Truncated}
	}
	return err
}

// Message gives the next message; the stream ends with its mark, or it is not whole.
func (m *messages) Message() (*ipc.Message, error) {
	if m.ended {
		return nil, io.EOF
	}
	if m.fault != nil {
		return nil, m.fault
	}
	if m.file && len(m.rest) == 0 {
		m.ended = true
		return nil, io.EOF
	}
	size, err := m.word()
	if err == nil && size == continued { // since version 0.15
		size, err = m.word()
	}
	if err != nil {
		return nil, err
	}
	if size == 0 {
		m.ended = true
		return nil, io.EOF
	}
	if size > uint32(min(int64(len(m.rest)), 1<<30)) {
		return nil, m.fail(wire.Truncated)
	}
	meta := memory.NewBufferBytes(m.rest[:size])
	m.rest = m.rest[size:]
	if fault := claims(meta.Bytes(), m.room, &m.views); fault != nil {
		m.fault = fault
		return nil, fault
	}
	length := ipc.NewMessage(meta, memory.NewBufferBytes(nil)).BodyLen()
	if length < 0 || length > int64(len(m.rest)) {
		return nil, m.fail(wire.Truncated)
	}
	body := memory.NewBufferBytes(m.rest[:length:length])
	m.rest = m.rest[length:]
	return ipc.NewMessage(meta, body), nil
}

func (m *messages) word() (uint32, error) {
	if len(m.rest) < 4 {
		return 0, m.fail(wire.Truncated)
	}
	v := binary.LittleEndian.Uint32(m.rest)
	m.rest = m.rest[4:]
	return v, nil
}

// Release does nothing: the bytes are the file's.
func (m *messages) Release() {}

// Retain does nothing.
func (m *messages) Retain() {}
