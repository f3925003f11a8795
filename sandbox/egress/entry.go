package egress

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/opdomain/opdomain/sandbox"
)

// entryHead is the first part of an entry's bytes.
type entryHead struct {
	Question sandbox.QuestionID  `json:"question"`
	Datasets []sandbox.DatasetID `json:"datasets"`
	Measures []string            `json:"measures"`
	Heads    bool                `json:"heads"`
	People   int                 `json:"people"` // in any cell
	Cells    []entryCellHead     `json:"cells"`
}

type entryCellHead struct {
	Bitmap int   `json:"bitmap"` // bytes
	People int   `json:"people"`
	Widths []int `json:"widths"` // per measure: bytes of each part above the least one
}

// Encode gives the bytes to seal, padded with zeros to a power of two of at least 4 KiB so that their length says little
// about a population. Layout, numbers big endian: uint32 length of a JSON head, head, the tokens of all people in their order, 8 bytes
// each; then per cell a roaring bitmap in its portable format of places among the tokens, and per measure the least part, 8 bytes, and
// what each is above it in as many bytes as the head says.
func (e Entry) Encode() ([]byte, error) {
	all := e.population()
	h := entryHead{Question: e.Question, Datasets: e.Datasets, Measures: e.Measures, Heads: e.Heads, People: len(all), Cells: []entryCellHead{}}
	body := make([]byte, 0, 8*len(all))
	for _, t := range all {
		body = binary.BigEndian.AppendUint64(body, t)
	}
	var at []uint32
	for i := range e.Cells {
		c := &e.Cells[i]
		at = at[:0]
		k := 0
		for _, t := range c.People {
			n, _ := slices.BinarySearch(all[k:], t)
			k += n
			at = append(at, uint32(k))
		}
		who := roaring.BitmapOf(at...)
		who.RunOptimize()
		b, err := who.ToBytes()
		if err != nil {
			return nil, err
		}
		body = append(body, b...)
		head := entryCellHead{Bitmap: len(b), People: len(c.People), Widths: []int{}}
		for _, adds := range c.Adds {
			x := pack(adds)
			head.Widths = append(head.Widths, x.width)
			body = binary.BigEndian.AppendUint64(body, uint64(x.base))
			body = append(body, x.raw[:x.width*len(adds)]...)
		}
		h.Cells = append(h.Cells, head)
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, padded(4+len(head)+len(body)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	out = append(append(out, head...), body...)
	return out[:cap(out)], nil
}

func padded(n int) int { return 1 << max(12, bits.Len(uint(n-1))) }

// DecodeEntry reads what Encode wrote, in its one encoding; the caller has authenticated it.
func DecodeEntry(b []byte) (Entry, error) {
	bad := &sandbox.Error{Op: "ledger", Kind: sandbox.Tampered, Object: "entry", Detail: "not an entry of this ledger"}
	if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
		return Entry{}, bad
	}
	whole, n := b, int(binary.BigEndian.Uint32(b))
	var h entryHead
	dec := json.NewDecoder(bytes.NewReader(b[4 : 4+n]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return Entry{}, bad
	}
	e := Entry{Question: h.Question, Datasets: h.Datasets, Measures: h.Measures, Heads: h.Heads}
	b = b[4+n:]
	if h.People < 0 || h.People > len(b)/8 {
		return Entry{}, bad
	}
	all := make([]uint64, h.People)
	for i := range all {
		all[i] = binary.BigEndian.Uint64(b[8*i:])
		if i > 0 && all[i-1] >= all[i] { // what is compared is searched by halves
			return Entry{}, bad
		}
	}
	b = b[8*h.People:]
	for _, ch := range h.Cells {
		if ch.Bitmap < 1 || ch.Bitmap > len(b) || ch.People < 1 || ch.People > h.People || len(ch.Widths) != len(h.Measures) {
			return Entry{}, bad
		}
		who := roaring.New()
		if used, err := who.ReadFrom(bytes.NewReader(b[:ch.Bitmap])); err != nil || used != int64(ch.Bitmap) || who.Validate() != nil ||
			who.GetCardinality() != uint64(ch.People) || int(who.Maximum()) >= h.People {
			return Entry{}, bad
		}
		b = b[ch.Bitmap:]
		c := EntryCell{People: make([]uint64, 0, ch.People), Adds: make([][]int64, len(h.Measures))}
		each(who, func(_ int, at uint32) { c.People = append(c.People, all[at]) })
		for m, width := range ch.Widths {
			if width < 0 || width > 8 || len(b) < 8 || ch.People*width > len(b)-8 {
				return Entry{}, bad
			}
			x := narrow{base: int64(binary.BigEndian.Uint64(b)), width: width, raw: append(bytes.Clone(b[8:8+width*ch.People]), make([]byte, 8)...)}
			c.Adds[m] = make([]int64, ch.People)
			for i := range c.Adds[m] {
				c.Adds[m][i] = x.at(i)
			}
			b = b[8+width*ch.People:]
		}
		e.Cells = append(e.Cells, c)
	}
	if again, err := e.Encode(); err != nil || !bytes.Equal(again, whole) { // also finds what follows, and other padding
		return Entry{}, bad
	}
	return e, nil
}
