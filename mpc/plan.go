package mpc

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/canonical"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// Parties is how many compute.
const Parties = 3

const (
	maxPlan    = 64 << 10
	maxOutput  = 1 << 16
	maxSeconds = 24 * 3600
)

// Party (参与方) is one of the three zones that compute, with the owner who approves for it.
type Party struct {
	ID           sandbox.PartyID    `json:"id"`
	Role         string             `json:"role"`         // agency, operator, custodian …, as people call it
	Organisation sandbox.PartyID    `json:"organisation"` // the legal person that runs it; all differ
	Key          []byte             `json:"key"`          // SM2 point that its links and statements verify under
	Owner        sandbox.IdentityID `json:"owner"`
	OwnerKey     []byte             `json:"owner_key"` // SM2 point that approvals verify under
}

// Input (输入表) is a column that a party shares, at its padded size.
type Input struct {
	Name  string          `json:"name"`
	Party sandbox.PartyID `json:"party"`
	Rows  int             `json:"rows"` // a registered bucket
}

// Output (输出) is a column that opens once, to one party or to all. What opens to one is opened under a mask that it puts in as shares:
// the others see uniform numbers.
type Output struct {
	Name      string          `json:"name"`
	Rows      int             `json:"rows"`
	Recipient sandbox.PartyID `json:"recipient,omitempty"` // empty: all
}

// Plan (计算方案) is what all parties and their owners agree on before a link is made. What is not in it does not happen.
type Plan struct {
	Version   int             `json:"version"`
	Job       sandbox.RunID   `json:"job"`
	Question  string          `json:"question"` // SM3 of the question's canonical encoding, in hex
	Adversary share.Adversary `json:"adversary"`
	Generator share.Generator `json:"generator"`
	Parties   []Party         `json:"parties"`
	Inputs    []Input         `json:"inputs"`
	Operators []share.Op      `json:"operators"` // all that may run, those that others are made of included; what each tells is Leakage
	Outputs   []Output        `json:"outputs"`
	Expires   time.Time       `json:"expires"` // nobody joins later; whole seconds of UTC
	Seconds   int             `json:"seconds"` // the run's deadline, from a party's joining
}

// Encode gives the plan's one encoding.
func (p Plan) Encode() []byte { return canonical.Encode(p) }

// Digest is SM3 of the encoding.
func (p Plan) Digest() [sm.Size]byte { return sm.Sum(p.Encode()) }

// ParsePlan reads a plan strictly: bounded, known fields, its one encoding, and it passes Check.
func ParsePlan(b []byte) (Plan, error) {
	p, err := canonical.Parse[Plan](b, maxPlan, "mpc: plan", "plan")
	if err != nil {
		return p, err
	}
	return p, p.Check()
}

func invalid(object, rule string) error {
	return &sandbox.Error{Op: "mpc: plan", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// Check says whether the plan can be run by anybody: Invalid, naming the field and the rule.
func (p Plan) Check() error {
	switch {
	case p.Version != 1:
		return invalid("version", "version 1")
	case p.Adversary != share.SemiHonest && p.Adversary != share.MaliciousAbort:
		return invalid("adversary", "semi-honest, or malicious with abort")
	case p.Generator != share.AESGenerator && p.Generator != share.SM4Generator:
		return invalid("generator", "aes-128-ctr or sm4-ctr")
	case len(p.Parties) != Parties:
		return invalid("parties", "three")
	case len(p.Outputs) == 0:
		return invalid("outputs", "at least one")
	case p.Seconds < 1 || p.Seconds > maxSeconds:
		return invalid("seconds", "1 to 86400")
	case p.Expires.Location() != time.UTC || p.Expires.Nanosecond() != 0 || p.Expires.Year() < 2000 || p.Expires.Year() > 9999:
		return invalid("expires", "whole seconds of UTC")
	}
	if err := sandbox.CheckID("job", string(p.Job)); err != nil {
		return err
	}
	if b, err := hex.DecodeString(p.Question); err != nil || len(b) != sm.Size {
		return invalid("question", "SM3 in hex")
	}
	keys := map[string]bool{}
	names := map[sandbox.PartyID]bool{}
	houses := map[sandbox.PartyID]bool{}
	for _, x := range p.Parties {
		for _, id := range []struct{ what, id string }{{"party", string(x.ID)}, {"organisation", string(x.Organisation)}, {"owner", string(x.Owner)}, {"role", x.Role}} {
			if err := sandbox.CheckID(id.what, id.id); err != nil {
				return err
			}
		}
		for _, k := range [][]byte{x.Key, x.OwnerKey} {
			if _, err := sm.ParseVerifyKey(k); err != nil {
				return invalid("party "+string(x.ID), "keys are points of the SM2 curve")
			}
			if keys[string(k)] {
				return invalid("party "+string(x.ID), "every party and owner has a key of its own")
			}
			keys[string(k)] = true
		}
		if names[x.ID] || houses[x.Organisation] {
			return invalid("party "+string(x.ID), "parties differ, and so do the organisations that run them")
		}
		names[x.ID], houses[x.Organisation] = true, true
	}
	seen := map[string]bool{}
	for _, in := range p.Inputs {
		if !names[in.Party] || seen["in "+in.Name] || !slices.Contains(Buckets, in.Rows) {
			return invalid("input", "of a party, named once, at a registered size")
		}
		if err := sandbox.CheckID("input", in.Name); err != nil {
			return err
		}
		seen["in "+in.Name] = true
	}
	for _, out := range p.Outputs {
		if seen["out "+out.Name] || out.Rows < 1 || out.Rows > maxOutput {
			return invalid("output", "named once, 1 to 65536 rows")
		}
		if out.Recipient != "" && (!names[out.Recipient] || !slices.Contains(p.Operators, share.OpInput)) {
			return invalid("output", "its recipient is a party, whose mask is an input")
		}
		if err := sandbox.CheckID("output", out.Name); err != nil {
			return err
		}
		seen["out "+out.Name] = true
	}
	for i, op := range p.Operators {
		at := slices.IndexFunc(share.Leaks(), func(l share.Leakage) bool { return l.Op == op })
		switch {
		case at < 0 || slices.Contains(p.Operators[:i], op):
			return invalid("operators", "known ones, each once")
		case p.Adversary == share.MaliciousAbort && !share.Leaks()[at].Malicious:
			return invalid("operator "+strings.ReplaceAll(string(op), " ", "-"), "it has a check against the plan's adversary")
		}
	}
	return nil
}

// Leakage gives what the operators of the plan tell every party beside sizes and outputs.
func (p Plan) Leakage() []share.Leakage {
	var out []share.Leakage
	for _, l := range share.Leaks() {
		if slices.Contains(p.Operators, l.Op) {
			out = append(out, l)
		}
	}
	return out
}

// Collusion says in words, for the result and the certificate, what the plan's model means and what parties that work together learn.
func (p Plan) Collusion() string {
	who := make([]string, len(p.Parties))
	for i, x := range p.Parties {
		who[i] = fmt.Sprintf("%s (%s)", x.Organisation, x.Role)
	}
	model := "each party is trusted to follow the protocol; one that deviates can change outputs and may learn more"
	if p.Adversary == share.MaliciousAbort {
		model = "one party that deviates ends the run before an output and learns no more than one that does not; it can always prevent an output, and what it puts in is its own word"
	}
	return fmt.Sprintf("Model: %s: %s. Any two of %s together can read every input in full; one alone learns the sizes, the operators and %s.",
		p.Adversary, model, strings.Join(who, ", "), p.opens())
}

// opens says to whom the outputs open.
func (p Plan) opens() string {
	to := p.Recipient()
	if to < 0 {
		return "the outputs that open to it"
	}
	return fmt.Sprintf("no output, but for %s (%s), to whom alone they open", p.Parties[to].Organisation, p.Parties[to].Role)
}

// Recipient gives the place of the one party to which all outputs open, -1 where they open to more.
func (p Plan) Recipient() int {
	for _, o := range p.Outputs {
		if o.Recipient == "" || o.Recipient != p.Outputs[0].Recipient {
			return -1
		}
	}
	return p.index(p.Outputs[0].Recipient)
}

func (p Plan) index(id sandbox.PartyID) int {
	return slices.IndexFunc(p.Parties, func(x Party) bool { return x.ID == id })
}

func (p Plan) peers() ([]wire.Peer, error) {
	out := make([]wire.Peer, len(p.Parties))
	for i, x := range p.Parties {
		k, err := sm.ParseVerifyKey(x.Key)
		if err != nil {
			return nil, err
		}
		out[i] = wire.Peer{ID: x.ID, Key: k}
	}
	return out, nil
}
