package child

import (
	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
)

// Places of the format's tables that hold a vector, a text or another table: 4 and twice the number of the field.
const (
	messageKind, messageHeader             = 4 + 2*1, 4 + 2*2
	schemaFields, schemaTexts              = 4 + 2*1, 4 + 2*2
	fieldName, fieldKind, fieldType        = 4, 4 + 2*2, 4 + 2*3
	fieldDictionary                        = 4 + 2*4
	fieldChildren, fieldTexts              = 4 + 2*5, 4 + 2*6
	batchBuffers, batchViews               = 4 + 2*2, 4 + 2*4
	dictionaryID, dictionaryBatch          = 4, 4 + 2*1
	timestampZone                          = 4 + 2*1
	textKey, textValue                     = 4, 4 + 2*1
	kindSchema, kindDictionary, kindRecord = 1, 2, 3
	kindTimestamp                          = 10
	kindBinaryView, kindTextView           = 23, 24
	fieldSize                              = 128 // bytes of the library's own form of a field, or more
	maxFieldDepth                          = 64
)

// claim adds up what a header makes the library take: it makes room for all members of a vector before it reads the first one, and a
// table or a text that is named from many places is read as often. Members that are not there have no room.
type claim struct {
	b     []byte
	room  int64
	views *views
	fault *wire.Fault // the first; nothing is followed past it
}

// views are how many columns of views a record batch has, and a dictionary of an id: for each the library reads a number of buffers, past the end
// of their vector where that is shorter.
type views struct {
	columns      int
	dictionaries map[int64]*int
}

// claims looks at the header of a message before the library does. v is filled by the schema,
// which comes first.
func claims(b []byte, room int64, v *views) (fault *wire.Fault) {
	defer func() {
		if recover() != nil { // of the reader of tables, about a place outside
			fault = &wire.Fault{Rule: wire.Malformed}
		}
	}()
	c := claim{b: b, room: room, views: v}
	message := flatbuffers.Table{Bytes: b, Pos: flatbuffers.GetUOffsetT(b)}
	header, ok := c.table(message, messageHeader)
	if !ok {
		return nil // the library says so
	}
	switch message.GetByteSlot(messageKind, 0) {
	case kindSchema:
		*v = views{dictionaries: map[int64]*int{}}
		c.fields(header, schemaFields, 0, &v.columns)
		c.texts(header, schemaTexts)
	case kindDictionary:
		if batch, ok := c.table(header, dictionaryBatch); ok {
			n := 0
			if of := v.dictionaries[header.GetInt64Slot(dictionaryID, 0)]; of != nil {
				n = *of
			}
			c.buffers(batch, n)
		}
	case kindRecord:
		c.buffers(header, v.columns)
	}
	return c.fault
}

func (c *claim) refuse(r wire.Rule) {
	if c.fault == nil {
		c.fault = &wire.Fault{Rule: r}
	}
}

// vector gives the members of a vector: how many, and where the first is. Each of size bytes takes bytes of the library's memory.
func (c *claim) vector(t flatbuffers.Table, place flatbuffers.VOffsetT, size, takes int64) (n int, at flatbuffers.UOffsetT) {
	o := flatbuffers.UOffsetT(t.Offset(place))
	if o == 0 {
		return 0, 0
	}
	n, at = t.VectorLen(o), t.Vector(o)
	if int64(at)+int64(n)*size > int64(len(c.b)) {
		c.refuse(wire.Truncated)
		return 0, 0
	}
	if c.room -= int64(n) * takes; c.room < 0 {
		c.refuse(wire.Memory)
		return 0, 0
	}
	return n, at
}

func (c *claim) text(t flatbuffers.Table, place flatbuffers.VOffsetT) { c.vector(t, place, 1, 1) }

func (c *claim) table(t flatbuffers.Table, place flatbuffers.VOffsetT) (flatbuffers.Table, bool) {
	o := flatbuffers.UOffsetT(t.Offset(place))
	if o == 0 {
		return flatbuffers.Table{}, false
	}
	return flatbuffers.Table{Bytes: c.b, Pos: t.Indirect(t.Pos + o)}, true
}

// each calls f for the tables of a vector.
func (c *claim) each(t flatbuffers.Table, place flatbuffers.VOffsetT, f func(flatbuffers.Table)) {
	n, at := c.vector(t, place, flatbuffers.SizeUOffsetT, fieldSize)
	for i := 0; i < n && c.fault == nil; i++ {
		f(flatbuffers.Table{Bytes: c.b, Pos: t.Indirect(at + flatbuffers.UOffsetT(i*flatbuffers.SizeUOffsetT))})
	}
}

func (c *claim) texts(t flatbuffers.Table, place flatbuffers.VOffsetT) {
	c.each(t, place, func(kv flatbuffers.Table) {
		c.text(kv, textKey)
		c.text(kv, textValue)
	})
}

// fields adds up the fields of a vector, and counts those that are of views into a record batch's or into their dictionary's.
func (c *claim) fields(t flatbuffers.Table, place flatbuffers.VOffsetT, depth int, counted *int) {
	c.each(t, place, func(field flatbuffers.Table) {
		if depth > maxFieldDepth {
			c.refuse(wire.Nesting)
			return
		}
		c.text(field, fieldName)
		c.texts(field, fieldTexts)
		of := counted
		if d, ok := c.table(field, fieldDictionary); ok {
			id := d.GetInt64Slot(dictionaryID, 0)
			if c.views.dictionaries[id] == nil {
				c.views.dictionaries[id] = new(int)
			}
			of = c.views.dictionaries[id]
		}
		switch field.GetByteSlot(fieldKind, 0) {
		case kindBinaryView, kindTextView:
			*of++
		case kindTimestamp:
			if typ, ok := c.table(field, fieldType); ok {
				c.text(typ, timestampZone)
			}
		}
		c.fields(field, fieldChildren, depth+1, of)
	})
}

// buffers holds the numbers of buffers that columns of views say they have to the buffers that there are: of each such column one, or of none.
func (c *claim) buffers(batch flatbuffers.Table, columns int) {
	buffers, _ := c.vector(batch, batchBuffers, 16, 0)
	n, at := c.vector(batch, batchViews, 8, 0)
	if batch.Offset(batchViews) != 0 && n < columns {
		c.refuse(wire.Truncated)
	}
	for i := range n {
		if v := flatbuffers.GetInt64(c.b[int(at)+8*i:]); v < 0 || v > int64(buffers) {
			c.refuse(wire.Truncated)
		}
	}
}
