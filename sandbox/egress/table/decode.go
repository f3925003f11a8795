package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of a file. What is larger than the gate takes, but not than this, is read and withheld.
const (
	MaxBytes  = 64 << 20
	maxDepth  = 16
	maxPeople = 1 << 20 // contributors of all cells
)

func invalid(at, rule string) error {
	return &sandbox.Error{Op: "table", Kind: sandbox.Invalid, Object: at, Detail: rule}
}

// node is a JSON value and where it stands.
type node struct {
	at string
	v  any // map[string]node, []node, json.Number, string, bool or nil
}

// parse reads one JSON value strictly: UTF-8, no key twice, nothing behind it.
func parse(b []byte) (node, error) {
	if len(b) > MaxBytes {
		return node{}, &sandbox.Error{Op: "table", Kind: sandbox.TooLarge, Object: "file", Detail: fmt.Sprintf("at most %d bytes", MaxBytes)}
	}
	if !utf8.Valid(b) {
		return node{}, invalid("file", "the file is UTF-8")
	}
	var all json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		at := 0
		if s := (*json.SyntaxError)(nil); errors.As(err, &s) {
			at = int(s.Offset)
		}
		rule := "one JSON value, and nothing behind it"
		if rest := b[max(at-1, 0):]; bytes.HasPrefix(rest, []byte("N")) || bytes.HasPrefix(rest, []byte("I")) || bytes.HasPrefix(b[max(at-2, 0):], []byte("-I")) {
			rule = "not a number: NaN and Infinity are none"
		}
		return node{}, invalid(fmt.Sprintf("byte %d", at), rule)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	n, err := read(d, "", 0)
	if err != nil {
		return node{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return node{}, invalid("file", "one JSON value, and nothing behind it")
	}
	return n, nil
}

func read(d *json.Decoder, at string, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, invalid(at, "nested deeper than a table is")
	}
	t, err := d.Token()
	if err != nil {
		return node{}, invalid(at, "JSON")
	}
	switch t {
	case json.Delim('{'):
		out := map[string]node{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return node{}, invalid(at, "JSON")
			}
			key, _ := k.(string)
			place := under(at, key)
			if _, twice := out[key]; twice {
				return node{}, invalid(place, "duplicate key")
			}
			if out[key], err = read(d, place, depth+1); err != nil {
				return node{}, err
			}
		}
		_, err = d.Token()
		return node{at, out}, err
	case json.Delim('['):
		out := []node{}
		for d.More() {
			x, err := read(d, fmt.Sprintf("%s[%d]", at, len(out)), depth+1)
			if err != nil {
				return node{}, err
			}
			out = append(out, x)
		}
		_, err = d.Token()
		return node{at, out}, err
	}
	return node{at, t}, nil
}

// under names a key's place; a key that is no word of the format, nor a rule's name, stays unsaid, since it may be anything.
func under(at, key string) string {
	digits := strings.Count(strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '0'
		}
		return r
	}, key), "0")
	if len(key) > 40 || digits > 2 || strings.ContainsFunc(key, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-') }) {
		key = "(key)"
	}
	if at == "" {
		return key
	}
	return at + "." + key
}

// object gives a value's members, of known names alone.
func (n node) object(names ...string) (map[string]node, error) {
	m, ok := n.v.(map[string]node)
	if !ok {
		return nil, invalid(n.place(), "an object")
	}
	for _, k := range sortedKeys(m) {
		if !slices.Contains(names, k) {
			return nil, invalid(m[k].at, "unknown key; known are "+strings.Join(names, ", "))
		}
	}
	return m, nil
}

func sortedKeys(m map[string]node) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (n node) place() string {
	if n.at == "" {
		return "file"
	}
	return n.at
}

// member says whether a member is there; null is not.
func member(m map[string]node, name string) (node, bool) {
	n, ok := m[name]
	return n, ok && n.v != nil
}

func (n node) list() ([]node, error) {
	l, ok := n.v.([]node)
	if !ok {
		return nil, invalid(n.place(), "a list")
	}
	return l, nil
}

func (n node) text() (string, error) {
	s, ok := n.v.(string)
	if !ok {
		return "", invalid(n.place(), "a string")
	}
	return s, nil
}

func (n node) texts() ([]string, error) {
	l, err := n.list()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(l))
	for i := range l {
		if out[i], err = l[i].text(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (n node) truth() (bool, error) {
	b, ok := n.v.(bool)
	if !ok {
		return false, invalid(n.place(), "true or false")
	}
	return b, nil
}

// limit is how far values go, in units of their scale.
const limit = int64(1) << 60

// amount reads a decimal exactly as a whole number of 10^-scale.
func (n node) amount(scale int) (int64, error) {
	s, ok := n.v.(json.Number)
	if !ok {
		return 0, invalid(n.place(), "not a number")
	}
	digits, negative := strings.CutPrefix(string(s), "-")
	if strings.ContainsAny(digits, "eE") {
		return 0, invalid(n.place(), "a decimal without exponent")
	}
	whole, places, _ := strings.Cut(digits, ".")
	places = strings.TrimRight(places, "0")
	if len(places) > scale {
		return 0, invalid(n.place(), "more places than its measure's scale")
	}
	v, err := strconv.ParseInt(strings.TrimLeft(whole+places+strings.Repeat("0", scale-len(places)), "0")+"", 10, 64)
	if strings.Trim(whole+places, "0") == "" {
		v, err = 0, nil
	}
	if err != nil || v >= limit {
		return 0, invalid(n.place(), "values are within ±2^60 units of their scale")
	}
	if negative {
		v = -v
	}
	return v, nil
}

// count reads a whole number that is not negative.
func (n node) count() (int64, error) {
	if s, ok := n.v.(json.Number); ok && strings.ContainsAny(string(s), ".eE") {
		return 0, invalid(n.place(), "counts are whole numbers")
	}
	v, err := n.amount(0)
	if err == nil && v < 0 {
		return 0, invalid(n.place(), "counts are not negative")
	}
	return v, err
}
