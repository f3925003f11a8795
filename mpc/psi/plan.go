package psi

import (
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Side (求交方) is one of the two parties of a job.
type Side int

// The sides: the receiver is the one that results with one recipient go to.
const (
	Receiver Side = 0 // 结果方
	Sender   Side = 1 // 协作方; it brings the values of a join-and-sum
)

// Peer gives the other side.
func (s Side) Peer() Side { return 1 - s }

func (s Side) String() string {
	if s == Receiver {
		return "receiver"
	}
	return "sender"
}

// Output (求交输出) is what a job gives.
type Output string

// The outputs.
const (
	Intersection     Output = "intersection"      // 交集, to the receiver
	IntersectionBoth Output = "intersection-both" // 双方交集
	Cardinality      Output = "cardinality"       // 交集基数, to the receiver
	CardinalityBoth  Output = "cardinality-both"  // 双方基数
	JoinSum          Output = "join-sum"          // 交集求和: sums of the sender's values, to the sender
)

// Fact (泄露项) is something that a side learns by a job.
type Fact string

// The facts. The sender's bucket or the receiver's is meant by the side that learns it.
const (
	FactBucket      Fact = "bucket of the peer"
	FactMembers     Fact = "which own elements are in the intersection"
	FactCardinality Fact = "size of the intersection"
	FactWithheld    Fact = "whether the intersection may leave"
	FactSum         Fact = "sums of the sender's values over the intersection"
)

// Term gives the Chinese term (中文名) of a fact.
func (f Fact) Term() string {
	return map[Fact]string{FactBucket: "对方集合规模档", FactMembers: "己方元素中哪些在交集内", FactCardinality: "交集基数", FactWithheld: "交集可否输出", FactSum: "协作方数值在交集上的合计"}[f]
}

// AuthorityKind (元素授权方式) is how the elements of a set are held to what the party may ask about.
type AuthorityKind string

// The kinds. There is no third: a plan says which one holds.
const (
	Listed  AuthorityKind = "listed"  // 名单授权: an agency certified the very points that are sent, before the job
	Audited AuthorityKind = "audited" // 事后审计: nothing is proved in the job; secret and set are opened to an auditor afterwards
)

// Authority (元素授权) of one side's set.
type Authority struct {
	Kind AuthorityKind  `json:"kind"`
	Key  string         `json:"key,omitempty"`  // listed: fingerprint of the agency's key
	List *[sm.Size]byte `json:"list,omitempty"` // listed: root of the signed list, in hex
}

// authorityText is an Authority as it is written.
type authorityText struct {
	Kind AuthorityKind `json:"kind"`
	Key  string        `json:"key,omitempty"`
	List string        `json:"list,omitempty"`
}

// MarshalJSON writes the root in hex.
func (a Authority) MarshalJSON() ([]byte, error) {
	t := authorityText{Kind: a.Kind, Key: a.Key}
	if a.List != nil {
		t.List = hex.EncodeToString(a.List[:])
	}
	return json.Marshal(t)
}

// UnmarshalJSON reads it, Invalid for a root of another form.
func (a *Authority) UnmarshalJSON(b []byte) error {
	var t authorityText
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	*a = Authority{Kind: t.Kind, Key: t.Key}
	if t.List == "" {
		return nil
	}
	root, err := hex.DecodeString(t.List)
	if err != nil || len(root) != sm.Size {
		return &sandbox.Error{Op: "psi: plan", Kind: sandbox.Invalid, Object: "list", Detail: "a root of 64 hex digits"}
	}
	a.List = (*[sm.Size]byte)(root)
	return nil
}

// Model (敌手模型) is the adversary a job is secure against, printed on its result.
type Model string

// SemiHonest: parties follow the protocol and look at all they see; malformed input ends the job. The two parties together hold both
// sets, so there is no collusion to speak of; a third who gets a party's Secret and the traffic in plain can test elements it guesses.
const SemiHonest Model = "semi-honest, abort on malformed input"

const (
	// MaxSize bounds a bucket.
	MaxSize = 100_000_000
	// MaxMeasures bounds the sums of one job.
	MaxMeasures = 8
	// MaxElement bounds an element in bytes.
	MaxElement = 1024
)

// Plan (求交计划) is what both sides agreed to run. Its digest is in the first message of both; everything in it is public to both.
type Plan struct {
	Run       sandbox.RunID      `json:"run"`
	Parties   [2]sandbox.PartyID `json:"parties"` // receiver, sender
	Output    Output             `json:"output"`
	Model     Model              `json:"model"`
	Sizes     [2]int             `json:"sizes"`     // buckets: sets are padded to them (Bucket)
	Threshold int                `json:"threshold"` // a smaller intersection is withheld; 0 for none
	Authority [2]Authority       `json:"authority"`
	Measures  int                `json:"measures,omitempty"` // join-sum: values of each of the sender's elements
	MaxValue  uint64             `json:"max_value,omitempty"`
}

// Bucket gives the least registered size of at least n: 10, 20, 50, 100, 200, 500 … TooLarge is Plan.Check's to say.
func Bucket(n int) int {
	for b := 10; ; b *= 10 {
		for _, m := range []int{1, 2, 5} {
			if b*m >= n || b > MaxSize {
				return b * m
			}
		}
	}
}

// Check gives Invalid or TooLarge where the plan cannot be run.
func (p *Plan) Check() error {
	bad := func(object, rule string) error {
		return &sandbox.Error{Op: "psi: plan", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	if err := sandbox.CheckID("run", string(p.Run)); err != nil {
		return err
	}
	for _, id := range p.Parties {
		if err := sandbox.CheckID("party", string(id)); err != nil {
			return err
		}
	}
	if p.Parties[0] == p.Parties[1] {
		return bad("parties", "two parties")
	}
	if !slices.Contains([]Output{Intersection, IntersectionBoth, Cardinality, CardinalityBoth, JoinSum}, p.Output) {
		return bad("output", "one of the known outputs")
	}
	if p.Model != SemiHonest {
		return bad("model", "the adversary model that the protocol has: "+string(SemiHonest))
	}
	for _, n := range p.Sizes {
		if n > MaxSize {
			return &sandbox.Error{Op: "psi: plan", Kind: sandbox.TooLarge, Object: "sizes", Detail: "a set has at most 100,000,000 elements"}
		}
		if n < 1 || Bucket(n) != n {
			return bad("sizes", "sizes are registered buckets: 10, 20, 50, 100 …")
		}
	}
	if p.Threshold < 0 || p.Threshold > min(p.Sizes[0], p.Sizes[1]) {
		return bad("threshold", "from 0 to the smaller bucket")
	}
	for _, a := range p.Authority {
		switch {
		case a.Kind == Listed && a.Key != "" && a.List != nil:
		case a.Kind == Audited && a.Key == "" && a.List == nil:
		default:
			return bad("authority", "each side's set is listed, with key and list, or audited")
		}
	}
	if p.Output != JoinSum {
		if p.Measures != 0 || p.MaxValue != 0 {
			return bad("measures", "only a join-and-sum has measures")
		}
		return nil
	}
	if p.Measures < 1 || p.Measures > MaxMeasures {
		return bad("measures", "one to eight measures")
	}
	if p.MaxValue == 0 || p.MaxValue > maxSum/uint64(min(p.Sizes[0], p.Sizes[1])) {
		return bad("max_value", "the largest value times the smaller bucket is at most 2^40")
	}
	return nil
}

// Digest gives SM3 over the plan's one encoding.
func (p *Plan) Digest() [sm.Size]byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("psi: a plan encodes: " + err.Error())
	}
	return sm.Sum(sm.Frame([]byte("opdomain/psi/plan/v1"), b))
}

// step is one transfer of tags: from tells the peer about the peer's points.
type step struct {
	from   Side
	sorted bool
}

// steps in their order. The verdict, where there is one, comes after the first, from the side that the first goes to.
func (p *Plan) steps() []step {
	first := step{Receiver, true}
	switch p.Output {
	case Intersection:
		if p.Threshold > 0 {
			return []step{first, {Sender, false}}
		}
		return []step{{Sender, false}}
	case IntersectionBoth:
		return []step{{Receiver, false}, {Sender, false}}
	case Cardinality:
		if p.Threshold > 0 {
			return []step{first, {Sender, true}}
		}
		return []step{{Sender, true}}
	case CardinalityBoth:
		return []step{first, {Sender, true}}
	}
	return []step{{Sender, true}} // join-sum
}

// judge is the side that gives the verdict.
func (p *Plan) judge() (Side, bool) {
	if p.Output == JoinSum {
		return Receiver, true
	}
	return Sender, len(p.steps()) == 2
}

// Learns says what a side learns of the other, all of it, whatever the data are. It follows from the steps, so that no
// transfer is without its line here.
func (p *Plan) Learns(side Side) []Fact {
	facts := []Fact{FactBucket}
	for _, s := range p.steps() {
		if s.from != side {
			if !s.sorted {
				facts = append(facts, FactMembers)
			}
			facts = append(facts, FactCardinality)
		}
	}
	if _, ok := p.judge(); ok {
		facts = append(facts, FactWithheld)
	}
	if p.Output == JoinSum && side == Sender {
		facts = append(facts, FactCardinality, FactSum)
	}
	return facts
}
