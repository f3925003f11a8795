package generalize

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
)

// Star (全部泛化) is what a value becomes that is generalised to everything, or that its hierarchy does not know.
const Star = "*"

// Bounds of a hierarchy file.
const (
	MaxHierarchyRows   = 4 << 20
	MaxHierarchyLevels = 32
	maxHierarchyBytes  = 256 << 20
)

// Hierarchy (泛化层次) says what a value becomes at each level: level 0 is the value, each next level is coarser and a
// function of the one before. It is immutable. Printing it shows its shape, no value.
type Hierarchy struct {
	name   string
	levels int
	table  map[string]int32 // of an enumerated hierarchy: row of labels
	labels []string         // row-major, levels-1 each
	rule   rule             // of a built-in one
}

// rule generalises every value of its pattern. append adds the label of v at a level from 1 to levels-1, or says false.
type rule interface {
	append(dst []byte, v string, level int) ([]byte, bool)
}

// Levels counts the levels, level 0 included.
func (h *Hierarchy) Levels() int { return h.levels }

// Name is the file or rule the hierarchy comes from.
func (h *Hierarchy) Name() string { return h.name }

// String shows the shape only.
func (h *Hierarchy) String() string {
	return fmt.Sprintf("hierarchy %s of %d levels", h.name, h.levels)
}

// GoString shows the shape only.
func (h *Hierarchy) GoString() string { return h.String() }

// Append adds the label of v at a level to dst; false, with "*" added, if the hierarchy does not know v.
func (h *Hierarchy) Append(dst []byte, v string, level int) ([]byte, bool) {
	if level < 0 || level >= h.levels {
		return append(dst, Star...), false
	}
	if h.rule != nil {
		at := max(level, 1) // level 0 is held against the pattern too
		out, ok := h.rule.append(dst, v, at)
		switch {
		case !ok:
			return append(dst, Star...), false
		case level == 0:
			return append(dst, v...), true
		}
		return out, true
	}
	row, ok := h.table[v]
	switch {
	case !ok:
		return append(dst, Star...), false
	case level == 0:
		return append(dst, v...), true
	}
	return append(dst, h.labels[int(row)*(h.levels-1)+level-1]...), true
}

func bad(object, detail, hint string) error {
	return &sandbox.Error{Op: "generalize", Kind: sandbox.Invalid, Object: object, Detail: detail, Hint: hint}
}

// ReadHierarchy reads a file in the form of ARX: one line per value, fields by ';', quoted where needed: the value, then
// its label at each level. The empty value stands for a missing one. name is used in errors. Refused, by line: a line with
// fewer or more levels than the first, an empty label, a value listed twice, and a label that two lines lead to different
// labels of the next level.
func ReadHierarchy(r io.Reader, name string) (*Hierarchy, error) {
	br := bufio.NewReader(io.LimitReader(r, maxHierarchyBytes+1))
	if head, err := br.Peek(3); err == nil && string(head) == "\xef\xbb\xbf" {
		_, _ = br.Discard(3)
	}
	counted := &counter{r: br}
	in := csv.NewReader(counted)
	in.Comma, in.FieldsPerRecord, in.ReuseRecord = ';', -1, true
	h := &Hierarchy{name: name, table: map[string]int32{}}
	var lines []int               // of each row
	var parents []map[string]int  // per level: label → row that said what follows it
	intern := map[string]string{} // labels repeat: kept once
	for {
		rec, err := in.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			var p *csv.ParseError
			if errors.As(err, &p) {
				return nil, bad(fmt.Sprintf("%s line %d", name, p.Line), "a quoted field is not closed, or a quote stands inside an unquoted one", "")
			}
			return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.Unavailable, Object: name, Detail: "the file cannot be read"}
		}
		line, _ := in.FieldPos(0)
		at := fmt.Sprintf("%s line %d", name, line)
		if counted.n > maxHierarchyBytes || len(lines) == MaxHierarchyRows {
			return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.TooLarge, Object: at, Detail: fmt.Sprintf("a hierarchy has at most %d lines and %d MiB", MaxHierarchyRows, maxHierarchyBytes>>20)}
		}
		for _, f := range rec {
			if !utf8.ValidString(f) {
				return nil, bad(at, "it is not UTF-8", "save the hierarchy as UTF-8")
			}
		}
		if h.levels == 0 {
			if len(rec) < 2 {
				return nil, bad(at, "no level: the value has no parent", "write value;level 1;level 2;…;*")
			}
			if len(rec) > MaxHierarchyLevels {
				return nil, bad(at, fmt.Sprintf("at most %d levels", MaxHierarchyLevels), "")
			}
			h.levels = len(rec)
			parents = make([]map[string]int, h.levels)
			for i := range parents {
				parents[i] = map[string]int{}
			}
		}
		if len(rec) != h.levels {
			return nil, bad(at, fmt.Sprintf("%d levels where line %d has %d: the value has no parent at every level", len(rec)-1, lines0(lines), h.levels-1),
				"give every value a label at every level, * at the last")
		}
		if row, ok := h.table[rec[0]]; ok {
			return nil, bad(at, fmt.Sprintf("its value is on line %d already", lines[row]), "keep one line per value")
		}
		row := len(lines)
		lines = append(lines, line)
		h.table[string([]byte(rec[0]))] = int32(row)
		for l := 1; l < h.levels; l++ {
			if rec[l] == "" {
				return nil, bad(at, fmt.Sprintf("level %d is empty: a hole", l), "give every value a label at every level, * at the last")
			}
			label, ok := intern[rec[l]]
			if !ok {
				label = string([]byte(rec[l]))
				intern[label] = label
			}
			h.labels = append(h.labels, label)
			if l == 1 {
				continue
			}
			child := h.labels[len(h.labels)-2]
			if said, ok := parents[l-1][child]; !ok {
				parents[l-1][child] = row
			} else if h.labels[said*(h.levels-1)+l-1] != label {
				return nil, bad(at, fmt.Sprintf("level %d is not a function of level %d: line %d gives the same label another parent", l, l-1, lines[said]),
					"give a label of one level one parent, or tell the two apart by name")
			}
		}
	}
	if h.levels == 0 {
		return nil, bad(name, "the file is empty", "write value;level 1;level 2;…;*")
	}
	return h, nil
}

func lines0(lines []int) int {
	if len(lines) == 0 {
		return 1
	}
	return lines[0]
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
