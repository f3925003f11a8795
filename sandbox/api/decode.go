package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
)

// maxDepth bounds the nesting of a body.
const maxDepth = 32

func malformed(object, rule string) error {
	return &sandbox.Error{Op: "request: decode", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// decode reads exactly one JSON value into v. Unknown and repeated fields, invalid UTF-8 and trailing bytes are refused:
// what was signed and what is read must not differ by reader. The error names the place, never a value.
func decode(b []byte, v any) error {
	if !utf8.Valid(b) {
		return malformed("body", "is not UTF-8")
	}
	if err := checkFields(b); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var wrong *json.UnmarshalTypeError
		var own *sandbox.Error
		switch {
		case errors.As(err, &own):
			return own
		case errors.As(err, &wrong):
			return malformed("body", fmt.Sprintf("field %q has another type", wrong.Field))
		case strings.HasPrefix(err.Error(), "json: unknown field "): // checkFields left only plain names
			return malformed("body", strings.TrimPrefix(err.Error(), "json: "))
		}
		return malformed("body", "a field's value has the wrong form")
	}
	return nil
}

// checkFields walks the tokens of b: one value, field names plain and not repeated, nesting bounded. encoding/json
// matches names without regard to case, so names outside a-z, 0-9 and '_' are refused rather than folded.
func checkFields(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil in an array
		value bool            // the next token is a field's value
	}
	var open []level
	for {
		t, err := d.Token()
		if err == io.EOF && len(open) == 0 {
			return malformed("body", "is empty")
		}
		if err != nil {
			return malformed("body", fmt.Sprintf("is not JSON at byte %d", d.InputOffset()))
		}
		var in *level
		if n := len(open); n > 0 {
			in = &open[n-1]
		}
		if name, ok := t.(string); ok && in != nil && in.names != nil && !in.value {
			if err := checkName(name, in.names); err != nil {
				return err
			}
			in.value = true
			continue
		}
		if in != nil {
			in.value = false
		}
		if c, ok := t.(json.Delim); ok {
			switch c {
			case '{':
				open = append(open, level{names: map[string]bool{}})
			case '[':
				open = append(open, level{})
			default:
				open = open[:len(open)-1]
			}
			if len(open) > maxDepth {
				return malformed("body", fmt.Sprintf("nests deeper than %d", maxDepth))
			}
		}
		if len(open) == 0 {
			break
		}
	}
	if _, err := d.Token(); err != io.EOF {
		return malformed("body", "has bytes after its value")
	}
	return nil
}

func checkName(name string, seen map[string]bool) error {
	ok := name != "" && len(name) <= 64
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_'
	}
	if !ok {
		return malformed("body", "a field's name is 1 to 64 of a-z, 0-9 and '_'")
	}
	if seen[name] {
		return malformed("body", fmt.Sprintf("field %q is repeated", name))
	}
	seen[name] = true
	return nil
}
