package unit

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Cohort (对齐名册文件) is the list of people whom two units' rows are joined over, as both owners have it and nobody else needs it: a secret of its own and
// the identifiers, each once and in its one form (join.Normal). The order of lines says nothing: the same people under the same secret are the same
// list. It holds identifiers of people and prints as redacted.
type Cohort struct {
	Kind catalog.SubjectKind

	key [sm.Size]byte
	ids []string
}

const (
	cohortHead = "opdomain-list 1"
	maxID      = 256
	// MaxCohort bounds a list's file.
	MaxCohort = he.MaxSubjects*(maxID+2) + 256
)

// String keeps identifiers out of logs.
func (*Cohort) String() string { return "cohort (redacted)" }

// GoString keeps them out of %#v.
func (*Cohort) GoString() string { return "cohort (redacted)" }

func listError(kind sandbox.Kind, line int, rule string) error {
	object := "list"
	if line > 0 {
		object = fmt.Sprintf("list line %d", line)
	}
	return &sandbox.Error{Op: "he: list", Kind: kind, Object: object, Detail: rule}
}

// NewCohort makes a list of identifiers, one a line, with a fresh secret. Errors name a line: Invalid for one that is no identifier of the kind, Conflict for a
// person who stands there twice, TooLarge beyond he.MaxSubjects.
func NewCohort(rand io.Reader, kind catalog.SubjectKind, lines io.Reader) (*Cohort, error) {
	c := &Cohort{Kind: cmp.Or(kind, catalog.Opaque)}
	if _, err := io.ReadFull(rand, c.key[:]); err != nil {
		return nil, &sandbox.Error{Op: "he: list", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return c, c.read(bufio.NewScanner(lines), 0)
}

// ReadCohort reads what Write wrote; lines may stand in any order.
func ReadCohort(r io.Reader) (*Cohort, error) {
	in, c := bufio.NewScanner(r), &Cohort{}
	line := func() string {
		in.Scan()
		return in.Text()
	}
	bad := listError(sandbox.Invalid, 0, "begins with three lines as opdomain he list writes them: form, kind, key")
	if line() != cohortHead {
		return nil, bad
	}
	kind, ok := strings.CutPrefix(line(), "kind ")
	if c.Kind = catalog.SubjectKind(kind); !ok || c.Kind != catalog.Opaque && c.Kind != catalog.ResidentID {
		return nil, bad
	}
	text, ok := strings.CutPrefix(line(), "key ")
	key, err := hex.DecodeString(text)
	if !ok || err != nil || len(key) != len(c.key) {
		return nil, bad
	}
	copy(c.key[:], key)
	return c, c.read(in, 3)
}

func (c *Cohort) read(in *bufio.Scanner, line int) error {
	seen := map[string]bool{}
	for in.Scan() {
		if line++; len(in.Bytes()) == 0 {
			continue
		}
		id, ok := join.Normal(c.Kind, in.Text())
		switch {
		case !ok:
			return listError(sandbox.Invalid, line, "is one identifier of the list's kind")
		case seen[id]:
			return listError(sandbox.Conflict, line, "names a person who stands on the list already")
		case len(seen) >= he.MaxSubjects:
			return listError(sandbox.TooLarge, line, fmt.Sprintf("a list has at most %d people", he.MaxSubjects))
		}
		seen[id] = true
		c.ids = append(c.ids, id)
	}
	if in.Err() != nil {
		return listError(sandbox.Invalid, line+1, "is a line of text")
	}
	if len(c.ids) == 0 {
		return listError(sandbox.Invalid, 0, "has somebody on it")
	}
	slices.Sort(c.ids)
	return nil
}

// Write writes the list's file: whoever has it knows who stands on the list, and can tell the list by its digest.
func (c *Cohort) Write(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nkind %s\nkey %x\n", cohortHead, c.Kind, c.key)
	for _, id := range c.ids {
		b.WriteString(id + "\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

// People counts who stand on the list.
func (c *Cohort) People() int { return len(c.ids) }

// Fits says whether the list finds the people of a joined question's datasets: under identifiers of another kind it would find nobody. Code: he.list.
func (c *Cohort) Fits(j *spec.Joined) (why []sandbox.Reason) {
	for _, in := range j.Derivation.Inputs {
		if kind := cmp.Or(in.Described.SubjectKind, catalog.Opaque); kind != c.Kind {
			r := reason("he.list", "the list identifies people as the dataset does, "+string(kind), "make a list of that kind: opdomain he list make --kind "+string(kind))
			r.Column = string(in.Dataset)
			why = append(why, r)
		}
	}
	return why
}

// Key is what the pseudonyms of rows are under that the list finds.
func (c *Cohort) Key() []byte {
	k := sm.HMAC(c.key[:], []byte("opdomain he list pseudonym 1"))
	return k[:]
}

// List gives who stands where: in the order of identifiers, whatever that of the lines was.
func (c *Cohort) List() (spec.List, error) {
	mac, err := sm.NewMAC(c.Key())
	if err != nil {
		return nil, err
	}
	const size = len(sandbox.Pseudonym{})
	var data []byte
	offsets := make([]int32, 1, len(c.ids)+1)
	for _, id := range c.ids {
		data = append(data, id...)
		offsets = append(offsets, int32(len(data)))
	}
	names := make([]byte, size*len(c.ids))
	mac.Rows(names, size, offsets, data)
	out := make(spec.List, len(c.ids))
	for i := range c.ids {
		out[sandbox.Pseudonym(names[size*i:])] = i
	}
	return out, nil
}

// Agreed is what a plan says of the list.
func (c *Cohort) Agreed() (spec.Agreed, error) {
	l, err := c.List()
	if err != nil {
		return spec.Agreed{}, err
	}
	d, err := l.Digest()
	return spec.Agreed{Digest: d, People: len(l)}, err
}
