package canonical

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

type inner struct {
	Names []string `json:"names"`
	Of    string   `json:"of,omitempty"`
}

type value struct {
	Version int       `json:"version"`
	At      time.Time `json:"at"`
	Inner   inner     `json:"inner"`
}

var good = value{1, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), inner{[]string{"<a>", "农\u2028"}, ""}}

// TestOneText: a value is read from its text and from no other.
func TestOneText(t *testing.T) {
	text := Encode(good)
	v, err := Parse[value](text, 1<<10, "test", "value")
	if err != nil || !bytes.Equal(Encode(v), text) {
		t.Fatal(err)
	}
	if d := sm.Sum(text); Digest(good) != hex.EncodeToString(d[:]) {
		t.Error("the digest is of another text")
	}
	s := string(text)
	for name, other := range map[string]string{
		"nothing": "", "null": "null", "space": " " + s, "behind": s + "{}", "line": s + "\n", "unknown field": strings.Replace(s, `"version"`, `"fast":true,"version"`, 1),
		"twice": strings.Replace(s, `"version":1`, `"version":1,"version":1`, 1), "case": strings.Replace(s, `"version"`, `"Version"`, 1), "number": strings.Replace(s, `:1,`, `:1.0,`, 1),
		"not escaped": strings.Replace(s, `\u003c`, "<", 1), "empty written": strings.Replace(s, `]}`, `],"of":""}`, 1), "cut": s[:len(s)-1], "time": strings.Replace(s, "00Z", "00+00:00", 1),
		"null list": strings.Replace(s, s[strings.Index(s, "["):strings.Index(s, "]")+1], "null", 1) + " ",
	} {
		if other == s {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := Parse[value]([]byte(other), 1<<10, "test", "value"); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "test value: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse[value](text, len(text)-1, "test", "value"); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too long: %v", err)
	}
	if b := Encode(value{At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}); b != nil {
		t.Errorf("%s", b)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Encode(good))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := Parse[value](b, 1<<10, "test", "value"); err == nil && !bytes.Equal(Encode(v), b) {
			t.Error("a value has one text")
		}
	})
}
