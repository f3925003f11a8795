package token

import (
	"bytes"
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"

	"github.com/opdomain/opdomain/sandbox/classify"
)

// Normal (规范形式) is the one form that a value's token is of: half-width, NFC, without space around it; a resident identity number, as
// classify.NormalizeResidentID has it, without spaces and hyphens and with a capital X. A value that is not UTF-8 stays.
func Normal(v string) string { return string(normal(nil, []byte(v))) }

// normal appends the normal form of v.
func normal(dst, v []byte) []byte {
	if !utf8.Valid(v) {
		return append(dst, v...)
	}
	if !isASCII(v) {
		for { // to the point where neither changes it: a fold may leave what composes, and composing what folds
			next := norm.NFC.Bytes(width.Fold.Bytes(v))
			if bytes.Equal(next, v) {
				break
			}
			v = next
		}
	}
	v = bytes.TrimFunc(v, unicode.IsSpace)
	if mayBeID(v) {
		if id, ok := classify.NormalizeResidentID(string(v)); ok {
			return append(dst, id...)
		}
	}
	return append(dst, v...)
}

// mayBeID says whether trimmed ASCII may be an identity number in another form than its own.
func mayBeID(v []byte) bool {
	switch n := len(v); {
	case n < 18 || n > 36:
		return false
	case n == 18 && v[17] == 'x':
		return true
	case n == 18:
		return false
	}
	return v[0] <= '9' && (bytes.IndexByte(v, ' ') >= 0 || bytes.IndexByte(v, '-') >= 0 || !isASCII(v))
}

// normalised gives the column with each value in its normal form: the same one, unless a value changes. Of ASCII only the ends of
// values are looked at, and what is as long as a written identity number.
func (t *texts) normalised() *texts {
	first := t.changed()
	if first < 0 {
		return t
	}
	out := &texts{offsets: make([]int32, 1, t.len()+1), nulls: t.nulls, valid: t.valid, shift: t.shift}
	out.data = make([]byte, 0, int(t.offsets[t.len()]-t.offsets[0]))
	for i := range t.len() {
		if !t.null(i) {
			if v := t.row(i); i < first {
				out.data = append(out.data, v...)
			} else {
				out.data = normal(out.data, v)
			}
		}
		out.offsets = append(out.offsets, int32(len(out.data)))
	}
	return out
}

// changed gives a row that none before needs another form, or -1 where none does.
func (t *texts) changed() int {
	if t.len() == 0 {
		return -1
	}
	if !isASCII(t.data[t.offsets[0]:t.offsets[t.len()]]) {
		return 0
	}
	data, at := t.data, int(t.offsets[0])
	for i, to := range t.offsets[1:] {
		end := int(to)
		if n := end - at; n > 0 {
			last := data[end-1]
			if data[at] <= ' ' || last <= ' ' || n == 18 && last == 'x' || n > 18 && mayBeID(data[at:end]) {
				return i
			}
		}
		at = end
	}
	return -1
}

func isASCII(b []byte) bool {
	for ; len(b) >= 32; b = b[32:] {
		if (binary.LittleEndian.Uint64(b)|binary.LittleEndian.Uint64(b[8:])|binary.LittleEndian.Uint64(b[16:])|binary.LittleEndian.Uint64(b[24:]))&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
