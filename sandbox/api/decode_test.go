package api

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

type sample struct {
	ID   string         `json:"id"`
	N    int            `json:"n"`
	Deep *sample        `json:"deep,omitempty"`
	List []sample       `json:"list,omitempty"`
	Any  any            `json:"any,omitempty"`
	Typ  sandbox.Reason `json:"typ,omitzero"`
}

func TestDecodeIsStrict(t *testing.T) {
	var v sample
	if err := decode([]byte(` {"id":"a","n":1,"deep":{"id":"b","n":2},"list":[{"id":"c","n":3},{"id":"c","n":3}]} `), &v); err != nil || v.Deep.N != 2 || len(v.List) != 2 {
		t.Fatal(v, err)
	}
	const value = "440305199001011234" // must not come back in an error
	for name, c := range map[string]struct{ body, rule string }{
		"empty":         {``, "is empty"},
		"spaces":        {`  `, "is empty"},
		"not json":      {`{"id":` + value + `x}`, "not JSON at byte"},
		"cut":           {`{"id":"` + value, "not JSON at byte"},
		"open":          {`{"id":"a"`, "not JSON at byte"},
		"unknown":       {`{"id":"a","ids":"` + value + `"}`, `unknown field "ids"`},
		"unknown deep":  {`{"deep":{"x":"` + value + `"}}`, `unknown field "x"`},
		"repeated":      {`{"id":"a","id":"` + value + `"}`, `field "id" is repeated`},
		"repeated deep": {`{"list":[{"n":1,"n":2}]}`, `field "n" is repeated`},
		"folded":        {`{"id":"a","ID":"` + value + `"}`, "a field's name"},
		"kelvin":        {"{\"\u212a\":1}", "a field's name"},
		"value as name": {`{"` + value + strings.Repeat("0", 64) + `":1}`, "a field's name"},
		"type":          {`{"n":"` + value + `"}`, `field "n" has another type`},
		"number":        {`{"n":44030519900101123400000}`, `field "n" has another type`},
		"trailing":      {`{"id":"a"} {"id":"b"}`, "after its value"},
		"trailing text": {`{"id":"a"}` + value, "after its value"},
		"utf8":          {"{\"id\":\"\xff\"}", "UTF-8"},
		"deep":          {strings.Repeat("[", 40) + strings.Repeat("]", 40), "nests deeper"},
		"deeper":        {`{"any":` + strings.Repeat(`{"any":`, 40) + "1" + strings.Repeat("}", 41), "nests deeper"},
		"array":         {`[]`, "has another type"},
		"closing":       {`}`, "not JSON at byte"},
	} {
		var v sample
		err := decode([]byte(c.body), &v)
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), c.rule) {
			t.Errorf("%s: %v does not name %q", name, err, c.rule)
		}
		if err != nil && strings.Contains(err.Error(), value) {
			t.Errorf("%s: the error repeats a value", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"id":"a","n":1}`, `{"id":"a","id":"b"}`, `[{"id":""}]`, `{"deep":{"deep":{}}}`, `null`, `1 2`, `{"any":[{},[],"x",1e9]}`, `{"a":"b":"c"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v sample
		if decode(b, &v) != nil {
			return
		}
		// what is accepted is one valid value with no repeated name: its own re-encoding is accepted too
		if !json.Valid(b) {
			t.Error("accepted what is not JSON")
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var w sample
		if err := decode(again, &w); err != nil {
			t.Errorf("re-encoding is refused: %v", err)
		}
	})
}

func TestProblemTellsNoMoreThanItMay(t *testing.T) {
	foreign := errors.New("pq: value 'secret' violates")
	inner := &sandbox.Error{Op: "vault: scan", Kind: sandbox.Tampered, Object: "ds-a", Detail: "chunk 3 fails authentication", Hint: "restore it", Err: foreign}
	for name, c := range map[string]struct {
		err  error
		want string
		hint string
	}{
		"plain":     {&sandbox.Error{Op: "grant: approve", Kind: sandbox.Conflict, Object: "g-17", Detail: "past its due date", Hint: "file again"}, "grant: approve g-17: conflict: past its due date", "file again"},
		"foreign":   {inner, "vault: scan ds-a: tampered: chunk 3 fails authentication", "restore it"},
		"nested":    {&sandbox.Error{Op: "run", Kind: sandbox.Unavailable, Err: inner}, "run: unavailable: vault: scan ds-a: tampered: chunk 3 fails authentication", "restore it"},
		"internal":  {&sandbox.Error{Op: "run", Kind: sandbox.Internal, Object: "q-1", Detail: "secret"}, "internal error", "the domain's own log says more; try again"},
		"not ours":  {foreign, "internal error", "the domain's own log says more; try again"},
		"withheld":  {&sandbox.Error{Op: "egress", Kind: sandbox.Withheld, Object: "q-1", Detail: "secret: differs by one", Hint: "secret"}, "answer.withheld", ""},
		"absent":    {&sandbox.Error{Op: "store: get", Kind: sandbox.NotFound, Object: "push run-1"}, "find run-1: not found: nothing of this name that you may see", "see what there is: opdomain catalog list, grant list, query list, release list"},
		"another's": {&sandbox.Error{Op: "push", Kind: sandbox.NotFound, Object: "run-1"}, "find run-1: not found: nothing of this name that you may see", "see what there is: opdomain catalog list, grant list, query list, release list"},
		"bare kind": {sandbox.NotFound, "not found", ""},
	} {
		p := problem(c.err)
		if p.Error != c.want || p.Hint != c.hint {
			t.Errorf("%s: %q hint %q, want %q hint %q", name, p.Error, p.Hint, c.want, c.hint)
		}
		b, err := json.Marshal(p)
		if err != nil || strings.Contains(string(b), "secret") {
			t.Errorf("%s: repeats what it must not, %v", name, err)
		}
		back := Failure(Status(p.Kind), b)
		if sandbox.KindOf(back) != p.Kind || p.Op != "" && back.Error() != c.want {
			t.Errorf("%s: a client rebuilds %v", name, back)
		}
	}
	if err := Failure(200, nil); err != nil {
		t.Error(err)
	}
	if err := Failure(502, []byte("<html>")); !errors.Is(err, sandbox.Unavailable) {
		t.Error(err)
	}
}

func TestMonth(t *testing.T) {
	for s, ok := range map[string]bool{"2026-03": true, "2026-12": true, "2026-13": false, "2026-00": false, "26-03": false, "2026/03": false, "+026-03": false, "2026-+3": false, "": false} {
		if err := checkMonth(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

var _ io.Reader = (*incoming)(nil)
