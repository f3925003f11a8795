package unit

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// MaxEpochs bounds how many epochs an approval is good for: each is another set of shares.
const MaxEpochs = 16

// maxSkew is how far an approval's issue may lie after the unit's clock.
const maxSkew = 5 * time.Minute

// Pin (公钥钉定) is a member with SM3 over both its keys.
type Pin struct {
	ID   sandbox.PartyID `json:"id"`
	Keys []byte          `json:"keys"`
}

func pin(m he.Member) Pin {
	d := sm.Sum(sm.Frame(m.Verify.Bytes(), m.Seal.Bytes()))
	return Pin{m.ID, d[:]}
}

func (p Pin) is(m he.Member) bool { return p.ID == m.ID && bytes.Equal(p.Keys, pin(m).Keys) }

// Approval (参与批准) is what a unit's owner signs, context attest.ContextSumApproval: its unit may take part in sums for this question. With Plan it
// is that plan alone; without, any of this layout and set by at least Least of these units, of which at least Threshold open: 0, all of them.
type Approval struct {
	Domain    string             `json:"domain"`
	Question  sandbox.QuestionID `json:"question"`
	Asked     []byte             `json:"asked"`  // SM3 of the question
	Layout    []byte             `json:"layout"` // SM3, of what the unit compiled itself
	Set       he.SetName         `json:"set"`
	Unit      sandbox.PartyID    `json:"unit"`
	Gate      Pin                `json:"gate"`
	Units     []Pin              `json:"units"`
	Least     int                `json:"least"`
	Threshold int                `json:"threshold"`
	Epochs    uint64             `json:"epochs"` // the last one
	Plan      []byte             `json:"plan,omitempty"`
	Issued    time.Time          `json:"issued"`
	Expires   time.Time          `json:"expires"`
}

// Offer (参与邀约) is a plan as it came from a domain, with the question it is said to be for.
type Offer struct {
	Domain   string
	Question sandbox.QuestionID
	Spec     query.Spec
	Keys     spec.Keys
	List     *spec.Agreed // of a question that joins two units' rows; nil: a sum
	Plan     *he.Plan
}

// Compiled (本单位编译结果) is a question as the unit compiled it: one of both.
type Compiled struct {
	Sum    *spec.Question
	Joined *spec.Joined
}

// Layout is what the plan's is compared with.
func (c *Compiled) Layout() *he.Layout {
	if c.Joined != nil {
		return &c.Joined.Layout
	}
	return &c.Sum.Layout
}

// Self (本单位) is the unit: as it is enrolled, and who approves for it.
type Self struct {
	Member  he.Member
	Owner   sandbox.IdentityID
	Approve *sm.VerifyKey // the owner's
}

// Compile lays the question out by the unit's own descriptions: all columns may be used, because what may be asked is for the domain to decide and
// for the owner to approve. Of a question that joins two units' rows it has the descriptions of both datasets, each of which says whose it is:
// that unit holds it in the plan.
func (o Offer) Compile(own []catalog.Dataset) (*Compiled, []sandbox.Reason) {
	sets := map[sandbox.DatasetID]catalog.Dataset{}
	var list []sandbox.ListItem
	for _, d := range own {
		sets[d.ID] = d
		item := sandbox.ListItem{Dataset: d.ID}
		for _, c := range d.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Compares: sandbox.MaxCompares, Funcs: sandbox.MeasureFuncs,
				Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseCompare}})
		}
		list = append(list, item)
	}
	d, why := query.Derive(o.Spec, sets, list)
	if len(why) > 0 {
		return nil, why
	}
	if o.List == nil {
		q, why := spec.Compile(d, o.Keys)
		if len(why) > 0 {
			return nil, why
		}
		return &Compiled{Sum: q}, nil
	}
	if len(o.List.Digest) != sm.Size {
		return nil, []sandbox.Reason{reason("he.list", "the list of people is named by its digest", "opdomain he list show FILE")}
	}
	if o.List.People < MinDiffer { // whatever the domain's own floor: the gate would open what so few have
		return nil, []sandbox.Reason{reason("he.list", fmt.Sprintf("at least %d people stand on a list", MinDiffer), "agree on a list of more people: opdomain he list make")}
	}
	var holders [2]int
	for i, in := range d.Inputs {
		if i < len(holders) {
			holders[i] = o.place(in.Described.Unit)
		}
	}
	j, why := spec.CompileJoined(d, o.Keys, o.List.Placement(holders))
	if len(why) > 0 {
		return nil, why
	}
	return &Compiled{Joined: j}, nil
}

// Side says which side of a joined question the unit holds; -1: none.
func (o Offer) Side(id sandbox.PartyID) int {
	if x := o.Plan.Layout.Products; x != nil {
		return slices.Index(x.Holders[:], o.place(id))
	}
	return -1
}

// canonical is the question as its run has it.
func (o Offer) canonical() []byte { return o.List.Canonical(o.Spec) }

func (o Offer) asked() []byte {
	parts := [][]byte{[]byte("opdomain he question 1"), o.canonical()}
	for _, dim := range o.Spec.Dimensions {
		if labels, ok := o.Keys[dim.As]; ok {
			parts = append(parts, []byte(dim.As))
			for _, l := range labels {
				parts = append(parts, []byte(l))
			}
			parts = append(parts, nil)
		}
	}
	d := sm.Sum(sm.Frame(parts...))
	return d[:]
}

const articleApproval = "龙华区实施方案 九(一) 原始数据不出域"

func reason(code, rule, change string) sandbox.Reason {
	return sandbox.Reason{Code: code, Rule: rule, Article: articleApproval, Change: change}
}

// Fits compares an offer with what a unit knows by itself: that the plan is within its budget and has the layout that the unit compiled, that its
// run follows from domain and question, and that the unit is in it with its own keys. Codes: he.plan and those of he.Plan.Check.
func Fits(o Offer, q *Compiled, self Self) (why []sandbox.Reason) {
	if _, why := o.Plan.Check(); len(why) > 0 {
		return why
	}
	if o.Plan.Layout.Digest() != q.Layout().Digest() {
		why = append(why, reason("he.plan", "the plan's layout is the one that this unit compiles from the question and its own description", "compare the description of the dataset with the domain's, or have the question asked anew"))
	}
	if o.Plan.Run != he.RunOf(o.Domain, o.Question, o.canonical()) {
		why = append(why, reason("he.plan", "the run is of this domain and this question", "the domain plans by its own name"))
	}
	if o.Plan.Gate.ID != he.GateOf(o.Domain) {
		why = append(why, reason("he.plan", "the gate is this domain's", "the domain plans with its own gate"))
	}
	if at := o.place(self.Member.ID); at < 0 || !pin(self.Member).is(o.Plan.Units[at]) {
		why = append(why, reason("he.plan", "this unit is in the plan with its own keys", "enrol the keys in use, and plan anew"))
	}
	return why
}

func (o Offer) place(id sandbox.PartyID) int {
	return slices.IndexFunc(o.Plan.Units, func(m he.Member) bool { return m.ID == id })
}

// Terms (批准条件) are what an owner may narrow or widen of an approval. Zeros: the plan's units and threshold, MaxEpochs. Of joined rows whose plan has all
// units open it is all units of any epoch: fewer could open each person's values.
type Terms struct {
	Least     int
	Threshold int
	Epochs    uint64
	Only      bool // this plan alone
	Issued    time.Time
	Expires   time.Time
}

// Approve signs an approval of an offer as the unit's owner. The offer fits.
func Approve(rand io.Reader, key *sm.SigningKey, o Offer, q *Compiled, self Self, t Terms) (attest.Statement, error) {
	layout := q.Layout().Digest()
	a := Approval{Domain: o.Domain, Question: o.Question, Asked: o.asked(), Layout: layout[:], Set: o.Plan.Set, Unit: self.Member.ID, Gate: pin(o.Plan.Gate), Least: t.Least, Threshold: t.Threshold,
		Epochs: t.Epochs, Issued: t.Issued.UTC().Truncate(time.Second), Expires: t.Expires.UTC().Truncate(time.Second)}
	for _, m := range o.Plan.Units {
		a.Units = append(a.Units, pin(m))
	}
	if a.Least == 0 {
		a.Least = len(o.Plan.Units)
	}
	if everybody := o.List != nil && o.Plan.Threshold == len(o.Plan.Units); a.Threshold == 0 && !everybody {
		a.Threshold = min(o.Plan.Threshold, a.Least)
	}
	if a.Epochs == 0 {
		a.Epochs = MaxEpochs
	}
	if t.Only {
		d := o.Plan.Digest()
		a.Plan, a.Epochs = d[:], o.Plan.Epoch
	}
	fewest := he.MinUnits
	if o.List != nil {
		fewest = 2
	}
	if a.Least < fewest || a.Least > len(a.Units) || (a.Threshold < 2 || a.Threshold > a.Least) && (a.Threshold != 0 || o.List == nil) || a.Epochs > MaxEpochs && !t.Only || !a.Issued.Before(a.Expires) {
		return attest.Statement{}, &sandbox.Error{Op: "he: approve", Kind: sandbox.Invalid, Object: string(o.Question), Detail: fmt.Sprintf("%d units or more of the plan's, 2 or more of them open, at most 16 epochs, an end after its beginning", fewest)}
	}
	return attest.Sign(rand, key, self.Owner, attest.ContextSumApproval, a)
}

// Decide says whether the unit takes part in an offer that fits, by its owner's statements. A refusal gives every rule that the nearest approval
// of the question breaks. Codes: he.not-approved, he.member, he.gate, he.few, he.terms.
func Decide(o Offer, q *Compiled, self Self, approvals []attest.Statement, now time.Time) sandbox.Decision {
	d := sandbox.Decision{Engine: sandbox.HE, Class: sandbox.ClassA}
	if d.Reasons = Fits(o, q, self); len(d.Reasons) > 0 {
		return d
	}
	var nearest []sandbox.Reason
	for _, s := range approvals {
		var a Approval
		if s.Signer != self.Owner || s.Open(self.Approve, attest.ContextSumApproval, &a) != nil || a.Question != o.Question || a.Domain != o.Domain || a.Unit != self.Member.ID {
			continue
		}
		why := a.covers(o, q, now)
		if len(why) == 0 {
			d.Allow = true
			return d
		}
		if nearest == nil || len(why) < len(nearest) {
			nearest = why
		}
	}
	if d.Reasons = nearest; nearest == nil {
		d.Reasons = []sandbox.Reason{reason("he.not-approved", "this unit's owner signed an approval of this question", "opdomain he approve "+string(o.Question))}
	}
	return d
}

func (a Approval) covers(o Offer, q *Compiled, now time.Time) (why []sandbox.Reason) {
	add := func(code, rule string) {
		why = append(why, reason(code, rule, "the owner compares and approves anew: opdomain he approve "+string(o.Question)))
	}
	layout, plan := q.Layout().Digest(), o.Plan.Digest()
	if !now.Before(a.Expires) || now.Add(maxSkew).Before(a.Issued) {
		add("he.terms", "the approval has begun and has not expired")
	}
	if !bytes.Equal(a.Asked, o.asked()) || !bytes.Equal(a.Layout, layout[:]) || a.Set != o.Plan.Set {
		add("he.terms", "question, layout and parameter set are the approved ones")
	}
	if len(a.Plan) > 0 && !bytes.Equal(a.Plan, plan[:]) || o.Plan.Epoch > a.Epochs {
		add("he.terms", "the plan is the one approved, or an epoch that the approval is good for")
	}
	if !a.Gate.is(o.Plan.Gate) {
		add("he.gate", "the gate has the keys of the domain that were approved")
	}
	for _, m := range o.Plan.Units {
		at := slices.IndexFunc(a.Units, func(p Pin) bool { return p.ID == m.ID })
		switch {
		case at < 0:
			add("he.member", "unit "+string(m.ID)+" is one of those approved")
		case !a.Units[at].is(m):
			add("he.member", "unit "+string(m.ID)+" has the keys that were approved, not others")
		}
	}
	if opens := cmp.Or(a.Threshold, len(o.Plan.Units)); len(o.Plan.Units) < a.Least || o.Plan.Threshold < opens {
		add("he.few", "as many units take part, and as many open, as were approved at least")
	}
	return why
}
