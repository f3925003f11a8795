package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Kind (载荷类别) says what a payload carries.
type Kind byte

const (
	Batch   Kind = 1 // 数据批
	Close   Kind = 2 // 结束: Closing
	Abandon Kind = 3 // 放弃: the sender's own source is at fault; nothing of the run is to be kept
)

const (
	// HeaderSize is what stands before a payload's body; a multiple of 8, so that a batch behind it keeps its alignment.
	HeaderSize = 16
	// MaxBatch bounds an encoded batch in bytes: one frame without the header.
	MaxBatch = channel.MaxFrame - HeaderSize
	// MaxRejections bounds the lines of a closing or a report about left out rows.
	MaxRejections = 256
	// MaxUnused and MaxHeader bound what a closing says about headers that no column reads, the latter in bytes.
	MaxUnused, MaxHeader = 512, 256
)

var magic = [4]byte{'O', 'D', 'P', '1'}

// Payload (载荷) is one frame's content. Body aliases what was parsed.
type Payload struct {
	Kind  Kind
	Batch int64
	Body  []byte
}

// AppendHeader appends the header of a payload to dst; its body goes behind it.
func AppendHeader(dst []byte, k Kind, n int64) []byte {
	dst = append(dst, magic[:]...)
	dst = append(dst, byte(k), 0, 0, 0)
	return binary.BigEndian.AppendUint64(dst, uint64(n))
}

// ParsePayload reads the header of a payload.
func ParsePayload(b []byte) (Payload, error) {
	bad := func(rule string) (Payload, error) {
		return Payload{}, &sandbox.Error{Op: "push: payload", Kind: sandbox.Invalid, Object: "header", Detail: rule, Hint: "use a sender of this version"}
	}
	if len(b) < HeaderSize || [4]byte(b) != magic || b[5]|b[6]|b[7] != 0 {
		return bad("a payload begins with magic, kind and batch number")
	}
	n := binary.BigEndian.Uint64(b[8:])
	if n > 1<<62 {
		return bad("a batch number is less than 2^62")
	}
	p := Payload{Kind: Kind(b[4]), Batch: int64(n), Body: b[HeaderSize:]}
	switch {
	case p.Kind == Batch && (n == 0 || len(p.Body) == 0):
		return bad("batches are numbered from 1 and not empty")
	case p.Kind == Close && len(p.Body) == 0, p.Kind == Abandon && len(p.Body) != 0:
		return bad("a closing has a body, an abandon none")
	case p.Kind != Batch && p.Kind != Close && p.Kind != Abandon:
		return bad("kind is batch, closing or abandon")
	}
	return p, nil
}

// Rejection (剔除记录) counts the rows that one rule left out. It holds no value.
type Rejection struct {
	Column string `json:"column,omitempty"`
	Rule   string `json:"rule"`
	Rows   int64  `json:"rows"`
}

// Closing (推送结束) is what a sender says about the whole run when it has sent the last batch.
type Closing struct {
	Batches  int64       `json:"batches"`
	Rows     int64       `json:"rows"`
	Digest   []byte      `json:"digest"` // chain of all batches
	Read     int64       `json:"read"`   // rows at the origin
	Rejected []Rejection `json:"rejected,omitempty"`
	Unused   []string    `json:"unused,omitempty"` // headers at the origin that no column reads: names, never values
}

// Encode gives the JSON of a closing.
func (c Closing) Encode() ([]byte, error) { return json.Marshal(c) }

// ParseClosing reads a closing strictly.
func ParseClosing(b []byte) (Closing, error) {
	bad := func(rule string) (Closing, error) {
		return Closing{}, &sandbox.Error{Op: "push: payload", Kind: sandbox.Invalid, Object: "closing", Detail: rule}
	}
	var c Closing
	if err := json.Unmarshal(b, &c); err != nil {
		return bad("one JSON object with the known fields")
	}
	if again, err := c.Encode(); err != nil || string(again) != string(b) {
		return bad("in its one encoding")
	}
	if c.Batches < 0 || c.Rows < 0 || c.Read < 0 || len(c.Digest) != sm.Size {
		return bad("counts are not negative, a digest has 32 bytes")
	}
	if err := checkRejections(c.Rejected); err != nil {
		return Closing{}, err
	}
	if len(c.Unused) > MaxUnused || slices.ContainsFunc(c.Unused, func(h string) bool { return h == "" || len(h) > MaxHeader }) {
		return bad(fmt.Sprintf("at most %d unused headers, each of 1 to %d bytes", MaxUnused, MaxHeader))
	}
	return c, nil
}

func checkRejections(list []Rejection) error {
	ok := len(list) <= MaxRejections
	for _, r := range list {
		ok = ok && r.Rows > 0 && r.Rule != "" && len(r.Rule) <= 256 && len(r.Column) <= 256
	}
	if !ok {
		return &sandbox.Error{Op: "push: payload", Kind: sandbox.Invalid, Object: "closing",
			Detail: fmt.Sprintf("at most %d rejections, each with a rule of 1 to 256 bytes and its rows", MaxRejections)}
	}
	return nil
}

// AddRejections merges counts by column and rule. Beyond MaxRejections kinds the rest is counted in one line.
func AddRejections(list []Rejection, more ...Rejection) []Rejection {
next:
	for _, m := range more {
		for i := range list {
			if list[i].Column == m.Column && list[i].Rule == m.Rule {
				list[i].Rows += m.Rows
				continue next
			}
		}
		if len(list) >= MaxRejections-1 {
			m.Column, m.Rule = "", "further rules"
			if last := len(list) - 1; list[last].Rule == m.Rule {
				list[last].Rows += m.Rows
				continue
			}
		}
		list = append(list, m)
	}
	return list
}

// Chain (批次摘要链) is the running digest of a run's batches; the zero Chain is that of none.
type Chain struct {
	N   int64         `json:"batches"`
	Sum [sm.Size]byte `json:"sum"`
}

// Leaf digests the encoding of one batch.
func Leaf(encoded []byte) [sm.Size]byte { return sm.Sum([]byte{0}, encoded) }

// Add takes the next batch's leaf.
func (c *Chain) Add(leaf [sm.Size]byte) {
	c.Sum = sm.Sum([]byte{1}, c.Sum[:], leaf[:])
	c.N++
}
