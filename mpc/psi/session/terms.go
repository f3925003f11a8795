package session

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// Kinds of what two owners agree on.
const (
	KindPlan   = "psi"
	KindLookup = "psi-lookup"
)

const (
	maxText    = 64 << 10
	maxSeconds = 24 * 3600
)

// Party (求交参与方) is one of the two, with the owner who approves for it.
type Party struct {
	ID           sandbox.PartyID    `json:"id"`
	Organisation sandbox.PartyID    `json:"organisation"` // the legal person that runs it
	Key          []byte             `json:"key"`          // SM2 point that its link and records verify under
	Owner        sandbox.IdentityID `json:"owner"`
	OwnerKey     []byte             `json:"owner_key"` // SM2 point that approvals verify under
}

// Terms (共同条款) are what every agreement of two owners has.
type Terms struct {
	Kind    string    `json:"kind"`
	Version int       `json:"version"`
	Parties [2]Party  `json:"parties"`
	Element string    `json:"element"` // what an element is and in which form, for people: "mobile number, 11 digits"
	Expires time.Time `json:"expires"` // nobody begins later; whole seconds of UTC
	Seconds int       `json:"seconds"` // a run's deadline, from a party's start
}

// Agreement (两方约定) is a Plan or a Lookup.
type Agreement interface {
	Check() error
	Encode() []byte
	Explain() []string // what each side learns, in words, for the owners
	terms() *Terms
}

func (t *Terms) terms() *Terms { return t }

func invalid(object, rule string) error {
	return &sandbox.Error{Op: "psi: session", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// label says whether a text can stand in what owners read: printable, without control characters.
func label(s string, most int) bool {
	if s == "" || len(s) > most || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func (t *Terms) check(kind string) error {
	switch {
	case t.Kind != kind || t.Version != 1:
		return invalid("kind", "kind "+kind+", version 1")
	case !label(t.Element, 200):
		return invalid("element", "what an element is, 1 to 200 bytes of printable text")
	case t.Seconds < 1 || t.Seconds > maxSeconds:
		return invalid("seconds", "1 to 86400")
	case t.Expires.Location() != time.UTC || t.Expires.Nanosecond() != 0 || t.Expires.Year() < 2000 || t.Expires.Year() > 9999:
		return invalid("expires", "whole seconds of UTC")
	}
	var keys [][]byte
	for _, x := range t.Parties {
		for _, id := range [][2]string{{"party", string(x.ID)}, {"organisation", string(x.Organisation)}, {"owner", string(x.Owner)}} {
			if err := sandbox.CheckID(id[0], id[1]); err != nil {
				return err
			}
		}
		for _, k := range [][]byte{x.Key, x.OwnerKey} {
			if _, err := sm.ParseVerifyKey(k); err != nil {
				return invalid("party "+string(x.ID), "keys are points of the SM2 curve")
			}
			for _, other := range keys {
				if bytes.Equal(k, other) {
					return invalid("party "+string(x.ID), "every party and owner has a key of its own")
				}
			}
			keys = append(keys, k)
		}
	}
	if a, b := t.Parties[0], t.Parties[1]; a.ID == b.ID || a.Organisation == b.Organisation {
		return invalid("parties", "two parties of two organisations")
	}
	return nil
}

// Place gives a party's place, -1 where it is none of the two.
func (t *Terms) Place(id sandbox.PartyID) int {
	for i, p := range t.Parties {
		if p.ID == id {
			return i
		}
	}
	return -1
}

func (t *Terms) peers() ([]wire.Peer, error) {
	var out []wire.Peer
	for _, p := range t.Parties {
		k, err := sm.ParseVerifyKey(p.Key)
		if err != nil {
			return nil, err
		}
		out = append(out, wire.Peer{ID: p.ID, Key: k})
	}
	return out, nil
}

// Digest is SM3 over the one encoding of an agreement: what owners sign and links begin with.
func Digest(a Agreement) [sm.Size]byte { return sm.Sum(a.Encode()) }

// Parse reads an agreement strictly: bounded, of a known kind, known fields, its one encoding, and it passes Check.
func Parse(b []byte) (Agreement, error) {
	a, err := Draft(b)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(a.Encode(), b) {
		return nil, invalid("plan", "one JSON object with the known fields, in its one encoding")
	}
	return a, a.Check()
}

// Draft reads what a person wrote: known fields in any form. Check is the caller's.
func Draft(b []byte) (Agreement, error) {
	if len(b) > maxText {
		return nil, invalid("plan", "at most 64 KiB")
	}
	var head struct {
		Kind string `json:"kind"`
	}
	if json.Unmarshal(b, &head) != nil {
		return nil, invalid("plan", "one JSON object")
	}
	var a Agreement
	switch head.Kind {
	case KindPlan:
		a = &Plan{}
	case KindLookup:
		a = &Lookup{}
	default:
		return nil, invalid("kind", "kind "+KindPlan+" or "+KindLookup)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if d.Decode(a) != nil || d.More() {
		return nil, invalid("plan", "one JSON object with the fields of its kind")
	}
	if p, ok := a.(*Plan); ok {
		p.complete()
	}
	return a, nil
}
