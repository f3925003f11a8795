package he

import (
	"bytes"
	"encoding/json"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// maxPlan bounds an encoded plan.
const maxPlan = 32 << 20

type memberJSON struct {
	ID     sandbox.PartyID `json:"id"`
	Verify []byte          `json:"verify"`
	Seal   []byte          `json:"seal"`
}

type planJSON struct {
	Run       []byte       `json:"run"`
	Epoch     uint64       `json:"epoch"`
	Set       SetName      `json:"set"`
	Units     []memberJSON `json:"units"`
	Gate      memberJSON   `json:"gate"`
	Threshold int          `json:"threshold"`
	Openers   []int        `json:"openers"`
	Layout    Layout       `json:"layout"`
}

// Encode writes a plan as JSON, for the parties to decode and check each for itself.
func (p *Plan) Encode() ([]byte, error) {
	x := planJSON{Run: p.Run[:], Epoch: p.Epoch, Set: p.Set, Gate: p.Gate.encode(), Threshold: p.Threshold, Openers: p.Openers, Layout: p.Layout}
	for _, m := range p.Units {
		x.Units = append(x.Units, m.encode())
	}
	return json.Marshal(x)
}

func (m Member) encode() memberJSON {
	x := memberJSON{ID: m.ID}
	if m.Verify != nil && m.Seal != nil {
		x.Verify, x.Seal = m.Verify.Bytes(), m.Seal.Bytes()
	}
	return x
}

func (x memberJSON) member() (m Member, err error) {
	m.ID = x.ID
	if m.Verify, err = sm.ParseVerifyKey(x.Verify); err == nil {
		m.Seal, err = sm.ParseEncryptKey(x.Seal)
	}
	return m, err
}

// DecodePlan reads what Encode wrote, strictly. It does not check the plan's budget: NewUnit and NewGate do.
func DecodePlan(b []byte) (*Plan, error) {
	bad := fail(sandbox.Invalid, "plan", "is one JSON object with the known fields and well-formed keys")
	var x planJSON
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if len(b) > maxPlan || dec.Decode(&x) != nil || dec.More() || len(x.Run) != 32 || len(x.Units) > MaxUnits {
		return nil, bad
	}
	p := &Plan{Run: [32]byte(x.Run), Epoch: x.Epoch, Set: x.Set, Threshold: x.Threshold, Openers: x.Openers, Layout: x.Layout}
	var err error
	if p.Gate, err = x.Gate.member(); err != nil || sandbox.CheckID("gate", string(p.Gate.ID)) != nil {
		return nil, bad
	}
	for _, u := range x.Units {
		m, err := u.member()
		if err != nil || sandbox.CheckID("unit", string(m.ID)) != nil {
			return nil, bad
		}
		p.Units = append(p.Units, m)
	}
	return p, nil
}
