package he

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// MaxJointGroups bounds the ciphertexts of one run of a partner's model: their scores with the shares fit one message.
const MaxJointGroups = 64

// JointBound (误差上界) is the largest error of a score that the gate reads, before it is rounded to its decimals.
const JointBound = oneBound

// Numbers of the two parties of a joint key in its messages.
const (
	jointPartner = 0
	jointGate    = 1
)

// JointPlan (联合密钥方案) fixes one run of a partner's secret model before a key is drawn. Its digest is the session of the joint key and binds every
// message. It says nothing of the averages: there are as many ciphertexts as the partner said it answers, however many groups there are, and ranges
// are the partner's. A second try after an abort is another plan.
type JointPlan struct {
	Run        [32]byte      // of domain, question and the partner's statement
	Ranges     []float64     // of the features, in the order of the weights: an average beyond one counts as its end
	Groups     int           // ciphertexts, and scores
	Commitment [sm.Size]byte // to weights and bias, which nobody is shown
	Gate       Member        // the only one that reads a score
	Partner    Member
}

// Check refuses a plan that Joint cannot run, before anything is drawn. Codes: he.model, he.range, he.groups, he.keys.
func (p *JointPlan) Check() (why []sandbox.Reason) {
	no := func(code, rule, change string) {
		why = append(why, sandbox.Reason{Code: code, Rule: rule, Change: change})
	}
	if len(p.Ranges) == 0 || len(p.Ranges) > MaxFeatures {
		no("he.model", fmt.Sprintf("a model has 1 to %d features", MaxFeatures), "name fewer features")
	}
	for i, r := range p.Ranges {
		if !(r > 0) || math.IsInf(r, 0) {
			no("he.range", fmt.Sprintf("feature %d has a finite range above zero", i+1), "state how large it may be")
		}
	}
	if p.Groups < 1 || p.Groups > MaxJointGroups {
		no("he.groups", fmt.Sprintf("a run is of 1 to %d ciphertexts, one a group", MaxJointGroups), "run the model over a result with coarser groups")
	}
	for _, m := range []Member{p.Gate, p.Partner} {
		if m.ID == "" || m.Verify == nil || m.Seal == nil {
			no("he.keys", "gate and partner have keys", "enrol them")
		}
	}
	if len(why) == 0 && (p.Gate.ID == p.Partner.ID || bytes.Equal(p.Gate.Verify.Bytes(), p.Partner.Verify.Bytes())) {
		no("he.keys", "gate and partner are two", "have a party of the scenario take part with its own keys")
	}
	return why
}

// Digest names the plan: SM3.
func (p *JointPlan) Digest() [sm.Size]byte {
	parts := [][]byte{[]byte("opdomain he joint plan"), p.Run[:], appendFloats(nil, p.Ranges), {byte(p.Groups >> 8), byte(p.Groups)}, p.Commitment[:]}
	for _, m := range []Member{p.Gate, p.Partner} {
		parts = append(parts, []byte(m.ID))
		if m.Verify != nil && m.Seal != nil {
			parts = append(parts, m.Verify.Bytes(), m.Seal.Bytes())
		}
	}
	return sm.Sum(sm.Frame(parts...))
}

type jointPlanJSON struct {
	Run        []byte     `json:"run"`
	Ranges     []float64  `json:"ranges"`
	Groups     int        `json:"groups"`
	Commitment []byte     `json:"commitment"`
	Gate       memberJSON `json:"gate"`
	Partner    memberJSON `json:"partner"`
}

// Encode writes a plan as JSON, for the partner to decode and check for itself.
func (p *JointPlan) Encode() ([]byte, error) {
	return json.Marshal(jointPlanJSON{p.Run[:], p.Ranges, p.Groups, p.Commitment[:], p.Gate.encode(), p.Partner.encode()})
}

// DecodeJointPlan reads what Encode wrote, strictly.
func DecodeJointPlan(b []byte) (*JointPlan, error) {
	bad := fail(sandbox.Invalid, "joint plan", "is one JSON object with the known fields and well-formed keys")
	var x jointPlanJSON
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if len(b) > 1<<16 || dec.Decode(&x) != nil || dec.More() || len(x.Run) != 32 || len(x.Commitment) != sm.Size {
		return nil, bad
	}
	p := &JointPlan{Run: [32]byte(x.Run), Ranges: x.Ranges, Groups: x.Groups, Commitment: [sm.Size]byte(x.Commitment)}
	var err error
	if p.Gate, err = x.Gate.member(); err != nil || sandbox.CheckID("gate", string(p.Gate.ID)) != nil {
		return nil, bad
	}
	if p.Partner, err = x.Partner.member(); err != nil || sandbox.CheckID("partner", string(p.Partner.ID)) != nil || len(p.Check()) > 0 {
		return nil, bad
	}
	return p, nil
}

// JointRunOf (运行标识) is the run that a partner's question of a domain makes; statement is the body that the partner signed.
func JointRunOf(domain string, q sandbox.QuestionID, statement []byte) [32]byte {
	return sm.Sum(sm.Frame([]byte("opdomain joint run"), []byte(domain), []byte(q), statement))
}

// Parts and bytes of a message of each step: kind, sender, parts and what is in them.
func (p *JointPlan) form(kind Kind) (from, parts, content int) {
	set, err := setNamed(oneSet)
	if err != nil {
		return -1, 0, 0
	}
	poly := len(set.Q) * word << set.LogN
	switch kind {
	case Commitment:
		return -1, 1, sm.Size
	case KeyShare:
		return -1, 1, poly
	case Contribution:
		return jointGate, p.Groups, p.Groups * set.CiphertextBytes()
	case Share:
		return jointPartner, 2 * p.Groups, p.Groups * (set.CiphertextBytes() + poly)
	}
	return -1, 0, 0
}

// Room bounds an encoded message of a step, for a carrier that knows the plan; 0 for one that no step has.
func (p *JointPlan) Room(kind Kind) int {
	_, parts, content := p.form(kind)
	if parts == 0 {
		return 0
	}
	return 1 + sm.Size + 1 + 2 + 4*parts + content + 1 + maxSig
}

// Peak is what a carrier holds of a run at once, in bytes.
func (p *JointPlan) Peak() int { return p.Room(Contribution) + p.Room(Share) }

// CheckMessage verifies that a message is of the kind and plan that are due, by the party whose it is, in its form: a carrier
// refuses others, and nothing of the run ends with them.
func (p *JointPlan) CheckMessage(m *Message, kind Kind, gate bool) error {
	bad := func(k sandbox.Kind, rule string) error {
		return &sandbox.Error{Op: "he", Kind: k, Object: kind.String(), Detail: rule}
	}
	from, parts, content := p.form(kind)
	if m == nil || m.Kind != kind || parts == 0 {
		return bad(sandbox.Invalid, "is what the step takes")
	}
	if m.Plan != p.Digest() {
		return bad(sandbox.Conflict, "is of this plan")
	}
	want, who := jointPartner, p.Partner
	if gate {
		want, who = jointGate, p.Gate
	}
	if m.From != want || from >= 0 && from != want {
		return bad(sandbox.Denied, "is by the party whose step it is")
	}
	if who.Verify.Verify(m.context(), m.signed(), m.Sig) != nil {
		return bad(sandbox.Tampered, "is signed by its sender")
	}
	size := 0
	for _, b := range m.Parts {
		size += len(b)
	}
	if len(m.Parts) != parts || size != content {
		return bad(sandbox.Invalid, "is of as many ciphertexts as the plan, each whole")
	}
	return nil
}
