package attest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// Witnessing (见证情况) says how far witnesses have seen the evidence. The witnesses are those of the last witnesses.set in sight.
type Witnessing struct {
	Entries uint64    `json:"entries"`           // the first so many are under the witnessed checkpoint
	Signed  []string  `json:"signed,omitempty"`  // witnesses whose co-signature holds
	Unknown []string  `json:"unknown,omitempty"` // not checked: no witnesses.set in sight names them
	Needed  int       `json:"needed"`            // 0: no witnesses.set is in sight
	Of      int       `json:"of"`
	At      time.Time `json:"at,omitzero"` // the newest of the witnesses' own times

	keys map[string]*sm.VerifyKey // of Signed
}

// By says whether a witness has signed under a key that somebody has from the witness itself, not from the evidence.
func (w Witnessing) By(name string, key *sm.VerifyKey) bool {
	k := w.keys[name]
	return k != nil && bytes.Equal(k.Bytes(), key.Bytes())
}

// Reached says whether as many witnesses as are needed have signed.
func (w Witnessing) Reached() bool { return w.Needed > 0 && len(w.Signed) >= w.Needed }

// text is one line of a report; nothing when neither witnesses nor a note are in sight.
func (w Witnessing) text(entries uint64) string {
	if w.Of == 0 && w.Entries == 0 && len(w.Unknown) == 0 {
		return ""
	}
	names := "none 无"
	if len(w.Signed) > 0 {
		names = strings.Join(w.Signed, ", ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "witnesses 见证         %s of 共 %d, needed 需要 %d, covering entries 覆盖条目 %d of 共 %d", names, w.Of, w.Needed, w.Entries, entries)
	if !w.At.IsZero() {
		fmt.Fprintf(&b, ", last 最近 %s", w.At.Format("2006-01-02 15:04:05 UTC"))
	}
	if len(w.Unknown) > 0 {
		fmt.Fprintf(&b, "; not checked 未核验: %s", strings.Join(w.Unknown, ", "))
	}
	return b.String() + "\n"
}

// witnessed checks the co-signatures of a note whose tree was found to be a prefix. One in the name of a known witness that
// does not hold is a fault; too few are none, the report says so.
func (c *checker) witnessed(n tlog.Note) (Witnessing, error) {
	w := Witnessing{Entries: n.Size}
	var known []WitnessBody
	if c.witnesses != nil {
		known, w.Needed, w.Of = c.witnesses.Witnesses, c.witnesses.Quorum, len(c.witnesses.Witnesses)
	}
	for _, s := range n.Cosignatures {
		i := slices.IndexFunc(known, func(k WitnessBody) bool { return k.Name == s.Name })
		if i < 0 {
			w.Unknown = append(w.Unknown, s.Name)
			c.skipped["witnesses"]++
			continue
		}
		key, err := sm.ParseVerifyKey(known[i].Key)
		if err == nil {
			err = s.Verify(n.Checkpoint, key)
		}
		if err := c.want(err == nil, "witnesses", "the witness signed this checkpoint"); err != nil {
			return w, c.fault("witness "+s.Name, err)
		}
		w.Signed = append(w.Signed, s.Name)
		if w.keys == nil {
			w.keys = map[string]*sm.VerifyKey{}
		}
		w.keys[s.Name] = key
		if s.Time.After(w.At) {
			w.At = s.Time
		}
	}
	return w, nil
}

// witnessesSet: witnesses are added, none is taken away or given another key, and the quorum is not lowered. Nobody stands
// there twice, or one witness would make a quorum.
func (c *checker) witnessesSet(e Event, b WitnessesSetBody) error {
	ok := e.Actor == DomainActor && b.Quorum >= 1 && b.Quorum <= len(b.Witnesses) && len(b.Witnesses) <= tlog.MaxWitnesses
	names, keys := map[string]bool{}, map[string]bool{}
	for _, w := range b.Witnesses {
		_, err := sm.ParseVerifyKey(w.Key)
		ok = ok && err == nil && w.Name != "" && !names[w.Name] && !keys[string(w.Key)]
		names[w.Name], keys[string(w.Key)] = true, true
	}
	if err := c.want(ok, "witnesses", "set by the domain: each once with its own SM2 key, and a quorum of them"); err != nil {
		return err
	}
	if old := c.witnesses; old != nil {
		ok = b.Quorum >= old.Quorum
		for _, w := range old.Witnesses {
			ok = ok && slices.ContainsFunc(b.Witnesses, func(x WitnessBody) bool { return x.Name == w.Name && x.Party == w.Party && bytes.Equal(x.Key, w.Key) })
		}
	}
	c.witnesses = &b
	return c.want(ok, "witnesses", "none is taken away and the quorum is not lowered")
}

// witnessNote reads the note of a bundle's header.
func witnessNote(text string, key *sm.VerifyKey, cp tlog.Checkpoint) (tlog.Note, bool) {
	if text == "" {
		return tlog.Note{}, true
	}
	n, err := tlog.ParseNote(text)
	var empty tlog.Root
	return n, err == nil && (n.Size > 0 || n.Root == empty.Sum()) && n.Checkpoint.Verify(key) == nil && n.Origin == cp.Origin && n.Size <= cp.Size
}

// witnessFault is what a verifier says of a note that is not of the same log.
func witnessFault(op, place string) error {
	return &sandbox.Error{Op: op, Kind: sandbox.Tampered, Object: place, Detail: "the entries do not give the root that witnesses have signed: the log was forked"}
}
